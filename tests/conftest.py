"""Fixtures for all tests; each kind in a module of its own."""

pytest_plugins = ["tests.fixtures.kafka", "tests.fixtures.redis", "tests.fixtures.service"]

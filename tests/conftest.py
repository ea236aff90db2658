"""Fixtures for all tests; each kind in a module of its own."""

from hypothesis import settings

pytest_plugins = ["tests.fixtures.kafka", "tests.fixtures.redis", "tests.fixtures.service"]

# A law has no deadline: on a machine that is busy the same example takes ten times as long.
settings.register_profile("laws", deadline=None, print_blob=True)
settings.load_profile("laws")

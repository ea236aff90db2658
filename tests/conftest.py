"""Fixtures for all tests; each kind in a module of its own."""

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.fixtures.kafka", "tests.fixtures.redis", "tests.fixtures.service"]

# What somebody has set for a stack of their own would change what the tests see.
for name in [n for n in os.environ if n.startswith("SHOPLOOP_")]:
    if not name.startswith("SHOPLOOP_TEST_"):
        del os.environ[name]

# A law has no deadline: on a machine that is busy the same example takes ten times as long. Its
# examples are drawn by the law alone, so that a change is refused for what it changes;
# `--hypothesis-profile search` draws others at each run.
settings.register_profile(
    "search",
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("laws", settings.get_profile("search"), derandomize=True)
settings.load_profile("laws")

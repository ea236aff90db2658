"""House rules, and that each of them bites."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.tools.local.paths import CHECKOUT
from tests.contract import house
from tests.contract.house import Rule, Source, broken, pure, sources

Scope = Callable[[Path], list[Source]]
CODE = ("shared", "services")


def everywhere(root: Path) -> list[Source]:
    """Return all of the product's modules."""
    return list(sources(root, *CODE))


def deciding(root: Path) -> list[Source]:
    """Return the modules that must be pure."""
    return list(pure(root))


def outside(*prefixes: str) -> Scope:
    """Return all modules but those that begin so."""
    return lambda root: [m for m in everywhere(root) if not m.path.startswith(prefixes)]


def in_services(root: Path) -> list[Source]:
    """Return the services' modules that have no business with the environment."""
    readers = ("settings.py", "__main__.py")
    return [m for m in sources(root, "services") if not m.path.endswith(readers)]


TO_KAFKA = (
    "shared/runtime/bus/",
    "shared/tools/local/probes.py",
    "shared/tools/chaos/audit.py",
    "services/collector/relay/",
    "services/collector/stream.py",
    "services/collector/stream_app.py",
    "services/collector/stream_log.py",
)
"""The bus, what looks at a broker from outside, and the two that need more than the bus promises."""
TO_REDIS = (
    "shared/runtime/kv/",
    "shared/runtime/releases/redis.py",
    "shared/runtime/ports.py",
    "shared/tools/cli/doctor.py",
)

CORE, SERVICE = "services/shop/core/x.py", "services/shop/x.py"
RULES: list[tuple[str, Rule, Scope, str, str]] = [
    ("core is pure", house.ways_out, deciding, CORE, "import redis"),
    ("core is pure", house.ways_out, deciding, CORE, "from services.shop.store import Keys"),
    ("core is pure", house.ways_out, deciding, CORE, "from shared.runtime.kv import KeyValue"),
    ("learning is pure", house.ways_out, deciding, "shared/learning/x.py", "import os"),
    ("errors are not hidden", house.caught_everything, outside("shared/runtime/"), SERVICE,
     "try:\n    f()\nexcept Exception:\n    pass"),
    ("errors are not hidden", house.caught_everything, outside("shared/runtime/"), SERVICE,
     "try:\n    f()\nexcept (KeyError, BaseException):\n    pass"),
    ("errors are not hidden", house.caught_everything, outside("shared/runtime/"), SERVICE,
     "with contextlib.suppress(Exception):\n    f()"),
    ("no pickle", house.pickles, everywhere, SERVICE, "from joblib import load"),
    ("no pickle", house.pickles, everywhere, SERVICE, "np.load(f, allow_pickle=True)"),
    ("time and chance are given", house.clocks_and_chance, deciding, CORE, "now = time.time()"),
    ("time and chance are given", house.clocks_and_chance, deciding, CORE, "datetime.now(UTC)"),
    ("time and chance are given", house.clocks_and_chance, deciding, CORE, "np.random.rand(3)"),
    ("time and chance are given", house.clocks_and_chance, deciding, CORE, "rng = np.random.default_rng()"),
    ("time and chance are given", house.clocks_and_chance, deciding, CORE, "x = os.environ['A']"),
    ("settings read the environment", house.environment, in_services, SERVICE, "os.environ.get('A')"),
    ("settings read the environment", house.environment, in_services, SERVICE, "os.environ['A']"),
    ("Kafka is reached by the bus", house.kafka_clients, outside(*TO_KAFKA), SERVICE,
     "def f():\n    from aiokafka import AIOKafkaProducer"),
    ("Kafka is reached by the bus", house.kafka_clients, outside(*TO_KAFKA),
     "services/collector/streams.py", "import kafka.admin"),
    ("Redis is reached by its port", house.redis_clients, outside(*TO_REDIS), SERVICE,
     "from redis.asyncio import Redis"),
    ("Redis is reached by its port", house.redis_clients, outside(*TO_REDIS),
     "shared/runtime/bus/x.py", "import hiredis"),
    ("topics are declared", house.spelt_topics, outside("shared/contracts/topics.py"), SERVICE,
     "x = 'item-activity'"),
    ("topics are declared", house.spelt_topics, outside("shared/contracts/topics.py"), SERVICE,
     "producer.send('orders', b'')"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "rule", "scope"), {r[1]: r[:3] for r in RULES}.values())
def test_the_house_rule_holds(name: str, rule: Rule, scope: Scope) -> None:
    """If this fails, the code at the places named does what the architecture rules out."""
    assert broken(rule, scope(CHECKOUT)) == [], name


@pytest.mark.parametrize(("name", "rule", "scope", "path", "violation"), RULES)
def test_the_guard_bites(
    tmp_path: Path, name: str, rule: Rule, scope: Scope, path: str, violation: str
) -> None:
    """If this fails, the rule holds only because its check sees nothing."""
    planted = tmp_path / path
    planted.parent.mkdir(parents=True)
    planted.write_text(f'"""A module."""\n{violation}\n')
    assert [place.partition(":")[0] for place in broken(rule, scope(tmp_path))] == [path], name


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        *((house.kafka_clients, place) for place in TO_KAFKA),
        *((house.redis_clients, place) for place in TO_REDIS),
    ],
)
def test_no_allowance_outlives_its_need(rule: Rule, allowed: str) -> None:
    """A list of exceptions that only grows lets in, one day, what it was never meant for."""
    assert broken(rule, [m for m in everywhere(CHECKOUT) if m.path.startswith(allowed)])

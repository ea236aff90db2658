import asyncio
from typing import Any

import numpy as np
import pytest

from services.recommender.core.keep import Kept
from services.recommender.core.person import Rows
from services.recommender.manifest import HISTORY, SERVICE
from services.recommender.recorder import BETWEEN_S, Recorder
from services.recommender.store import KEEP, TRIM_AFTER, Explanations, People, Snapshot
from shared.contracts.envelope import Envelope, utc
from shared.contracts.errors import Retryable
from shared.contracts.events import Decision
from shared.contracts.topics import DECISIONS, wrap
from shared.runtime.bus.memory import MemoryBroker, MemoryBus
from shared.runtime.clock import FakeClock
from shared.runtime.kv import RedisKeyValue
from tests.fixtures.redis import memory_kv


@pytest.fixture
def kv() -> RedisKeyValue:
    return memory_kv(SERVICE)


def snapshot(request_id: str, person: str = "ann") -> Snapshot:
    return Snapshot(request_id, person, 1.0, "home", (), "r", "current", [], {}, [(b"va", 1.0)])


def decision(request_id: str) -> Envelope[Decision]:
    made = Decision(
        request_id=request_id,
        service="recommender",
        scenario="home",
        shown=(),
        release="r",
        rung="current",
    )
    return wrap(DECISIONS, made, id=request_id, source="/t", time=utc(1.0), userid="ann")


async def test_readers_at_the_same_time_get_their_own_rows(kv: RedisKeyValue) -> None:
    """Two shoppers who ask at the same moment would get each other's history."""
    people = People(kv)
    await people.keep(Kept(history={f"p{n}": {f"vi{n}": float(n)} for n in range(50)}))
    asked = [people.read(f"p{n}", "nobody") for n in range(50)]
    for n, (mine, nobody) in enumerate(await asyncio.gather(*asked)):
        assert mine.history == [(f"vi{n}".encode(), float(n))]
        assert nobody == Rows([], [], [], False)


async def test_one_who_gives_up_takes_nobody_along(kv: RedisKeyValue) -> None:
    """A closed browser would cost those who asked with it their answer, or mix the rows up."""
    people = People(kv)
    await people.keep(Kept(history={"a": {"vx": 1.0}, "b": {"vy": 2.0}}))
    first, second = (asyncio.create_task(people.read(person)) for person in "ab")
    await asyncio.sleep(0)
    first.cancel()
    assert (await second)[0].history == [(b"vy", 2.0)]


async def test_an_older_event_never_replaces_a_newer_one(kv: RedisKeyValue) -> None:
    """A replay would make an old view the newest."""
    people = People(kv)
    for time_s in (5.0, 9.0, 2.0):
        await people.keep(Kept(history={"ann": {"vtea": time_s}}))
    assert (await people.read("ann"))[0].history == [(b"vtea", 9.0)]


async def test_a_history_is_bounded(kv: RedisKeyValue) -> None:
    """A robot's history would fill Redis."""
    people = People(kv)
    for n in range(1000):
        await people.keep(Kept(history={"bot": {f"vi{n}": float(n)}}))
    kept = await kv.zrange_desc(HISTORY, "bot", count=5000)
    assert len(kept) <= KEEP[HISTORY.name] + TRIM_AFTER
    assert kept[0] == (b"vi999", 999.0)


async def test_slots_bound_the_explanations(kv: RedisKeyValue) -> None:
    """Redis would fill with explanations, or a list be explained by another's reasons."""
    kept = Explanations(kv, slots=4)
    await kept.keep([snapshot(f"r{n}") for n in range(40)])
    found = [await kept.find(f"r{n}") for n in range(40)]
    assert 1 <= sum(one is not None for one in found) <= 4
    assert all(one is None or one.request_id == f"r{n}" for n, one in enumerate(found))


async def test_only_the_persons_own_explanations_are_forgotten(kv: RedisKeyValue) -> None:
    """Forgetting one shopper would leave theirs, or take the others'."""
    kept = Explanations(kv, slots=100_000)
    await kept.keep([snapshot("r1", "ann"), snapshot("r2", "bob"), snapshot("r3", "a-1")])
    assert await kept.forget(frozenset({"ann", "a-1"})) == 2
    assert [await kept.find(r) is None for r in ("r1", "r2", "r3")] == [True, False, True]


async def test_a_full_queue_waits_a_little_and_drops() -> None:
    """With Kafka away for long, memory would grow or answers would hang."""
    bus = MemoryBus(MemoryBroker(), SERVICE, clock=FakeClock())
    recorder = Recorder(bus, FakeClock(), waiting=2)
    assert [await recorder.put(decision(f"r{n}")) for n in range(3)] == [True, True, False]


async def test_what_waits_is_published_in_order_at_the_end() -> None:
    """The last decisions before a deploy would be lost."""
    broker, clock = MemoryBroker(), FakeClock()
    bus = MemoryBus(broker, SERVICE, clock=clock)
    recorder = Recorder(bus, clock, waiting=1000)
    for n in range(450):
        await recorder.put(decision(f"r{n}"))
    await recorder.flush()
    ids = [dict(r.headers)["ce_id"].decode() for r in broker.records("decisions")]
    assert ids == [f"r{n}" for n in range(450)]


async def test_a_rush_goes_out_in_groups() -> None:
    """Kafka and the trainer would have a request to answer for each list that is shown."""
    broker, clock = MemoryBroker(), FakeClock()
    groups: list[int] = []

    class Counting(MemoryBus):
        async def publish_all(self, topic: Any, envelopes: Any) -> Any:
            groups.append(len(envelopes))
            return await super().publish_all(topic, envelopes)

    recorder = Recorder(Counting(broker, SERVICE, clock=clock), clock, waiting=1000)
    running = asyncio.create_task(recorder.run())
    began = clock.now()
    async with asyncio.timeout(20):
        for n in range(100):
            await recorder.put(decision(f"r{n}"))
            if n % 10 == 9:
                await asyncio.sleep(0)
        while len(broker.records("decisions")) < 100:
            await asyncio.sleep(0)
    running.cancel()
    assert sum(groups) == 100
    assert clock.now() - began >= (len(groups) - 1) * BETWEEN_S


async def test_an_explanation_that_redis_does_not_take_holds_nothing_up(kv: RedisKeyValue) -> None:
    """While Redis is away every list would wait for it, or none be explained ever after."""
    away = Retryable("away")

    class Flaky:
        def pipeline(self) -> Any:
            return kv.pipeline() if away is None else self

        def set(self, *key: Any, value: bytes) -> None: ...

        async def execute(self) -> None:
            raise Retryable("away")

        def get(self, *key: Any) -> Any:
            return kv.get(*key)

    kept = Explanations(Flaky(), slots=1000)  # type: ignore[arg-type]
    for n in range(3):
        kept.put(snapshot(f"lost{n}"))
    await asyncio.sleep(0)
    away = None
    kept.put(snapshot("r"))
    async with asyncio.timeout(20):
        while await kept.find("r") is None:
            await asyncio.sleep(0)
    assert await kept.find("lost0") is None


def test_a_snapshot_is_small() -> None:
    """The explanations of a busy hour would not fit beside the histories."""
    from msgspec import msgpack

    rng = np.random.default_rng(0)
    rows = [(f"vitem-{rng.integers(99_999)}".encode(), 1.7e9 + n) for n in range(60)]
    shown = [(f"item-{n}", {"slim": 0.5, "ials": 0.25, "popular": 0.01}) for n in range(10)]
    whole = Snapshot("r" * 36, "p" * 22, 1.7e9, "home", (), "v" * 40, "current", shown, {}, rows)
    assert len(msgpack.encode(whole)) < 3000

"""The consumer loop: what becomes of a record that is fine, wrong, early, or too much."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contracts.envelope import Envelope, encode, header, utc
from shared.contracts.errors import Invalid, Retryable
from shared.contracts.events import Behaviour, Product
from shared.contracts.service import Process, Service
from shared.contracts.topics import BEHAVIOUR, CATALOG, wrap
from shared.runtime.bus.memory import MemoryBroker, MemoryBus
from shared.runtime.bus.partition import partition_of
from shared.runtime.bus.port import Handler, Received, TopicPartition
from shared.runtime.bus.records import Outgoing
from shared.runtime.clock import FakeClock
from shared.runtime.delivery import BackOff
from shared.runtime.lane import DeadLetterLimit
from shared.runtime.loop import Limits, WorkLoop

SERVICE = Service(
    name="svc",
    about="Tests the loop.",
    processes=(Process("worker", "reads"),),
    reads=(BEHAVIOUR, CATALOG),
    writes=(BEHAVIOUR, CATALOG),
)
LIMITS = Limits(poll_s=0.005, commit_s=0.0, hand_over_s=5.0)
PATIENCE_S = 20.0


def event(who: str, what: str) -> Envelope[Behaviour]:
    return wrap(
        BEHAVIOUR,
        Behaviour(action="search", query=what),
        id=f"{who}-{what}",
        source="test",
        time=utc(0),
        anonid=who,
    )


def queries(batch: Sequence[Received[Behaviour]]) -> list[str]:
    return [r.envelope.data.query or "" for r in batch if r.envelope is not None]


class Scene:
    """A broker, a loop on it, and what its handler saw."""

    def __init__(self, handler: Handler | None = None, limits: Limits = LIMITS) -> None:
        self.broker = MemoryBroker()
        self.clock = FakeClock()
        self.bus = MemoryBus(self.broker, SERVICE, clock=self.clock)
        self.seen: list[str] = []
        self.loop = self.new_loop(handler or self.note, limits)
        self.stop = asyncio.Event()

    def new_loop(self, handler: Handler, limits: Limits = LIMITS) -> WorkLoop:
        return WorkLoop(self.bus, SERVICE, {BEHAVIOUR: handler}, clock=self.clock, limits=limits)

    async def note(self, batch: Sequence[Received[Behaviour]]) -> None:
        self.seen += queries(batch)

    def poison(self, who: str, value: bytes) -> None:
        self.broker.append("behaviour", Outgoing(who.encode(), value, (("h", b"1"),)), 0.0)

    def committed(self, who: str) -> int:
        return self.broker.committed.get(("svc", place(who)), 0)

    def letters(self) -> list[str]:
        return [header(r.headers, "dlq-reason").decode() for r in self.broker.records("svc-dlq")]

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not done():
                await asyncio.sleep(0.001)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.loop.run(self.stop))
        try:
            yield
        finally:
            self.stop.set()
            await asyncio.wait_for(task, PATIENCE_S)


def place(who: str) -> TopicPartition:
    return TopicPartition("behaviour", partition_of(who.encode(), BEHAVIOUR.partitions.local))


ANN, BOB = "ann", "bob"
assert place(ANN) != place(BOB)


async def test_records_are_handled_in_order_and_committed() -> None:
    """A service that commits too little repeats all after each restart."""
    scene = Scene()
    async with scene.running():
        for i in range(50):
            await scene.bus.publish(BEHAVIOUR, event(ANN, f"{i}"))
        await scene.until(lambda: scene.committed(ANN) == 50)
    assert scene.seen == [f"{i}" for i in range(50)]


async def test_a_batch_is_never_longer_than_its_limit() -> None:
    """A handler that pipelines a batch to Redis relies on a bound."""
    sizes: list[int] = []

    async def handler(batch: Sequence[Received[Any]]) -> None:
        sizes.append(len(batch))

    scene = Scene(handler, replace(LIMITS, batch=7, poll=1000, lane=20))
    await scene.bus.publish_all(BEHAVIOUR, [event(ANN, f"{i}") for i in range(40)])
    async with scene.running():
        await scene.until(lambda: scene.committed(ANN) == 40)
    assert sizes == [7, 7, 7, 7, 7, 5]


async def test_a_poison_record_goes_aside_with_its_bytes_and_the_rest_goes_on() -> None:
    """One malformed event would stop the topic, or vanish without a trace."""
    scene = Scene()
    await scene.bus.publish(BEHAVIOUR, event(ANN, "before"))
    scene.poison(ANN, b"\xff not JSON")
    await scene.bus.publish(BEHAVIOUR, event(ANN, "after"))
    async with scene.running():
        await scene.until(lambda: scene.committed(ANN) == 3)
    assert scene.seen == ["before", "after"]
    [letter] = scene.broker.records("svc-dlq")
    assert (letter.key, letter.value) == (ANN.encode(), b"\xff not JSON")
    assert header(letter.headers, "h") == b"1"
    assert header(letter.headers, "dlq-offset") == b"1"


@pytest.mark.parametrize(
    "value",
    [b"", b"{}", b"[" * 100_000, b'{"id":"1"', b'{"specversion":"1.0"}', b"\x00\x01"],
)
async def test_no_bytes_crash_the_loop(value: bytes) -> None:
    """Whoever can write to a topic could otherwise stop all its readers."""
    scene = Scene()
    scene.poison(ANN, value)
    async with scene.running():
        await scene.until(lambda: scene.committed(ANN) == 1)
    assert len(scene.letters()) == 1


async def test_an_event_of_a_later_version_goes_aside() -> None:
    """An old release that guesses at a new event's meaning computes nonsense."""
    scene = Scene()
    later = event(ANN, "x")
    later = Envelope(
        **{f: getattr(later, f) for f in later.__struct_fields__ if f != "type"},
        type="shoploop.behaviour.v2",
    )
    await scene.bus.publish(BEHAVIOUR, later)
    async with scene.running():
        await scene.until(lambda: scene.committed(ANN) == 1)
    [reason] = scene.letters()
    assert "shoploop.behaviour.v2" in reason


async def test_a_key_that_is_no_text_goes_aside() -> None:
    """Bytes that cannot be a user's id would end in a crash deep inside a handler."""
    scene = Scene()
    scene.broker.append("behaviour", Outgoing(b"\xff", b"{}", ()), 0.0)
    async with scene.running():
        await scene.until(lambda: len(scene.letters()) == 1)


async def test_one_refused_event_of_a_batch_is_isolated() -> None:
    """A whole batch of good events would go to the dead letters with a bad one."""
    wrong = {"3", "7", "8"}
    seen: list[str] = []

    async def handler(batch: Sequence[Received[Behaviour]]) -> None:
        if wrong & set(queries(batch)):
            raise Invalid("not that one", field="query")
        seen.extend(queries(batch))

    scene = Scene(handler, replace(LIMITS, batch=5))
    await scene.bus.publish_all(BEHAVIOUR, [event(ANN, f"{i}") for i in range(20)])
    async with scene.running():
        await scene.until(lambda: scene.committed(ANN) == 20)
    assert seen == [f"{i}" for i in range(20) if f"{i}" not in wrong]
    assert scene.letters() == ["query: not that one"] * 3


async def test_what_is_away_is_waited_for_and_nothing_beyond_is_committed() -> None:
    """Events would be skipped while Redis restarts."""
    scene, tries = Scene(), 0
    waits: list[float] = []

    async def handler(batch: Sequence[Received[Behaviour]]) -> None:
        nonlocal tries
        tries += 1
        if tries <= 6:
            assert scene.committed(ANN) == 0
            waits.append(scene.clock.monotonic())
            raise Retryable("Redis is away")
        await scene.note(batch)

    back_off = BackOff(first_s=1.0, longest_s=8.0, chance=lambda: 1.0)
    scene.loop = scene.new_loop(handler, replace(LIMITS, back_off=back_off))
    await scene.bus.publish(BEHAVIOUR, event(ANN, "x"))
    async with scene.running():
        await scene.until(lambda: scene.committed(ANN) == 1)
    assert scene.seen == ["x"]
    assert scene.letters() == []
    assert [b - a for a, b in pairwise(waits)] == [1.0, 2.0, 4.0, 8.0, 8.0]


def test_the_back_off_waits_as_long_as_it_is_told_to() -> None:
    """A limit that says "in 30 s" would be hammered until then."""
    back_off = BackOff(first_s=0.1, longest_s=15.0, chance=lambda: 0.5)
    assert back_off.wait_s(1, Retryable("x")) == 0.05
    assert back_off.wait_s(3, Retryable("x")) == 0.2
    assert back_off.wait_s(10_000, Retryable("x")) == 7.5
    assert back_off.wait_s(1, Retryable("x", after_s=30.0)) == 30.0


async def test_a_partition_that_waits_does_not_hold_up_the_others() -> None:
    """One shopper's broken state would stop the recommendations of all."""
    hold = asyncio.Event()

    async def handler(batch: Sequence[Received[Behaviour]]) -> None:
        if batch[0].key == ANN and not hold.is_set():
            await asyncio.sleep(0)
            raise Retryable("not yet")
        await scene.note(batch)

    scene = Scene()
    scene.loop = scene.new_loop(handler, replace(LIMITS, lane=10, poll=5, batch=3))
    async with scene.running():
        for i in range(100):
            await scene.bus.publish(BEHAVIOUR, event(ANN, f"a{i}"))
            await scene.bus.publish(BEHAVIOUR, event(BOB, f"b{i}"))
        await scene.until(lambda: scene.committed(BOB) == 100)
        assert scene.committed(ANN) == 0
        hold.set()
        await scene.until(lambda: scene.committed(ANN) == 100)
    assert [s for s in scene.seen if s[0] == "a"] == [f"a{i}" for i in range(100)]


async def test_anything_else_ends_the_process_but_keeps_what_was_done() -> None:
    """A bug that is swallowed looks like a service that works."""

    async def handler(batch: Sequence[Received[Behaviour]]) -> None:
        if queries(batch) == ["bad"]:
            raise ZeroDivisionError
        await scene.note(batch)

    scene = Scene()
    scene.loop = scene.new_loop(handler, replace(LIMITS, batch=1, commit_s=1e9))
    for what in ("good", "bad", "never"):
        await scene.bus.publish(BEHAVIOUR, event(ANN, what))
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(scene.loop.run(scene.stop), PATIENCE_S)
    assert scene.seen == ["good"]
    assert scene.committed(ANN) == 1
    assert scene.letters() == []


async def test_a_flood_of_dead_letters_stops_the_partition() -> None:
    """A bad release would drain a whole topic into the dead letters within minutes."""

    async def handler(batch: Sequence[Received[Behaviour]]) -> None:
        if batch[0].key == ANN:
            raise Invalid("this release understands nothing")
        await scene.note(batch)

    scene = Scene()
    limit = DeadLetterLimit(share=0.5, window=20, least=10)
    scene.loop = scene.new_loop(handler, replace(LIMITS, dead_letters=limit))
    await scene.bus.publish_all(BEHAVIOUR, [event(ANN, f"{i}") for i in range(200)])
    async with scene.running():
        await scene.until(lambda: scene.loop.unready() is not None)
        await scene.bus.publish(BEHAVIOUR, event(BOB, "goes on"))
        await scene.until(lambda: scene.seen == ["goes on"])
        assert str(place(ANN)) in (scene.loop.unready() or "")
    assert scene.committed(ANN) == 10
    assert len(scene.letters()) == 10


async def test_a_few_dead_letters_stop_nothing() -> None:
    """One clumsy sender must not be able to stop the shop's events."""

    async def handler(batch: Sequence[Received[Behaviour]]) -> None:
        for query in queries(batch):
            if int(query) % 2 == 0:
                raise Invalid("even")
        await scene.note(batch)

    scene = Scene()
    limit = DeadLetterLimit(share=0.5, window=20, least=10)
    scene.loop = scene.new_loop(handler, replace(LIMITS, dead_letters=limit, batch=4))
    await scene.bus.publish_all(BEHAVIOUR, [event(ANN, f"{i}") for i in range(100)])
    async with scene.running():
        await scene.until(lambda: scene.committed(ANN) == 100)
    assert len(scene.letters()) == 50
    assert scene.loop.unready() is None


async def test_a_dead_letter_that_cannot_be_written_holds_the_partition() -> None:
    """Committed before it is in the dead letters, the record would be gone."""
    scene = Scene()
    scene.poison(ANN, b"poison")
    scene.broker.fail_next_publish(3)
    async with scene.running():
        await scene.until(lambda: scene.committed(ANN) == 1)
    assert len(scene.letters()) == 1


async def test_an_outage_does_not_make_a_flood_of_one_dead_letter() -> None:
    """A partition would stop for good because Kafka was away for some time over one bad record."""
    scene = Scene()
    limit = DeadLetterLimit(share=0.5, window=20, least=10)
    scene.loop = scene.new_loop(scene.note, replace(LIMITS, dead_letters=limit))
    scene.poison(ANN, b"poison")
    scene.broker.fail_next_publish(30)
    async with scene.running():
        await scene.until(lambda: scene.committed(ANN) == 1)
        await scene.bus.publish(BEHAVIOUR, event(ANN, "goes on"))
        await scene.until(lambda: scene.seen == ["goes on"])
    assert len(scene.letters()) == 1


@pytest.mark.parametrize("away", ["joining", "waiting"])
async def test_a_stop_is_heard_while_the_broker_is_away(away: str) -> None:
    """A process told to end would sleep on until it is cut short, and count as failed."""
    scene = Scene()
    entered = asyncio.Event()

    async def hang(*args: Any, **kwargs: Any) -> Any:
        entered.set()
        await asyncio.Event().wait()

    if away == "joining":
        scene.bus.work = hang  # type: ignore[method-assign]
    else:
        scene.broker.down = True
        scene.clock.sleep = hang  # type: ignore[method-assign]
    async with scene.running():
        await asyncio.wait_for(entered.wait(), PATIENCE_S)


async def test_a_tombstone_arrives_without_an_envelope() -> None:
    """A product that is gone would be recommended for ever."""
    got: list[Received[Product]] = []

    async def handler(batch: Sequence[Received[Product]]) -> None:
        got.extend(batch)

    scene = Scene()
    scene.loop = WorkLoop(scene.bus, SERVICE, {CATALOG: handler}, clock=scene.clock, limits=LIMITS)
    await scene.bus.tombstone(CATALOG, "p1")
    async with scene.running():
        await scene.until(lambda: len(got) == 1)
    assert (got[0].envelope, got[0].key) == (None, "p1")


async def test_a_redriven_letter_has_its_effect_here_and_a_strangers_is_left() -> None:
    """An operator's repair would be lost, or would stop the partition of those sent back."""
    scene = Scene()
    scene.poison(ANN, b"poison")
    async with scene.running():
        await scene.until(lambda: len(scene.letters()) == 1)
        [letter] = scene.broker.records("svc-dlq")
        repaired = encode(event(ANN, "repaired"))
        again = (("dlq-topic", b"orders"), ("dlq-offset", b"5"))
        scene.broker.append("svc-redrive", Outgoing(b"o1", b"an order", again), 0.0)
        scene.broker.append(
            "svc-redrive", Outgoing(letter.key, b"still poison", letter.headers), 0.0
        )
        scene.broker.append("svc-redrive", Outgoing(letter.key, repaired, letter.headers), 0.0)
        await scene.until(lambda: scene.seen == ["repaired"])
        await scene.until(lambda: len(scene.letters()) == 2)
    second = scene.broker.records("svc-dlq")[1]
    assert second.value == b"still poison"
    assert header(second.headers, "dlq-topic") == b"behaviour"
    assert header(second.headers, "dlq-offset") == b"0"
    assert scene.broker.committed["svc", TopicPartition("svc-redrive", 0)] == 3


async def test_a_stop_lets_the_handler_finish_and_commits() -> None:
    """Each deployment would otherwise repeat, or cut short, what is under way."""
    entered, leave = asyncio.Event(), asyncio.Event()

    async def handler(batch: Sequence[Received[Behaviour]]) -> None:
        entered.set()
        await leave.wait()
        await scene.note(batch)

    scene = Scene()
    scene.loop = scene.new_loop(handler, replace(LIMITS, batch=2))
    await scene.bus.publish_all(BEHAVIOUR, [event(ANN, f"{i}") for i in range(6)])
    async with scene.running():
        await asyncio.wait_for(entered.wait(), PATIENCE_S)
        scene.stop.set()
        leave.set()
    assert len(scene.seen) >= 2
    assert scene.committed(ANN) == len(scene.seen)


async def test_a_handler_that_does_not_end_is_abandoned_uncommitted() -> None:
    """A hung handler would keep the process from ever stopping, or lose what it held."""
    entered = asyncio.Event()

    async def handler(batch: Sequence[Received[Behaviour]]) -> None:
        entered.set()
        await asyncio.Event().wait()

    scene = Scene(handler, replace(LIMITS, hand_over_s=0.05))
    await scene.bus.publish(BEHAVIOUR, event(ANN, "x"))
    async with scene.running():
        await asyncio.wait_for(entered.wait(), PATIENCE_S)
    assert scene.committed(ANN) == 0


async def test_two_members_handle_each_event_and_lose_none_in_rebalances() -> None:
    """Scaling out in the middle of a sale must not lose a purchase."""
    scene, counts = Scene(), Counter[str]()

    async def handler(batch: Sequence[Received[Behaviour]]) -> None:
        await asyncio.sleep(0.001)
        counts.update(queries(batch))

    scene.loop = scene.new_loop(handler, replace(LIMITS, batch=3))
    other, stop_other = scene.new_loop(handler, replace(LIMITS, batch=3)), asyncio.Event()
    async with scene.running():
        for i in range(300):
            await scene.bus.publish(BEHAVIOUR, event(f"user {i % 10}", f"{i}"))
            if i == 100:
                joined = asyncio.create_task(other.run(stop_other))
            if i == 200:
                stop_other.set()
                await joined
            await asyncio.sleep(0)
        await scene.until(lambda: len(counts) == 300)
    assert counts == Counter({f"{i}": 1 for i in range(300)})


async def test_a_broker_that_goes_and_comes_is_survived() -> None:
    """A restart of Kafka would take every service down with it."""
    scene = Scene()
    scene.broker.down = True
    async with scene.running():
        slept = scene.clock.monotonic()
        await scene.until(lambda: scene.clock.monotonic() > slept)
        scene.broker.down = False
        await scene.bus.publish(BEHAVIOUR, event(ANN, "1"))
        await scene.until(lambda: scene.seen == ["1"])
        scene.broker.down = True
        for _ in range(20):
            await asyncio.sleep(0.001)
        scene.broker.down = False
        await scene.bus.publish(BEHAVIOUR, event(ANN, "2"))
        await scene.until(lambda: scene.committed(ANN) == 2)
    assert scene.seen == ["1", "2"]


@settings(max_examples=60)
@given(
    fates=st.lists(st.sampled_from("..........rip"), min_size=1, max_size=60),
    batch=st.integers(1, 9),
)
def test_every_record_ends_in_the_effect_or_among_the_dead_letters(
    fates: list[str], batch: int
) -> None:
    """Law: whatever mixture of good, retried, refused and unreadable comes, nothing is lost."""

    async def main() -> None:
        retried: set[str] = set()

        async def handler(received: Sequence[Received[Behaviour]]) -> None:
            for query in queries(received):
                fate = fates[int(query)]
                if fate == "r" and query not in retried:
                    retried.add(query)
                    raise Retryable("once")
                if fate == "i":
                    raise Invalid("no")
            await scene.note(received)

        limit = DeadLetterLimit(share=1.0)
        scene = Scene(handler, replace(LIMITS, batch=batch, dead_letters=limit))
        for i, fate in enumerate(fates):
            if fate == "p":
                scene.poison(ANN, b"poison")
            else:
                await scene.bus.publish(BEHAVIOUR, event(ANN, f"{i}"))
        async with scene.running():
            await scene.until(lambda: scene.committed(ANN) == len(fates))
        assert scene.seen == [f"{i}" for i, fate in enumerate(fates) if fate in ".r"]
        assert len(scene.letters()) == sum(fate in "ip" for fate in fates)

    asyncio.run(main())

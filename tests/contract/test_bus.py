"""One suite for every adapter of the bus: what passes it can stand in for the other."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from msgspec import Struct

from shared.contracts.envelope import MAX_BYTES, Envelope, decode, encode, header, headers_of, utc
from shared.contracts.errors import Invalid, UndeclaredTopic
from shared.contracts.service import Process, Service
from shared.contracts.topics import Partitions, Topic, wrap
from shared.runtime.bus.kafka import KafkaBus
from shared.runtime.bus.memory import MemoryBroker, MemoryBus
from shared.runtime.bus.partition import partition_of
from shared.runtime.bus.port import Bus, Record, TopicPartition, Work
from shared.runtime.bus.records import redrives
from shared.runtime.clock import SystemClock

PATIENCE_S = 30.0


class Said(Struct, frozen=True):
    """An event of these tests."""

    who: str
    what: str


def new_topic(partitions: int = 3, keep: timedelta | None = timedelta(days=1)) -> Topic[Said]:
    return Topic(
        name=f"said-{uuid4().hex[:12]}",
        event=Said,
        about="What was said.",
        key="who",
        key_of=lambda e: e.data.who,
        keep=keep,
        partitions=Partitions(local=partitions, production=partitions),
    )


def said(topic: Topic[Said], who: str, what: str) -> Envelope[Said]:
    return wrap(topic, Said(who, what), id=uuid4().hex, source="test", time=utc(1_700_000_000))


@dataclass
class Room:
    """A broker with two topics, and a service that may use both."""

    topic: Topic[Said]
    other: Topic[Said]
    service: Service
    open_bus: Callable[[Service], Bus]
    buses: list[Bus] = field(default_factory=list)

    def bus(self, service: Service | None = None) -> Bus:
        bus = self.open_bus(service or self.service)
        self.buses.append(bus)
        return bus


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
async def room(request: pytest.FixtureRequest) -> AsyncIterator[Room]:
    topic, other = new_topic(), new_topic(partitions=1, keep=None)
    service = Service(
        name=f"svc-{uuid4().hex[:8]}",
        about="Tests the bus.",
        processes=(Process("worker", "reads"),),
        reads=(topic, other),
        writes=(topic, other),
    )
    broker = MemoryBroker()

    def memory(service: Service) -> Bus:
        return MemoryBus(broker, service, clock=SystemClock(), release="1.2.3")

    def kafka(service: Service) -> Bus:
        return KafkaBus(address, service, clock=SystemClock(), release="1.2.3")

    if request.param == "kafka":
        from shared.runtime.bus import admin

        address = request.getfixturevalue("kafka_address")
        topics = [admin.wanted(t, production=False) for t in (topic, other)]
        topics += admin.wanted_of(service.name, production=False)
        await asyncio.to_thread(admin.ensure_topics, address, topics)
    room = Room(topic, other, service, memory if request.param == "memory" else kafka)
    yield room
    for bus in room.buses:
        await bus.close()


class Member:
    """Collects what a member of a group gets, and hears of rebalances."""

    def __init__(self) -> None:
        self.work: Work | None = None
        self.events: list[tuple[str, list[TopicPartition]]] = []
        self.commit_on_revoke: dict[TopicPartition, int] = {}
        self.records: list[Record] = []

    async def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        self.events.append(("assigned", list(partitions)))

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        self.events.append(("revoked", list(partitions)))
        if self.work is not None and self.commit_on_revoke:
            await self.work.commit(self.commit_on_revoke)
            self.records.clear()

    async def join(self, bus: Bus, topics: Sequence[Topic[Any]], group: str) -> Work:
        self.work = await bus.work(topics, group=group, rebalance=self)
        return self.work

    async def poll(self) -> None:
        assert self.work is not None
        for records in (await self.work.poll(max_records=100, timeout_s=0.05)).values():
            self.records.extend(records)

    def what(self) -> list[str]:
        return [decode(r.value, Said).data.what for r in self.records if r.value is not None]


async def until(done: Callable[[], bool], step: Callable[[], Awaitable[object]]) -> None:
    """Repeat `step` until `done`; fail when that takes too long."""
    async with asyncio.timeout(PATIENCE_S):
        while not done():
            await step()
            await asyncio.sleep(0)


async def test_what_is_published_is_read_in_the_order_of_its_key(room: Room) -> None:
    """Folds over one shopper's events would compute nonsense if order were lost."""
    bus, reader = room.bus(), Member()
    sent = [said(room.topic, f"user {i % 4}", f"{i}") for i in range(40)]
    positions = [await bus.publish(room.topic, e) for e in sent[:20]]
    positions += await bus.publish_all(room.topic, sent[20:])
    await reader.join(bus, [room.topic], room.service.name)
    await until(lambda: len(reader.records) >= 40, reader.poll)
    await reader.work.close()
    by_position = {r.position: decode(r.value, Said) for r in reader.records}
    assert [by_position[p] for p in positions] == sent
    for user in range(4):
        mine = [int(e.data.what) for e in by_position.values() if e.data.who == f"user {user}"]
        assert mine == sorted(mine)
        assert len(mine) == 10


@pytest.mark.parametrize("who", ["", "ann", "ö 漢 😀", "a:b/c", "x" * 256])
async def test_a_record_is_what_was_sent_in_its_keys_place(room: Room, who: str) -> None:
    """Two clients that place a key differently would split a shopper over two partitions."""
    bus, reader = room.bus(), Member()
    envelope = said(room.topic, who, "hello")
    position = await bus.publish(room.topic, envelope)
    [again] = await bus.publish_all(room.topic, [envelope])
    assert position.partition == again.partition == partition_of(who.encode(), 3)
    await reader.join(bus, [room.topic], room.service.name)
    await until(lambda: len(reader.records) >= 2, reader.poll)
    await reader.work.close()
    for record in reader.records:
        assert record.key == who.encode()
        assert record.value == encode(envelope)
        assert tuple(record.headers) == headers_of(envelope)


async def test_many_large_events_keep_their_order_over_several_batches(room: Room) -> None:
    """An import whose batches overtake each other would end with old prices."""
    bus, reader = room.bus(), Member()
    sent = [said(room.topic, "one", f"{i}-" + "x" * 20_000) for i in range(60)]
    positions = await bus.publish_all(room.topic, sent)
    assert [p.offset for p in positions] == list(range(60))
    await reader.join(bus, [room.topic], room.service.name)
    await until(lambda: len(reader.records) >= 60, reader.poll)
    await reader.work.close()
    assert reader.what() == [e.data.what for e in sent]


async def test_nothing_published_is_no_error(room: Room) -> None:
    """A batch whose events were all rejected must not fail its request."""
    assert await room.bus().publish_all(room.topic, []) == []


async def test_an_event_too_large_for_a_record_is_refused_and_the_bus_goes_on(room: Room) -> None:
    """One huge event would otherwise be retried for ever, or break the producer for the others."""
    bus = room.bus()
    with pytest.raises(Invalid, match="bytes"):
        await bus.publish(room.topic, said(room.topic, "ann", "x" * MAX_BYTES))
    largest = MAX_BYTES - len(encode(said(room.topic, "ann", "")))
    await bus.publish(room.topic, said(room.topic, "ann", "x" * largest))
    await bus.publish_all(room.topic, [said(room.topic, "ann", "x" * largest)] * 2)


async def test_a_tombstone_has_the_key_and_no_value(room: Room) -> None:
    """Erasure rests on it: compaction drops only keys whose last record has no value."""
    bus, reader = room.bus(), Member()
    await bus.publish(room.other, said(room.other, "ann", "hello"))
    position = await bus.tombstone(room.other, "ann")
    assert position.offset == 1
    await reader.join(bus, [room.other], room.service.name)
    await until(lambda: len(reader.records) >= 2, reader.poll)
    await reader.work.close()
    assert [(r.key, r.value is None) for r in reader.records] == [(b"ann", False), (b"ann", True)]


@pytest.mark.parametrize(
    ("key", "value"), [(b"k", b"\xff\x00 no JSON"), (None, b"x"), (b"k", None), (None, None)]
)
async def test_a_dead_letter_keeps_the_original_bytes(
    room: Room, key: bytes | None, value: bytes | None
) -> None:
    """An operator could not repair and re-drive what was changed on the way."""
    bus = room.bus()
    record = Record(room.topic.name, 2, 7, key, value, (("ce_id", b"1"), ("h", b"\xfe")), 0)
    await bus.dead_letter(record, reason="no JSON at 0 ✗", attempt=3)
    letters = new_topic(partitions=1)
    letters = Topic(**{**_fields(letters), "name": f"{room.service.name}-dlq"})
    operator = Service(room.service.name, "", processes=(), reads=(letters,))
    reader = Member()
    await reader.join(room.bus(operator), [letters], f"operator-{uuid4().hex}")
    await until(lambda: len(reader.records) >= 1, reader.poll)
    await reader.work.close()
    [letter] = reader.records
    assert (letter.key, letter.value or None) == (key, value)
    assert tuple(letter.headers[:2]) == record.headers
    about = {name: header(letter.headers, name).decode() for name, _ in letter.headers[2:]}
    assert about.pop("dlq-time").endswith("+00:00")
    assert about == {
        "dlq-topic": room.topic.name,
        "dlq-partition": "2",
        "dlq-offset": "7",
        "dlq-reason": "no JSON at 0 ✗",
        "dlq-attempt": "3",
        "dlq-service": room.service.name,
        "dlq-release": "1.2.3",
    }


async def test_a_topic_outside_the_manifest_is_refused(room: Room) -> None:
    """A manifest that can lie makes the map, the access rules and the checks worthless."""
    bus, stranger = room.bus(), new_topic()
    envelope = said(stranger, "ann", "hello")
    for attempt in (
        bus.publish(stranger, envelope),
        bus.publish_all(stranger, [envelope]),
        bus.tombstone(stranger, "ann"),
        bus.work([room.topic, stranger], group=room.service.name, rebalance=Member()),
        bus.view([stranger]),
    ):
        with pytest.raises(UndeclaredTopic, match=stranger.name):
            await attempt


async def test_a_group_goes_on_where_it_committed(room: Room) -> None:
    """After a restart, events would be lost if it went on too far, repeated for ever if it did not."""
    bus, first, second = room.bus(), Member(), Member()
    await bus.publish_all(room.other, [said(room.other, "ann", f"{i}") for i in range(5)])
    work = await first.join(bus, [room.other], "group-" + room.service.name)
    await until(lambda: len(first.records) >= 5, first.poll)
    await work.commit({TopicPartition(room.other.name, 0): 3})
    await work.close()
    work = await second.join(bus, [room.other], "group-" + room.service.name)
    await until(lambda: len(second.records) >= 2, second.poll)
    await work.close()
    assert second.what() == ["3", "4"]


async def test_a_commit_for_someone_elses_partition_is_left_out(room: Room) -> None:
    """A member that lost a partition in a rebalance must not crash over its last commit."""
    bus, member = room.bus(), Member()
    work = await member.join(bus, [room.other], room.service.name)
    await until(lambda: bool(work.assignment()), member.poll)
    lost = TopicPartition(room.topic.name, 1)
    await work.commit({lost: 5})
    work.pause(lost)
    work.resume(lost)
    work.seek(lost, 5)
    await work.close()


async def test_a_paused_partition_keeps_silent_and_the_others_go_on(room: Room) -> None:
    """One partition that waits for Redis would stall all others, or run memory full."""
    bus, member = room.bus(), Member()
    await bus.publish_all(room.topic, [said(room.topic, f"user {i}", f"{i}") for i in range(30)])
    work = await member.join(bus, [room.topic], room.service.name)
    paused = TopicPartition(room.topic.name, 0)
    work.pause(paused)
    expected = [i for i in range(30) if partition_of(f"user {i}".encode(), 3) != 0]
    await until(lambda: len(member.records) >= len(expected), member.poll)
    assert {r.partition for r in member.records} == {1, 2}
    work.resume(paused)
    await until(lambda: len(member.records) >= 30, member.poll)
    assert sorted(map(int, member.what())) == list(range(30))
    await work.close()


async def test_whether_an_end_is_reached_is_told(room: Room) -> None:
    """A training would begin on half a history; on a busy topic it would wait for ever."""
    bus, member = room.bus(), Member()
    await bus.publish_all(room.topic, [said(room.topic, f"user {i}", f"{i}") for i in range(30)])
    work = await member.join(bus, [room.topic], room.service.name)
    await until(lambda: bool(work.assignment()), member.poll)
    ends = await work.ends()
    counts = Counter(partition_of(f"user {i}".encode(), 3) for i in range(30))
    own = {p.partition: end for p, end in ends.items() if p.topic == room.topic.name}
    assert own == dict(counts)
    assert await work.reached(ends) == (len(member.records) == 30)
    await until(lambda: len(member.records) >= 30, member.poll)
    await bus.publish(room.topic, said(room.topic, "user 0", "later"))
    assert await work.reached(ends)
    assert not await work.reached(await work.ends())
    work.seek(TopicPartition(room.topic.name, 0), 0)
    assert not await work.reached(ends)
    assert not await work.reached({TopicPartition("a stranger's", 0): 0})
    await work.close()


async def test_seek_reads_again_from_there(room: Room) -> None:
    """A handler that must repeat from an offset depends on it."""
    bus, member = room.bus(), Member()
    await bus.publish_all(room.other, [said(room.other, "ann", f"{i}") for i in range(4)])
    work = await member.join(bus, [room.other], room.service.name)
    await until(lambda: len(member.records) >= 4, member.poll)
    work.seek(TopicPartition(room.other.name, 0), 2)
    await until(lambda: len(member.records) >= 6, member.poll)
    await work.close()
    assert member.what() == ["0", "1", "2", "3", "2", "3"]


async def test_two_members_share_the_partitions_and_the_last_inherits_all(room: Room) -> None:
    """Scale-out would handle events twice, or not at all."""
    group, all_three = room.service.name, {TopicPartition(room.topic.name, p) for p in range(3)}
    one, two = Member(), Member()
    first = await one.join(room.bus(), [room.topic], group)
    await until(lambda: first.assignment() >= all_three, one.poll)
    joining = asyncio.create_task(two.join(room.bus(), [room.topic], group))
    await until(joining.done, one.poll)
    second = joining.result()
    await until(lambda: bool(first.assignment()) and bool(second.assignment()), one.poll)
    assert first.assignment() | second.assignment() >= all_three
    assert not first.assignment() & second.assignment()
    assert any(kind == "revoked" and all_three <= set(those) for kind, those in one.events)
    assert one.events[-1] == ("assigned", sorted(first.assignment()))
    await second.close()
    await until(lambda: first.assignment() >= all_three, one.poll)
    await first.close()


async def test_a_commit_while_being_revoked_counts(room: Room) -> None:
    """Otherwise each rebalance repeats what was just done."""
    group, at = room.service.name, TopicPartition(room.other.name, 0)
    bus, one, two = room.bus(), Member(), Member()
    await bus.publish_all(room.other, [said(room.other, "ann", f"{i}") for i in range(6)])
    first = await one.join(bus, [room.other], group)
    await until(lambda: len(one.records) >= 6, one.poll)
    one.commit_on_revoke = {at: 4}
    joining = asyncio.create_task(two.join(room.bus(), [room.other], group))
    await until(joining.done, one.poll)

    async def both() -> None:
        await one.poll()
        await two.poll()

    await until(lambda: bool(one.records or two.records), both)
    assert sorted(one.what() + two.what()) == ["4", "5"]
    await first.close()
    await joining.result().close()


async def test_what_is_redriven_to_a_service_comes_to_its_group(room: Room) -> None:
    """A repaired dead letter would otherwise come to every reader of the topic, or to none."""
    letters = Topic(**{**_fields(room.other), "name": redrives(room.service.name)})
    operator = Service("operator", "", processes=(), writes=(letters,))
    await room.bus(operator).publish(letters, said(letters, "ann", "again"))
    member = Member()
    work = await member.join(room.bus(), [room.topic], room.service.name)
    await until(lambda: len(member.records) >= 1, member.poll)
    await work.close()
    assert [(r.topic, r.offset) for r in member.records] == [(letters.name, 0)]


async def test_a_view_reads_all_from_the_start_and_says_when_it_has(room: Room) -> None:
    """A replica that answers before it knows the catalogue recommends nothing."""
    bus, got = room.bus(), []
    await bus.publish_all(room.topic, [said(room.topic, f"user {i}", f"{i}") for i in range(10)])
    await bus.publish(room.other, said(room.other, "ann", "10"))
    view = await bus.view([room.topic, room.other])
    assert not view.caught_up
    async with asyncio.timeout(PATIENCE_S):
        async for records in view.records():
            assert len({(r.topic, r.partition) for r in records}) == 1
            got += [int(decode(r.value, Said).data.what) for r in records]
            if len(got) == 11:
                assert not view.caught_up, "the last batch is not taken yet"
                await bus.publish(room.topic, said(room.topic, "bob", "11"))
            if len(got) == 12:
                assert view.caught_up
                break
    assert sorted(got) == list(range(12))
    await view.close()


async def test_an_empty_topic_is_caught_up(room: Room) -> None:
    """A new shop without products would never become ready."""
    bus = room.bus()
    view = await bus.view([room.topic, room.other])
    assert view.caught_up
    await view.close()


async def test_each_view_gets_everything_and_ends_when_closed(room: Room) -> None:
    """Replicas that shared a view's partitions would each know a part of the catalogue."""
    bus = room.bus()
    await bus.publish_all(room.topic, [said(room.topic, f"user {i}", f"{i}") for i in range(9)])
    for _ in range(2):
        view = await bus.view([room.topic])
        got: list[Record] = []
        async with asyncio.timeout(PATIENCE_S):
            async for records in view.records():
                got += records
                if len(got) >= 9:
                    await view.close()
        assert len(got) == 9


async def test_a_bus_that_answers_is_healthy(room: Room) -> None:
    """A service that thinks the broker away tells operators of an outage that is none."""
    assert await room.bus().healthy()


def _fields(topic: Topic[Any]) -> dict[str, Any]:
    return {name: getattr(topic, name) for name in topic.__dataclass_fields__}

"""Topics in a process's memory, for tests: the same promises as Kafka's, and faults at will."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import cycle
from typing import Any, TypeVar

from shared.contracts.envelope import Envelope
from shared.contracts.errors import Retryable
from shared.contracts.service import Service
from shared.contracts.topics import NO_KEY, TOPICS, Topic, dead_letters
from shared.runtime.bus.partition import partition_of
from shared.runtime.bus.port import Position, Rebalance, Record, TopicPartition
from shared.runtime.bus.records import Origin, Outgoing, dead_letter, outgoing, redrives
from shared.runtime.clock import Clock

E = TypeVar("E")
OWN_PARTITIONS = 1
"""Of a service's own topics."""


class MemoryBroker:
    """The topics and groups that several `MemoryBus` share.

    `down` makes every call fail as if the broker did not answer; `fail_next_publish` does so for the
    next so many records, after appending each when `appended`: an acknowledgement that got lost.
    """

    def __init__(self) -> None:
        self.committed: dict[tuple[str, TopicPartition], int] = {}
        self._logs: dict[TopicPartition, list[Record]] = {}
        self._groups: dict[str, list[MemoryWork]] = {}
        self._declared: dict[str, Topic[Any]] = {}
        self._grown = asyncio.Event()
        self._failures = 0
        self._appended = False
        self._down = False

    @property
    def down(self) -> bool:
        """Whether it does not answer."""
        return self._down

    @down.setter
    def down(self, down: bool) -> None:
        self._down = down
        self.wake()

    def fail_next_publish(self, count: int = 1, *, appended: bool = False) -> None:
        """Let the next `count` records fail with `Retryable`; `appended` says if they are kept."""
        self._failures, self._appended = count, appended

    def partitions(self, topic: str) -> list[TopicPartition]:
        """Return the topic's partitions, as many as it declares for one machine."""
        known = self._declared.get(topic) or TOPICS.get(topic)
        count = known.partitions.local if known else OWN_PARTITIONS
        return [TopicPartition(topic, p) for p in range(count)]

    def declare(self, topic: Topic[Any]) -> None:
        """Let a topic exist that is not among the product's own."""
        self._declared[topic.name] = topic

    def records(self, topic: str) -> list[Record]:
        """Return all records of a topic, partition by partition; for a test to look at."""
        return [r for p in self.partitions(topic) for r in self.log(p)]

    def log(self, partition: TopicPartition) -> list[Record]:
        """Return the partition's records; the offset is the index."""
        return self._logs.setdefault(partition, [])

    def append(self, topic: str, record: Outgoing, now: float) -> Position:
        """Append and wake the readers."""
        self.answer()
        fails = self._failures > 0
        self._failures -= fails
        if fails and not self._appended:
            raise Retryable("the broker did not take the record")
        partitions = self.partitions(topic)
        number = partition_of(record.key or NO_KEY.encode(), len(partitions))
        log = self.log(partitions[number])
        added = Record(
            topic, number, len(log), record.key, record.value, record.headers, int(now * 1000)
        )
        log.append(added)
        self.wake()
        if fails:
            raise Retryable("the broker's acknowledgement got lost")
        return added.position

    def answer(self) -> None:
        """Raise `Retryable` while down."""
        if self.down:
            raise Retryable("the broker does not answer")

    def wake(self) -> None:
        """Let all who wait look again."""
        self._grown.set()
        self._grown = asyncio.Event()

    async def grown(self, timeout_s: float | None = None) -> bool:
        """Wait for `wake`; False after `timeout_s`."""
        try:
            # Not wait_for: before Python 3.12 it loses a cancellation that comes with the wake.
            async with asyncio.timeout(timeout_s):
                await self._grown.wait()
        except TimeoutError:
            return False
        return True

    async def rebalance(
        self, group: str, *, joins: "MemoryWork | None" = None, leaves: "MemoryWork | None" = None
    ) -> None:
        """Take all partitions from all members and hand them out anew, as Kafka's eager protocol."""
        members = self._groups.setdefault(group, [])
        for member in [m for m in members if m is not leaves]:
            await member.release()
        if leaves is not None and leaves in members:
            members.remove(leaves)
        if joins is not None:
            members.append(joins)
        shares: dict[MemoryWork, list[TopicPartition]] = {m: [] for m in members}
        for topic in sorted({t for m in members for t in m.topics}):
            able = cycle([m for m in members if topic in m.topics])
            for partition in self.partitions(topic):
                shares[next(able)].append(partition)
        for member, share in shares.items():
            await member.take(share)
        self.wake()


class MemoryBus:
    """A service's bus on a `MemoryBroker`."""

    def __init__(
        self, broker: MemoryBroker, service: Service, *, clock: Clock, release: str = "test"
    ) -> None:
        self._broker = broker
        self._service = service
        self._clock = clock
        self._origin = Origin(service.name, release)

    async def publish(self, topic: Topic[E], envelope: Envelope[E]) -> Position:
        """See `Bus.publish`."""
        self._grant_write(topic)
        return self._broker.append(topic.name, outgoing(topic, envelope), self._clock.now())

    async def publish_all(
        self, topic: Topic[E], envelopes: Sequence[Envelope[E]]
    ) -> list[Position]:
        """See `Bus.publish_all`."""
        self._grant_write(topic)
        records = [outgoing(topic, e) for e in envelopes]
        return [self._broker.append(topic.name, r, self._clock.now()) for r in records]

    async def tombstone(self, topic: Topic[Any], key: str) -> Position:
        """See `Bus.tombstone`."""
        self._grant_write(topic)
        return self._broker.append(topic.name, Outgoing(key.encode(), None, ()), self._clock.now())

    async def dead_letter(self, record: Record, *, reason: str, attempt: int) -> None:
        """See `Bus.dead_letter`."""
        now = self._clock.now()
        put_aside = dead_letter(record, self._origin, reason=reason, attempt=attempt, now=now)
        self._broker.append(dead_letters(self._service.name), put_aside, now)

    async def work(
        self, topics: Sequence[Topic[Any]], *, group: str, rebalance: Rebalance
    ) -> "MemoryWork":
        """See `Bus.work`."""
        self._grant_read(topics)
        self._broker.answer()
        names = frozenset((*(t.name for t in topics), redrives(self._service.name)))
        work = MemoryWork(self._broker, names, group, rebalance)
        await self._broker.rebalance(group, joins=work)
        return work

    async def view(self, topics: Sequence[Topic[Any]]) -> "MemoryView":
        """See `Bus.view`."""
        self._grant_read(topics)
        self._broker.answer()
        return MemoryView(self._broker, [t.name for t in topics])

    async def healthy(self) -> bool:
        """See `Bus.healthy`."""
        return not self._broker.down

    async def close(self) -> None:
        """Nothing is open."""

    def _grant_read(self, topics: Sequence[Topic[Any]]) -> None:
        for topic in topics:
            self._service.may_read(topic)
            self._broker.declare(topic)

    def _grant_write(self, topic: Topic[Any]) -> None:
        self._service.may_write(topic)
        self._broker.declare(topic)


class MemoryWork:
    """A member of a group on a `MemoryBroker`."""

    def __init__(
        self, broker: MemoryBroker, topics: frozenset[str], group: str, rebalance: Rebalance
    ) -> None:
        self.topics = topics
        self._broker = broker
        self._group = group
        self._rebalance = rebalance
        self._next: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._moving = True

    async def poll(
        self, *, max_records: int, timeout_s: float
    ) -> Mapping[TopicPartition, list[Record]]:
        """See `Work.poll`."""
        found = self._take(max_records)
        if not found and await self._broker.grown(timeout_s):
            found = self._take(max_records)
        return found

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See `Work.commit`."""
        self._broker.answer()
        for partition, offset in offsets.items():
            if partition in self._next:
                self._broker.committed[self._group, partition] = offset

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """See `Work.seek`."""
        if partition in self._next:
            self._next[partition] = offset
            self._broker.wake()

    def pause(self, partition: TopicPartition) -> None:
        """See `Work.pause`."""
        if partition in self._next:
            self._paused.add(partition)

    def resume(self, partition: TopicPartition) -> None:
        """See `Work.resume`."""
        self._paused.discard(partition)
        self._broker.wake()

    def assignment(self) -> frozenset[TopicPartition]:
        """See `Work.assignment`."""
        return frozenset() if self._moving else frozenset(self._next)

    async def ends(self) -> Mapping[TopicPartition, int]:
        """See `Work.ends`."""
        self._broker.answer()
        return {p: len(self._broker.log(p)) for p in self._next}

    async def reached(self, ends: Mapping[TopicPartition, int]) -> bool:
        """See `Work.reached`."""
        return all(self._next.get(p, -1) >= end for p, end in ends.items())

    async def close(self) -> None:
        """See `Work.close`."""
        self._next.clear()
        await self._broker.rebalance(self._group, leaves=self)

    async def release(self) -> None:
        """Give all partitions back; commits made meanwhile still count."""
        self._moving = True
        await self._rebalance.revoked(sorted(self._next))
        self._next.clear()
        self._paused.clear()

    async def take(self, partitions: Sequence[TopicPartition]) -> None:
        """Own `partitions` from now on."""
        committed = self._broker.committed
        self._next = {p: committed.get((self._group, p), 0) for p in partitions}
        self._moving = False
        await self._rebalance.assigned(partitions)

    def _take(self, max_records: int) -> dict[TopicPartition, list[Record]]:
        found: dict[TopicPartition, list[Record]] = {}
        if self._broker.down or self._moving:
            return found
        for partition in sorted(self._next):
            start = self._next[partition]
            records = self._broker.log(partition)[start : start + max_records]
            if records and partition not in self._paused:
                found[partition] = records
                self._next[partition] = start + len(records)
                max_records -= len(records)
        return found


class MemoryView:
    """Topics of a `MemoryBroker`, from their start."""

    def __init__(self, broker: MemoryBroker, topics: Sequence[str]) -> None:
        self._broker = broker
        self._next = {p: 0 for t in topics for p in broker.partitions(t)}
        self._missing = {p: len(broker.log(p)) for p in self._next if broker.log(p)}
        self._closed = False

    async def records(self) -> AsyncIterator[Sequence[Record]]:
        """See `View.records`."""
        while not self._closed:
            batch = self._batch()
            if batch:
                yield batch
                self._taken(batch[-1])
            else:
                await self._broker.grown()

    @property
    def caught_up(self) -> bool:
        """See `View.caught_up`."""
        return not self._missing

    async def close(self) -> None:
        """See `View.close`."""
        self._closed = True
        self._broker.wake()

    def _batch(self) -> Sequence[Record]:
        if not self._broker.down:
            for partition, start in self._next.items():
                if records := self._broker.log(partition)[start:]:
                    self._next[partition] = start + len(records)
                    return records
        return ()

    def _taken(self, last: Record) -> None:
        partition = TopicPartition(last.topic, last.partition)
        if last.offset + 1 >= self._missing.get(partition, 0):
            self._missing.pop(partition, None)

"""From the topics into the lake, each record once."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import polars as pl

from services.trainer.columns import TABLE_OF, TABLES
from services.trainer.history import REDRIVEN, Lake
from shared.contracts.envelope import header
from shared.contracts.errors import Invalid, Retryable
from shared.runtime.bus import Bus, Received, Record, Work
from shared.runtime.bus.port import TopicPartition
from shared.runtime.clock import Clock
from shared.runtime.delivery import received_from
from shared.runtime.telemetry import log

GROUP = "trainer-lake"
POLL_RECORDS = 5_000
POLL_S = 0.25
AGAIN_S = 2.0
LEARNT = frozenset({"behaviour", "orders"})
"""Topics of which models learn."""
Ends = Mapping[TopicPartition, int]

_log = log(__name__)


@dataclass
class Intake:
    """Reads the topics from where the lake's files end, and writes further files.

    The group's committed offsets only show others how far it is: the files decide. Memory holds
    at most `flush_records` plus one poll.

    Parameters
    ----------
    flush_records, flush_s
        Files are written after so many records or seconds, whichever comes first.
    received : callable
        Told how many records of behaviour and orders have come into the lake.
    """

    bus: Bus
    lake: Lake
    clock: Clock
    flush_records: int = 50_000
    flush_s: float = 5.0
    received: Callable[[int], None] = lambda count: None
    _buffer: dict[TopicPartition, list[Record]] = field(default_factory=dict, init=False)
    _next: dict[TopicPartition, int] = field(default_factory=dict, init=False)
    _unsought: set[TopicPartition] = field(default_factory=set, init=False)
    _restarted: set[TopicPartition] = field(default_factory=set, init=False)
    _oldest_at: float | None = field(default=None, init=False)
    _waiting: dict[asyncio.Event, Ends | None] = field(default_factory=dict, init=False)

    async def run(self) -> None:
        """Read for ever; a broker that is away, or room on the disk, is waited for."""
        while True:
            try:
                await self._session()
            except Retryable as away:
                _log.warning("history cannot be read on", reason=str(away))
                await self.clock.sleep(AGAIN_S)

    async def caught_up(self, timeout_s: float) -> bool:
        """Wait until all that was there has been written, at most so long; False if it was not.

        What comes in the meantime is not waited for, or a busy shop's history would never be.
        """
        written = asyncio.Event()
        self._waiting[written] = None
        try:
            async with asyncio.timeout(timeout_s):
                await written.wait()
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(written, None)
        return True

    async def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Rebalance.assigned`: read on where the files end."""
        self._forget(partitions)
        self._unsought.update(partitions)

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Rebalance.revoked`: what is not in a file will be read again."""
        self._forget(partitions)

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            self._buffer.pop(partition, None)
            self._next.pop(partition, None)
            self._unsought.discard(partition)

    async def _session(self) -> None:
        work = await self.bus.work([t.topic for t in TABLES], group=GROUP, rebalance=self)
        try:
            while True:
                await self._seek(work)
                found = await work.poll(max_records=POLL_RECORDS, timeout_s=POLL_S)
                for partition, records in found.items():
                    self._take(partition, records)
                served = await self._reached(work)
                if served or self._due():
                    await self._flush(work)
                for written in served:
                    written.set()
                    self._waiting.pop(written, None)
        finally:
            self._forget([*self._buffer, *self._next])
            await work.close()

    async def _reached(self, work: Work) -> list[asyncio.Event]:
        """Return those who wait for no more than has been polled."""
        for written, ends in list(self._waiting.items()):
            if ends is None and work.assignment() and not self._unsought:
                self._waiting[written] = await work.ends() or None
        waiting = list(self._waiting.items())
        return [written for written, ends in waiting if ends and await work.reached(ends)]

    async def _seek(self, work: Work) -> None:
        for partition in self._unsought & work.assignment():
            if partition.topic in TABLE_OF:
                self._next[partition] = await asyncio.to_thread(self.lake.next_offset, partition)
                work.seek(partition, self._next[partition])
            else:
                self._next[partition] = 0
            self._unsought.discard(partition)

    def _take(self, partition: TopicPartition, records: Sequence[Record]) -> None:
        expected = self._next.get(partition)
        if expected is None:
            return
        if records[0].offset < expected and partition not in self._restarted:
            self._restarted.add(partition)
            _log.error(
                "the topic begins anew below what the history has: move the lake away to read it",
                topic=partition.topic,
                partition=partition.partition,
                expected=expected,
                found=records[0].offset,
            )
        # Gaps are what compaction and retention leave.
        fresh = [record for record in records if record.offset >= expected]
        if fresh:
            self._buffer.setdefault(partition, []).extend(fresh)
            self._next[partition] = fresh[-1].offset + 1
            if self._oldest_at is None:
                self._oldest_at = self.clock.monotonic()

    def _due(self) -> bool:
        if self._oldest_at is None:
            return False
        waited = self.clock.monotonic() - self._oldest_at >= self.flush_s
        return waited or sum(map(len, self._buffer.values())) >= self.flush_records

    async def _flush(self, work: Work) -> None:
        ready, self._buffer, self._oldest_at = self._buffer, {}, None
        for partition, records in ready.items():
            if partition.topic in TABLE_OF:
                await self._write(partition, records)
            else:
                await self._write_redriven(records)
        await work.commit({p: records[-1].offset + 1 for p, records in ready.items()})

    async def _write(self, place: TopicPartition, records: Sequence[Record]) -> None:
        rows, wrong = await asyncio.to_thread(_rows, place.topic, records)
        for record, reason in wrong:
            await self.bus.dead_letter(record, reason=reason, attempt=1)
        first, last = records[0].offset, records[-1].offset
        await asyncio.to_thread(self.lake.append, place, rows, first, last)
        if place.topic in LEARNT:
            self.received(len(records))

    async def _write_redriven(self, records: Sequence[Record]) -> None:
        """Write what came back from the dead letters beside the topics that it was refused from.

        What was refused from other topics is another group's.
        """
        for topic in TABLE_OF:
            place = TopicPartition(topic, REDRIVEN)
            written = await asyncio.to_thread(self.lake.next_offset, place)
            theirs = [r for r in records if r.offset >= written and _origin(r) == topic]
            if theirs:
                await self._write(place, theirs)


def _origin(record: Record) -> str:
    return (header(record.headers, "dlq-topic") or b"").decode("utf-8", "replace")


def _placed(record: Record) -> Record:
    """Return a re-driven record at the offset where it first lay, which tells what is newer."""
    first = header(record.headers, "dlq-offset") or b""
    if record.topic in TABLE_OF or not first.isdigit():
        return record
    return msgspec.structs.replace(record, offset=int(first))


def _rows(topic: str, records: Sequence[Record]) -> tuple[pl.DataFrame, list[tuple[Record, str]]]:
    """Return the records' rows, and the records that are no events of the topic with the reason."""
    table = TABLE_OF[topic]
    good: list[Received[object]] = []
    wrong: list[tuple[Record, str]] = []
    for record in records:
        try:
            good.append(received_from(_placed(record), table.topic))
        except Invalid as error:
            wrong.append((record, str(error)))
    return table.frame(good), wrong

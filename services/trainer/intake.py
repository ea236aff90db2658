"""From the topics into the lake, each record once."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import polars as pl

from services.trainer.columns import TABLE_OF, TABLES
from services.trainer.history import Lake
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
    _idle: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _wanted: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def run(self) -> None:
        """Read for ever; a broker that is away is waited for."""
        while True:
            try:
                await self._session()
            except Retryable as away:
                _log.warning("history cannot be read on", reason=str(away))
                await self.clock.sleep(AGAIN_S)

    async def caught_up(self, timeout_s: float) -> bool:
        """Wait until all that was there has been written, at most so long; False if it was not."""
        self._idle.clear()
        self._wanted.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
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
                if self._due(idle=not found):
                    await self._flush(work)
                if not found and self._wanted.is_set() and await self._complete(work):
                    self._wanted.clear()
                    self._idle.set()
        finally:
            self._forget([*self._buffer, *self._next])
            await work.close()

    async def _complete(self, work: Work) -> bool:
        sought = work.assignment() and not self._unsought
        return bool(sought) and not self._buffer and await work.remaining() == 0

    async def _seek(self, work: Work) -> None:
        for partition in self._unsought & work.assignment():
            self._next[partition] = await asyncio.to_thread(self.lake.next_offset, partition)
            work.seek(partition, self._next[partition])
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

    def _due(self, *, idle: bool) -> bool:
        if self._oldest_at is None:
            return False
        waited = self.clock.monotonic() - self._oldest_at >= self.flush_s
        full = sum(map(len, self._buffer.values())) >= self.flush_records
        return waited or full or (idle and self._wanted.is_set())

    async def _flush(self, work: Work) -> None:
        ready, self._buffer, self._oldest_at = self._buffer, {}, None
        for partition, records in ready.items():
            rows, wrong = await asyncio.to_thread(_rows, partition.topic, records)
            for record, reason in wrong:
                await self.bus.dead_letter(record, reason=reason, attempt=1)
            first, last = records[0].offset, records[-1].offset
            await asyncio.to_thread(self.lake.append, partition, rows, first, last)
        await work.commit({p: records[-1].offset + 1 for p, records in ready.items()})
        learnt = (len(r) for p, r in ready.items() if p.topic in {"behaviour", "orders"})
        self.received(sum(learnt))


def _rows(topic: str, records: Sequence[Record]) -> tuple[pl.DataFrame, list[tuple[Record, str]]]:
    """Return the records' rows, and the records that are no events of the topic with the reason."""
    table = TABLE_OF[topic]
    good: list[Received[object]] = []
    wrong: list[tuple[Record, str]] = []
    for record in records:
        try:
            good.append(received_from(record, table.topic))
        except Invalid as error:
            wrong.append((record, str(error)))
    return table.frame(good), wrong

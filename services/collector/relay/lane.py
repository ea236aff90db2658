"""One partition's way to Kafka: in order, and without a care for the others."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from services.collector.relay.sink import Sink, Slot
from services.collector.wal.format import Record
from shared.contracts.errors import Retryable
from shared.runtime.clock import Clock

_log = logging.getLogger(__name__)
_MOST_WAITING = 4 << 20
_LOOK_AGAIN_S = 2.0
_CANCEL_AGAIN_S = 0.5


class Road(Protocol):
    """What all lanes share."""

    sink: Sink
    clock: Clock

    @property
    def read_up_to(self) -> int:
        """The number of the last record that was given to its lane."""
        ...

    async def reread(self, after: int, slot: Slot) -> tuple[int, Sequence[Record]]:
        """Read on from the log; return up to which number, and what of it is the slot's."""
        ...

    def enter(self, slot: Slot, seqs: Sequence[int], offsets: Sequence[int]) -> None:
        """Note where these records of the slot lie."""
        ...

    async def note(self) -> None:
        """Tell what can be told."""
        ...


class Lane:
    """Sends a partition's records over one connection.

    What waits while the partition is stuck is bounded: beyond 4 MiB records are let go, and read
    again from the log when their turn has come.

    Parameters
    ----------
    since_ms : int or None
        Look first for what the partition has from this time on; None if it can have nothing of the
        records to come.
    """

    def __init__(self, slot: Slot, road: Road, *, since_ms: int | None) -> None:
        self._slot, self._road, self._since_ms = slot, road, since_ms
        self._known: dict[int, int] = {}
        self._waiting: list[Record] = []
        self._bytes = 0
        self._let_go_from = 0
        self._task: asyncio.Task[None] | None = None
        self.stuck = False
        """It took longer than the others cared to wait."""

    @property
    def slot(self) -> Slot:
        """The partition."""
        return self._slot

    def put(self, records: Sequence[Record]) -> None:
        """Take the next records, and set out."""
        if self._let_go_from:
            return
        if self.stuck and self._bytes > _MOST_WAITING:
            self._let_go_from = records[0].seq
            return
        self._waiting += records
        if self.stuck:
            self._bytes += sum(record.size for record in records)
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    @property
    def under_way(self) -> asyncio.Task[None] | None:
        """What sends at the moment; it fails with `Retryable` when the connection is of no more use."""
        return self._task

    async def _run(self) -> None:
        while self._waiting or self._let_go_from:
            if self._since_ms is not None:
                self._known = await self._look_back(self._since_ms)
                self._since_ms = None
            await self._send(await self._next())
            if self.stuck:
                await self._road.note()
        if self.stuck:
            _log.warning("partition %d of %s goes on", self._slot.partition, self._slot.topic)
        self.stuck = False
        self._task = None

    async def _next(self) -> Sequence[Record]:
        if self._waiting:
            records, self._waiting, self._bytes = self._waiting, [], 0
            return records
        upto, found = await self._road.reread(self._let_go_from - 1, self._slot)
        # From here to the end nothing else runs, so that no record is put twice or between.
        self._let_go_from = 0 if upto >= self._road.read_up_to else upto + 1
        return found

    async def _send(self, records: Sequence[Record]) -> None:
        enter, slot, known = self._road.enter, self._slot, self._known
        if known:
            there = [record.seq for record in records if record.seq in known]
            enter(slot, there, [known.pop(seq) for seq in there])
            gone = set(there)
            records = [record for record in records if record.seq not in gone]
        if records:
            offsets = await self._road.sink.append(slot, records)
            enter(slot, [record.seq for record in records], offsets)

    async def _look_back(self, since_ms: int) -> dict[int, int]:
        """Find what the partition has already; insists, since nothing was sent that could be lost."""
        while True:
            try:
                there = await self._road.sink.written_since(self._slot, since_ms)
            except Retryable as reason:
                _log.warning("cannot read partition %d of %s: %s", *reversed(self._slot), reason)
                await self._road.clock.sleep(_LOOK_AGAIN_S)
            else:
                _log.info("records that Kafka has already: %d", len(there))
                return there

    async def leave(self) -> None:
        """Stop at once."""
        task = self._task
        while task is not None and not task.done():
            # Kafka's client loses a cancellation now and then.
            task.cancel()
            await asyncio.wait({task}, timeout=_CANCEL_AGAIN_S)

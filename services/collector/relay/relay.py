"""The relay: takes durable records from the log in order and notes where Kafka put them."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from services.collector.relay.ahead import Ahead
from services.collector.relay.lane import Lane
from services.collector.relay.sink import Sink, Slot
from services.collector.wal.format import Record
from services.collector.wal.index import Published
from shared.contracts.errors import Retryable
from shared.runtime.bus.partition import partition_of
from shared.runtime.clock import Clock

_log = logging.getLogger(__name__)
_LEAST_S, _MOST_S = 0.002, 0.025
_BUSY_PER_S = 500
_WORTH = 1000
"""A request to Kafka costs as much as relaying a hundred records; with this many in it, little."""
_BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)
_MOST_AHEAD = 1 << 18
"""Records behind one that is stuck. After a crash they are looked for in Kafka, 250 bytes each."""


class Source(Protocol):
    """The log, as far as the relay needs it."""

    async def read(self, after: int) -> list[Record]:
        """Wait for durable records behind `after`, which rises from call to call."""
        ...

    async def reread(self, after: int) -> list[Record]:
        """Return durable records behind `after`, which were read before; one call at a time."""
        ...


class Begin(NamedTuple):
    """Where to begin.

    known is the number of the last record that is known to be in Kafka, doubtful that of the last
    which an earlier process may have sent.
    """

    known: int
    doubtful: int


class Relay:
    """Moves records from the log to Kafka; nothing is published twice, nothing overtakes.

    Each partition has one batch on its way at a time; the next group gathers meanwhile, so that
    groups grow with the load. Groups wait for all partitions but those that are stuck: these the
    others leave behind, up to 262,144 records, and what was read past them is told to
    `on_published` when they go on. After an error of the connection, and at the start, what the
    broker already has is looked up by the records' log id and number, and only the rest is sent.

    Parameters
    ----------
    source : Source
        The log.
    sink : Sink
        Kafka.
    on_published : callable
        Told of acknowledged records, in order. May raise OSError (full disk); it is then called
        again later with the same ones.
    topics : sequence of str
        Every topic that a record of the log may go to, in the log's own order.
    begin : Begin
        What earlier processes have done.
    """

    patience_s = 2.0
    """How long the other partitions wait for one."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        clock: Clock,
        *,
        topics: Sequence[str],
        on_published: Callable[[Published], None],
        begin: Begin,
    ) -> None:
        self.sink, self.clock = sink, clock
        self._source = source
        self._numbers = {topic: n for n, topic in enumerate(topics)}
        self._on_published = on_published
        self._slots: dict[str, list[Slot]] = {}
        self._lanes: dict[Slot, Lane] = {}
        self._ahead = Ahead()
        self._noting, self._rereading = asyncio.Lock(), asyncio.Lock()
        self._doubtful = begin.doubtful
        """Records up to this number may have been sent already."""
        self._failures = 0
        self._doubt = 0, 0
        """On this connection: the time of the first doubtful record, the number of the last."""
        self.after = self.read_up_to = begin.known
        self.connected = False

    async def run(self) -> None:
        """Relay for ever; broker outages are waited out."""
        while True:
            try:
                await self.sink.open()
                self.connected = True
                await self._relay()
            except Retryable as reason:
                self.connected = False
                pause = _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
                self._failures += 1
                _log.warning("Kafka is away, the log keeps what comes in: %s", reason)
                await self._leave()
                await self.clock.sleep(pause)
            except asyncio.CancelledError:
                await self._leave()
                raise

    async def _leave(self) -> None:
        """End the connection and all that was under way on it."""
        for lane in self._lanes.values():
            await lane.leave()
        await self.sink.close()
        self._lanes.clear()
        self._slots.clear()
        self._ahead.clear()
        self.read_up_to = self.after

    async def _relay(self) -> None:
        monotonic = self.clock.monotonic
        began, pause, fresh = monotonic(), 0.0, True
        while True:
            await self.clock.sleep(max(0.0, began + pause - monotonic()))
            group = await self._read()
            before, began = began, monotonic()
            pause = pace(len(group), began - before)
            if fresh:
                self._doubt = group[0].at_ms, self._doubtful
            fresh = False
            await self._spread(group)
            await self._settle()
            await self.note()
            self._failures = 0

    async def _read(self) -> list[Record]:
        """Wait for the next group; a stuck lane that fails meanwhile ends the wait."""
        ahead = self._ahead
        while ahead.size >= _MOST_AHEAD:
            await self._one_of(self._under_way())
        reading = asyncio.ensure_future(self._source.read(self.read_up_to))
        try:
            while not reading.done() and (stuck := self._under_way()):
                await self._one_of({reading, *stuck})
            group = await reading
        finally:
            reading.cancel()
        while ahead.size and group[0].seq != self.read_up_to + 1:
            # What a damaged log has lost parts the records around it.
            await self._one_of(self._under_way())
        return group

    async def _one_of(self, tasks: set[asyncio.Future[Any]]) -> None:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            _check(task)

    def _under_way(self) -> set[asyncio.Future[Any]]:
        tasks = (lane.under_way for lane in self._lanes.values())
        return {task for task in tasks if task is not None}

    async def _spread(self, group: Sequence[Record]) -> None:
        """Give the records to their lanes."""
        parts: defaultdict[Slot, list[Record]] = defaultdict(list)
        for record in group:
            slots = self._slots.get(record.topic) or await self._slots_of(record.topic)
            parts[slots[partition_of(record.key, len(slots))]].append(record)
        self._ahead.expect(group)
        self._doubtful = max(self._doubtful, group[-1].seq)
        self.read_up_to = group[-1].seq
        for slot, records in parts.items():
            lane = self._lanes.get(slot)
            if lane is None:
                lane = self._lanes[slot] = Lane(slot, self, since_ms=self._since(records[0]))
            lane.put(records)

    def _since(self, first: Record) -> int | None:
        """Return from when on to look for a lane's records, the first of which is given."""
        at_ms, last = self._doubt
        return at_ms if first.seq <= last else None

    async def _slots_of(self, topic: str) -> list[Slot]:
        n = await self.sink.partitions(topic)
        slots = self._slots[topic] = [Slot(topic, partition) for partition in range(n)]
        return slots

    async def _settle(self) -> None:
        """Wait until every lane has sent what it has, but not for ever."""
        lanes = [lane for lane in self._lanes.values() if lane.under_way and not lane.stuck]
        tasks = [lane.under_way for lane in lanes if lane.under_way]
        if not tasks:
            return
        done, late = await asyncio.wait(
            tasks, timeout=self.patience_s, return_when=asyncio.FIRST_EXCEPTION
        )
        for task in done:
            _check(task)
        for lane in lanes:
            if lane.under_way in late:
                lane.stuck = True
                _log.warning("partition %d of %s is stuck, others go on", *reversed(lane.slot))

    async def reread(self, after: int, slot: Slot) -> tuple[int, Sequence[Record]]:
        """Read on from the log for a lane; see `Road`."""
        async with self._rereading:
            group = await self._source.reread(after)
        upto = min(group[-1].seq, self.read_up_to)
        return upto, [r for r in group if r.seq <= upto and self._slot_of(r) == slot]

    def _slot_of(self, record: Record) -> Slot:
        slots = self._slots[record.topic]
        return slots[partition_of(record.key, len(slots))]

    def enter(self, slot: Slot, seqs: Sequence[int], offsets: Sequence[int]) -> None:
        """Note where a lane's records lie; see `Road`."""
        topic, partition = slot
        self._ahead.enter(seqs, offsets, topic=self._numbers[topic], partition=partition)

    async def note(self) -> None:
        """Tell of the records before which none is missing; see `Road`."""
        async with self._noting:
            while (published := self._ahead.whole()) is not None:
                try:
                    self._on_published(published)
                except OSError as error:
                    _log.error("cannot note what Kafka has taken: %s", error)
                    await self.clock.sleep(_BACKOFF_S[-1])
                else:
                    self._ahead.told(published)
                    self.after = published.last


def _check(task: asyncio.Future[Any]) -> None:
    """Raise what a task has failed with; one that Kafka's client let be cancelled has failed, too."""
    if task.cancelled():
        raise Retryable("a batch was given up")
    task.result()


def pace(records: int, elapsed_s: float) -> float:
    """Return the least time from the beginning of a group to that of the next, in seconds.

    A record waits for it only while others went just before. Where few come, 2 ms; where many
    come, as long as it takes for a group to be worth its request, 25 ms at most.

    Parameters
    ----------
    records : int
        In the group.
    elapsed_s : float
        From the beginning of the group before it.
    """
    if records < _BUSY_PER_S * elapsed_s:
        return _LEAST_S
    return min(_MOST_S, max(_LEAST_S, _WORTH * elapsed_s / records))

"""The relay: takes durable records from the log in order and notes where Kafka put them."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from services.collector.relay.sink import Sink, Slot
from services.collector.wal.format import Record
from services.collector.wal.index import ENTRY_DTYPE, Place, Published
from shared.contracts.errors import Retryable
from shared.runtime.bus.partition import partition_of
from shared.runtime.clock import Clock

_log = logging.getLogger(__name__)
_LEAST_S, _MOST_S = 0.002, 0.025
_BUSY_PER_S = 500
_WORTH = 1000
"""A request to Kafka costs as much as relaying a hundred records; with this many in it, little."""
_BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)


class Source(Protocol):
    """The log, as far as the relay needs it."""

    async def read(self, after: int) -> list[Record]:
        """Wait for durable records behind `after`."""
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

    One group is on its way at a time, one batch a partition; the next group gathers meanwhile, so
    that groups grow with the load. After an error, and at the start, what the broker already has
    is looked up by the records' log id and number, and only the rest is sent.

    Parameters
    ----------
    source : Source
        The log.
    sink : Sink
        Kafka.
    on_published : callable
        Told of every acknowledged group, in order, before the next is read. May raise OSError
        (full disk); it is then called again later with the same group.
    topics : sequence of str
        Every topic that a record of the log may go to, in the log's own order.
    begin : Begin
        What earlier processes have done.
    """

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
        self._source, self._sink, self._clock = source, sink, clock
        self._topics = topics
        self._on_published = on_published
        self._slots: dict[str, list[Slot]] = {}
        self._known: dict[int, Place] = {}
        self._doubtful = begin.doubtful
        """Records up to this number may have been sent already."""
        self._failures = 0
        self.after = begin.known
        self.connected = False

    async def run(self) -> None:
        """Relay for ever; broker outages are waited out."""
        while True:
            try:
                await self._sink.open()
                self.connected = True
                await self._relay()
            except Retryable as reason:
                self.connected = False
                pause = _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
                self._failures += 1
                _log.warning("Kafka is away, the log keeps what comes in: %s", reason)
                await self._sink.close()
                await self._clock.sleep(pause)
            except asyncio.CancelledError:
                await self._sink.close()
                raise

    async def _relay(self) -> None:
        self._slots.clear()
        fresh = True
        monotonic = self._clock.monotonic
        began, pause = monotonic(), 0.0
        while True:
            await self._clock.sleep(max(0.0, began + pause - monotonic()))
            group = unbroken(await self._source.read(self.after))
            before, began = began, monotonic()
            pause = pace(len(group), began - before)
            if fresh and group[0].seq <= self._doubtful:
                await self._look_back(group[0].at_ms)
            fresh = False
            await self._note(await self._ship(group))
            self._failures = 0

    async def _look_back(self, at_ms: int) -> None:
        """Find which of the doubtful records the broker has.

        A number above them there is that of a record which damage has cost the log since.
        """
        there = await self._sink.written_since(self._topics, at_ms)
        self._known = {
            seq: place for seq, place in there.items() if self.after < seq <= self._doubtful
        }
        _log.info("records that Kafka has already: %d", len(self._known))

    async def _ship(self, group: Sequence[Record]) -> Published:
        places: defaultdict[Slot, list[int]] = defaultdict(list)
        published = Published(group[0].seq, np.empty(len(group), ENTRY_DTYPE))
        for place, record in enumerate(group):
            if (there := self._known.pop(record.seq, None)) is not None:
                self._enter(published, Slot(there.topic, there.partition), [place], [there.offset])
                continue
            slots = self._slots.get(record.topic) or await self._slots_of(record.topic)
            places[slots[partition_of(record.key, len(slots))]].append(place)
        self._doubtful = max(self._doubtful, group[-1].seq)
        if places:
            batches = {slot: [group[place] for place in at] for slot, at in places.items()}
            offsets = await self._sink.write(batches)
            for slot, at in places.items():
                self._enter(published, slot, at, offsets[slot])
        published.entries["digest"] = np.array([record.digest for record in group], np.uint64)
        return published

    def _enter(
        self, published: Published, slot: Slot, at: Sequence[int], offsets: Sequence[int]
    ) -> None:
        entries = published.entries
        entries["offset"][at] = offsets
        entries["topic"][at] = self._topics.index(slot.topic)
        entries["partition"][at] = slot.partition

    async def _slots_of(self, topic: str) -> list[Slot]:
        n = await self._sink.partitions(topic)
        slots = self._slots[topic] = [Slot(topic, partition) for partition in range(n)]
        return slots

    async def _note(self, published: Published) -> None:
        while True:
            try:
                self._on_published(published)
            except OSError as error:
                _log.error("cannot note what Kafka has taken: %s", error)
                await self._clock.sleep(_BACKOFF_S[-1])
            else:
                self.after = published.last
                return


def unbroken(records: Sequence[Record]) -> Sequence[Record]:
    """Return the records up to the first gap in their numbers, which damage to the log leaves."""
    first = records[0].seq
    if records[-1].seq - first == len(records) - 1:
        return records
    return [record for place, record in enumerate(records) if record.seq == first + place]


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

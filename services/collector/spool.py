"""The log, its index and the memory of ids, opened together and kept in step through crashes."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.collector.core.dedup import Seen
from services.collector.core.rejections import Rejections
from services.collector.settings import CollectorSettings
from services.collector.wal.disk import Disk
from services.collector.wal.format import Named, Record
from services.collector.wal.index import Index, Published
from services.collector.wal.log import Bounds, Log
from services.collector.wal.writer import Pace
from shared.contracts.topics import BEHAVIOUR_REJECTED, Topic
from shared.runtime import metrics
from shared.runtime.clock import Clock

_log = logging.getLogger(__name__)
_LOST_REASON = "the reason is kept with the record in behaviour-rejected"
_PACE_S = 0.25
_EXPIRE_S = 5.0


def named(topics: Sequence[Topic[Any]]) -> list[Named]:
    """Return the topics' names and event types, as the log's segments carry them."""
    return [(t.name, t.type) for t in topics]


@dataclass
class Opened:
    """What a start found."""

    newest_ms: int = 0
    records: int = 0


class Backlog:
    """Remembers when the log was how long, a mark a second while it grows."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, float]] = deque()

    def oldest_s(self, last: int, published: int, now_s: float) -> float:
        """Return how long the first record after `published` has waited, a second too short at most."""
        marks = self._marks
        if last > published and (not marks or (last > marks[-1][0] and now_s >= marks[-1][1] + 1)):
            marks.append((last, now_s))
        while marks and marks[0][0] <= published:
            marks.popleft()
        return now_s - marks[0][1] if marks else 0.0


class Spool:
    """What was acknowledged and where it is.

    The ids of published records come from the index, those of the rest from the log itself, so
    that after a kill at any moment exactly what the log holds is known.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        topics: Sequence[Topic[Any]],
        clock: Clock,
        *,
        disk: Disk | None = None,
    ) -> None:
        self._settings, self._clock = settings, clock
        self._disk = disk or Disk()
        self.topics = named(topics)
        self.log = Log(
            settings.spool_folder,
            self.topics,
            bounds=Bounds(
                disk_bytes=settings.spool_max_bytes, tail_bytes=settings.spool_memory_bytes
            ),
            pace=Pace(segment_bytes=settings.spool_segment_bytes, group_s=settings.spool_group_s),
            disk=self._disk,
        )
        self.seen = Seen(
            horizon_s=settings.duplicates_hours * 3600, max_ids=settings.duplicates_max_ids
        )
        self.index = Index(settings.spool_folder / "published", disk=self._disk)
        self.rejections = Rejections()
        self.opened = Opened()
        self._published = asyncio.Event()

    async def open(self) -> None:
        """Recover everything from disk and start the writer.

        Raises
        ------
        LogFull
            Another process has the folder.
        OSError
            The folder cannot be used.
        """
        await asyncio.to_thread(self._open)
        self.log.start()

    def _open(self) -> None:
        header = self.log.claim()
        now = self._clock.now()
        for first, topics, entries in self.index.open(
            header, newest=self._settings.duplicates_max_ids
        ):
            rejected = topics.index(BEHAVIOUR_REJECTED.name)
            taken = entries["topic"] != rejected
            seqs = np.arange(first, first + len(entries))
            for key, seq in zip(
                entries["digest"][taken].tolist(), seqs[taken].tolist(), strict=True
            ):
                self.seen.claim(key, seq, now)
            for key, seq in zip(
                entries["digest"][~taken].tolist(), seqs[~taken].tolist(), strict=True
            ):
                self.rejections.add(key, seq, _LOST_REASON, None)
        self.index.expire(now - self._settings.duplicates_hours * 3600, keep_bytes=self._keep)
        found = self.log.open(self._recovered, after=self.index.last)
        if found.torn_bytes or found.damaged_bytes:
            _log.warning(
                "recovered the log: %d bytes of a torn tail cut, %d damaged bytes put aside, "
                "%d records behind the damage kept",
                found.torn_bytes,
                found.damaged_bytes,
                found.salvaged,
            )

    @property
    def _keep(self) -> int:
        return self._settings.receipts_max_bytes

    def _recovered(self, record: Record) -> None:
        self.opened.newest_ms = max(self.opened.newest_ms, record.at_ms)
        if record.seq <= self.index.last:
            return
        self.opened.records += 1
        if record.topic == BEHAVIOUR_REJECTED.name:
            self.rejections.add(record.digest, record.seq, _LOST_REASON, None)
        else:
            self.seen.claim(record.digest, record.seq, self._clock.now())

    def note(self, published: Published) -> None:
        """Keep where Kafka put these records, and wake who waits for that."""
        self.index.append(published)
        self._published.set()
        self._published = asyncio.Event()

    async def published(self, seq: int, *, within_s: float) -> bool:
        """Wait until every record up to `seq` is in Kafka; False when that takes longer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.index.last < seq:
                    await self._published.wait()
        return self.index.last >= seq

    async def tidy(self) -> None:
        """For ever: delete what is in Kafka, forget what is old, show how full the log is."""
        expired, backlog = self._clock.monotonic(), Backlog()
        while True:
            # The pace is of no consequence, so it is not the clock's.
            await asyncio.sleep(_PACE_S)
            metrics.COLLECTOR_SPOOL_BYTES.set(self.log.stored_bytes)
            metrics.COLLECTOR_SPOOL_EVENTS.set(self.log.last - self.index.last)
            oldest_s = backlog.oldest_s(self.log.last, self.index.last, self._clock.monotonic())
            metrics.COLLECTOR_SPOOL_OLDEST_SECONDS.set(oldest_s)
            if self.log.releasable(self.index.last):
                upto = self.index.last
                await self.index.sync()
                self.log.release(upto)
            if self._clock.monotonic() - expired > _EXPIRE_S:
                expired = self._clock.monotonic()
                horizon = self._clock.now() - self._settings.duplicates_hours * 3600
                self.seen.expire(self._clock.now())
                self.index.expire(horizon, keep_bytes=self._keep)

    async def close(self) -> None:
        """Write and sync what was accepted; nothing if it was never opened."""
        await self.log.close()
        with contextlib.suppress(OSError):
            self.index.close()

    async def ready(self) -> str | None:
        """Return what keeps the log from taking events, None if nothing does.

        A broker that is away does not: that is what the log is for.
        """
        if self.log.fault is not None:
            return f"the log's disk refuses writes: {self.log.fault.strerror}"
        return "the log is full" if self.log.fill >= 1 else None

"""The log as the collector sees it: append, wait for the disk, read on, release."""

import asyncio
import fcntl
import os
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from services.collector.wal.disk import Disk
from services.collector.wal.format import Header, Named, Record, encode_header, frame_parts
from services.collector.wal.reader import Reader
from services.collector.wal.recovery import Found, Segment, recover
from services.collector.wal.writer import Pace, Writer
from shared.contracts.errors import Retryable


class LogFull(Retryable):
    """The log takes nothing at the moment: its bound is reached, or the disk refuses writes."""


@dataclass(frozen=True)
class Bounds:
    """How much the log may hold.

    Attributes
    ----------
    disk_bytes : int
        Of all segments together.
    pending_bytes : int
        Accepted and not yet on disk.
    tail_bytes : int
        On disk and kept in memory for the relay; beyond it the relay reads the files.
    """

    disk_bytes: int = 4 << 30
    pending_bytes: int = 64 << 20
    tail_bytes: int = 32 << 20


class _Group(NamedTuple):
    first: int
    last: int
    size: int
    records: Sequence[Record]


class Log:
    """A write-ahead log in a folder of its own; one process at a time.

    All methods belong to one event loop's thread. A record's place in the log is its sequence
    number, from 1, in the order of `append`.
    """

    def __init__(
        self,
        folder: Path,
        topics: Sequence[Named],
        *,
        bounds: Bounds | None = None,
        pace: Pace | None = None,
        disk: Disk | None = None,
    ) -> None:
        self._folder = folder
        self._topics = list(topics)
        self._index = {name: i for i, (name, _) in enumerate(topics)}
        self._bounds = bounds or Bounds()
        self._disk = disk or Disk()
        self._pace = pace or Pace()
        self._segments: list[Segment] = []
        self._unsettled: deque[_Group] = deque()
        self._tail: deque[_Group] = deque()
        self._pending_bytes = self._tail_bytes = self._disk_bytes = 0
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._grew = asyncio.Event()
        self._reader = Reader(self._disk)
        self._writer: Writer | None = None
        self._lock_fd: int | None = None
        self.id = ""
        self.last = self.durable_seq = 0
        self.fault: OSError | None = None

    def claim(self) -> Header:
        """Lock the folder and return what segments begun now will say of themselves.

        Raises
        ------
        LogFull
            Another process holds the folder.
        OSError
            The folder cannot be made or read.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock()
        self.id = self._identity()
        return Header(self.id, 1, self._topics)

    def open(self, on_record: Callable[[Record], None], *, after: int = 0) -> Found:
        """Recover what the claimed folder holds, and go on behind it and behind `after`.

        Blocks (run it in a thread). Each recovered record is handed to `on_record`.
        """
        found = recover(self._folder, self._disk, Header(self.id, 1, self._topics), on_record)
        self._segments = found.segments
        self._disk_bytes = sum(s.length for s in found.segments)
        self.last = max(after, found.segments[-1].last if found.segments else 0)
        self.durable_seq = self.last
        return found

    def start(self) -> None:
        """Start the writer's thread; call it on the event loop."""
        loop = asyncio.get_running_loop()

        def on_durable(segment: Segment) -> None:
            loop.call_soon_threadsafe(self._settle, segment)

        def on_failed(error: OSError) -> None:
            loop.call_soon_threadsafe(self._fail, error)

        self._writer = Writer(
            self._folder,
            self._disk,
            self._pace,
            header=lambda first: encode_header(Header(self.id, first, self._topics)),
            on_durable=on_durable,
            on_failed=on_failed,
        )
        self._writer.start()

    async def close(self) -> None:
        """Write what was accepted, then release the folder."""
        if self._writer is not None:
            await asyncio.to_thread(self._writer.close)
            await asyncio.sleep(0)
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    @property
    def fill(self) -> float:
        """Share of the tighter bound that is used, 0 to 1; 1 while the disk refuses writes."""
        if self.fault is not None:
            return 1.0
        stored = self._disk_bytes + self._pending_bytes
        return max(
            stored / self._bounds.disk_bytes, self._pending_bytes / self._bounds.pending_bytes
        )

    @property
    def stored_bytes(self) -> int:
        """Bytes on disk."""
        return self._disk_bytes

    def append(self, records: Sequence[Record]) -> None:
        """Take `records`, whose numbers follow `last`; returns before they are on disk.

        Raises
        ------
        LogFull
            Nothing was taken; the caller tells the sender when to come back.
        """
        if self._writer is None:
            raise LogFull("the log is not open", after_s=1)
        if self.fault is not None:
            raise LogFull(f"the log's disk refuses writes: {self.fault.strerror}", after_s=5)
        if self.fill >= 1:
            raise LogFull("the log is full until Kafka takes what it holds", after_s=5)
        index = self._index
        frames: list[bytes] = []
        for record in records:
            frames += frame_parts(record, index[record.topic])
        first, last = records[0].seq, records[-1].seq
        size = sum(map(len, frames))
        self.last = last
        self._unsettled.append(_Group(first, last, size, records))
        self._pending_bytes += size
        self._writer.put(frames, first, last)

    def durable(self, seq: int) -> asyncio.Future[None]:
        """Return a future that is done when every record up to `seq` would survive a power cut.

        It fails with `LogFull` when the disk refuses the write meanwhile. The records stay
        accepted all the same and are written once the disk takes them.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if seq <= self.durable_seq:
            future.set_result(None)
        else:
            self._waiters.append((seq, future))
            if self._writer is not None:
                self._writer.hurry()
        return future

    async def read(self, after: int, *, limit_bytes: int = 2 << 20) -> list[Record]:
        """Wait for durable records behind `after` and return the next of them, in order."""
        while self.durable_seq <= after:
            self._grew.clear()
            await self._grew.wait()
        tail = self._tail
        while tail and tail[0].last <= after:
            self._tail_bytes -= tail.popleft().size
        if tail and tail[0].first <= after + 1:
            return self._from_tail(after, limit_bytes)
        segment = next(s for s in self._segments if s.last > after)
        return await asyncio.to_thread(self._reader.read, segment, after, limit_bytes)

    def release(self, upto: int) -> int:
        """Delete the segments whose records are all at or below `upto`; return how many."""
        # The newest may still be written to.
        done = [s for s in self._segments[:-1] if s.last <= upto]
        for segment in done:
            self._disk.remove(segment.path)
            self._disk_bytes -= segment.length
        del self._segments[: len(done)]
        return len(done)

    def releasable(self, upto: int) -> bool:
        """Whether `release` would delete anything."""
        return len(self._segments) > 1 and self._segments[0].last <= upto

    def _from_tail(self, after: int, limit_bytes: int) -> list[Record]:
        records: list[Record] = []
        size = 0
        for group in self._tail:
            records += group.records
            size += group.size
            if size >= limit_bytes:
                break
        skip = after + 1 - records[0].seq
        return records[skip:] if skip else records

    def _settle(self, written: Segment) -> None:
        self.fault = None
        self._note(written)
        self.durable_seq = written.last
        while self._unsettled and self._unsettled[0].last <= written.last:
            group = self._unsettled.popleft()
            self._pending_bytes -= group.size
            self._tail_bytes += group.size
            self._tail.append(group)
        while self._tail_bytes > self._bounds.tail_bytes and self._tail:
            self._tail_bytes -= self._tail.popleft().size
        while self._waiters and self._waiters[0][0] <= written.last:
            future = self._waiters.popleft()[1]
            if not future.done():
                future.set_result(None)
        self._grew.set()

    def _note(self, written: Segment) -> None:
        newest = self._segments[-1] if self._segments else None
        if newest is not None and newest.path == written.path:
            self._disk_bytes += written.length - newest.length
            self._segments[-1] = written
        else:
            self._disk_bytes += written.length
            self._segments.append(written)

    def _fail(self, error: OSError) -> None:
        self.fault = error
        while self._waiters:
            future = self._waiters.popleft()[1]
            if not future.done():
                future.set_exception(
                    LogFull(f"the log's disk refuses writes: {error.strerror}", after_s=5)
                )

    def _lock(self) -> None:
        fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise LogFull(f"another process writes to {self._folder}") from None
        self._lock_fd = fd

    def _identity(self) -> str:
        path = self._folder / "log-id"
        if not path.exists():
            self._disk.replace(path, uuid.uuid4().hex.encode())
        return path.read_text()

"""One thread that writes groups of frames and makes each group durable with one fdatasync."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from services.collector.wal.disk import Disk
from services.collector.wal.recovery import Segment, segment_path

_log = logging.getLogger(__name__)
_BUSY_PER_S = 500


@dataclass(frozen=True)
class Pace:
    """How the writer spends the disk.

    Attributes
    ----------
    segment_bytes : int
        A segment that has reached this is closed and a new one begun.
    group_s : float
        Least time between the beginnings of two groups. It costs an event at most this much
        latency, only while another came just before it, and saves most of the syncs under load.
    unawaited_s : float
        The same while many records come and nobody waits for the disk: each group costs the
        thread that answers requests about as much as a request.
    retry_s : float
        Wait after a failed write.
    """

    segment_bytes: int = 64 << 20
    group_s: float = 0.001
    unawaited_s: float = 0.016
    retry_s: float = 0.25

    def patience_s(self, records: int, elapsed_s: float) -> float:
        """Return the least time to the next group where nobody waits, after one of so many records.

        `elapsed_s` is the time from the beginning of the group before it.
        """
        busy = records > _BUSY_PER_S * elapsed_s
        return max(self.unawaited_s, self.group_s) if busy else self.group_s


class Writer:
    """Groups what is put while the disk is busy: one write and one fdatasync a group.

    A group that fails is kept and written again, into a fresh segment: after a failed sync the
    kernel may have dropped the pages, so the old file is cut back to what is known to be durable
    and never touched again.

    Parameters
    ----------
    header : callable
        The first bytes of a segment that begins with the given sequence number.
    on_durable : callable
        Called from the thread after each group with a snapshot of the segment it went to.
    on_failed : callable
        Called from the thread with the OSError of each failed attempt.
    """

    def __init__(
        self,
        folder: Path,
        disk: Disk,
        pace: Pace,
        *,
        header: Callable[[int], bytes],
        on_durable: Callable[[Segment], None],
        on_failed: Callable[[OSError], None],
    ) -> None:
        self._folder, self._disk, self._pace = folder, disk, pace
        self._header, self._on_durable, self._on_failed = header, on_durable, on_failed
        self._ready = threading.Condition()
        self._frames: list[bytes] = []
        self._first = self._last = 0
        self._awaited = False
        self._closing = threading.Event()
        self._file: tuple[int, Segment] | None = None
        self._thread = threading.Thread(target=self._run, name="wal-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, frames: list[bytes], first: int, last: int) -> None:
        """Queue the frames of records `first` to `last`; returns at once."""
        with self._ready:
            if not self._frames:
                self._first = first
                self._ready.notify()
            self._frames += frames
            self._last = last

    def hurry(self) -> None:
        """Let the group that gathers go as soon as it may: somebody waits for it."""
        if not self._awaited:
            with self._ready:
                self._awaited = True
                self._ready.notify()

    def close(self) -> None:
        """Write what is queued (one attempt if the disk fails) and end the thread."""
        with self._ready:
            self._closing.set()
            self._ready.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        began = patience_s = 0.0
        while group := self._gathered(began, patience_s):
            frames, first, last = group
            before, began = began, time.monotonic()
            patience_s = self._pace.patience_s(last - first + 1, began - before)
            if not self._written(b"".join(frames), first, last):
                break
        self._abandon(cut=False)

    def _gathered(self, began: float, patience_s: float) -> tuple[list[bytes], int, int] | None:
        """Wait for the next group and return its frames and numbers; None when closed."""
        with self._ready:
            while not self._frames and not self._closing.is_set():
                self._ready.wait()
            while not self._closing.is_set():
                least_s = self._pace.group_s if self._awaited else patience_s
                pause = began + least_s - time.monotonic()
                if pause <= 0:
                    break
                self._ready.wait(pause)
            self._awaited = False
            frames, self._frames = self._frames, []
            return (frames, self._first, self._last) if frames else None

    def _written(self, blob: bytes, first: int, last: int) -> bool:
        """Write until it is durable; False if closed before that."""
        while True:
            try:
                self._on_durable(self._write(blob, first, last))
            except OSError as error:
                _log.error("cannot write to the write-ahead log: %s", error)
                self._on_failed(error)
                self._abandon(cut=True)
                if self._closing.wait(self._pace.retry_s):
                    return False
            else:
                return True

    def _write(self, blob: bytes, first: int, last: int) -> Segment:
        fd, segment = self._file or self._begin(first)
        self._disk.append(fd, blob)
        self._disk.sync(fd)
        segment = replace(segment, last=last, length=segment.length + len(blob))
        self._file = (fd, segment)
        if segment.length >= self._pace.segment_bytes:
            self._abandon(cut=False)
        return segment

    def _begin(self, first: int) -> tuple[int, Segment]:
        path = segment_path(self._folder, first)
        self._disk.remove(path)
        fd = self._disk.create(path)
        head = self._header(first)
        self._file = (fd, Segment(path, first, first - 1, 0))
        self._disk.append(fd, head)
        self._disk.sync(fd)
        self._file = (fd, Segment(path, first, first - 1, len(head)))
        return self._file

    def _abandon(self, *, cut: bool) -> None:
        if self._file is None:
            return
        fd, segment = self._file
        self._file = None
        try:
            self._disk.close(fd)
            if cut and segment.last < segment.first:
                self._disk.remove(segment.path)
            elif cut:
                self._disk.cut(segment.path, segment.length)
        except OSError as error:
            # Recovery cuts a torn tail, and skips records that it has read already.
            _log.warning("cannot tidy %s: %s", segment.path.name, error)

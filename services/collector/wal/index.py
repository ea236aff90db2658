"""Where in Kafka each record came to lie: the relay's checkpoint, the receipts and the ids of a day.

Entries stand in the order of sequence numbers, 24 bytes each, in files named by their first number:

    digest u64 | offset i64 | topic u16 | partition u16 | check u32

The last whole entry says how far the relay has come. Files older than the horizon are deleted.
"""

import asyncio
import contextlib
import logging
import os
import re
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.collector.wal.disk import Disk
from services.collector.wal.format import Damaged, Header, decode_header, encode_header

_log = logging.getLogger(__name__)
_ENTRY = struct.Struct("<QqHHI")
ENTRY_DTYPE = np.dtype(
    [("digest", "<u8"), ("offset", "<i8"), ("topic", "<u2"), ("partition", "<u2"), ("check", "<u4")]
)
_SEED = 0x5A17C0DE
_NAME = re.compile(r"\d{20}\.idx")
_HEADER_ROOM = 1 << 16
_BALLAST_BYTES = 8 << 20


class Place(NamedTuple):
    """Where a record lies in Kafka."""

    topic: str
    partition: int
    offset: int


class Published(NamedTuple):
    """Records `first` and following, without a gap, that Kafka has acknowledged.

    `entries` are of `ENTRY_DTYPE`; a topic is its number in the log's list, and the check is left
    to the index.
    """

    first: int
    entries: NDArray[np.void]

    @property
    def last(self) -> int:
        """The number of the last record."""
        return self.first + len(self.entries) - 1


class _File(NamedTuple):
    path: Path
    first: int
    start: int
    topics: Sequence[str]


class Index:
    """The published records of the last day, on disk; the newest file is open for appending.

    One thread. `append` writes without syncing: after kill -9 the page cache still has it, and
    after a power cut the relay finds in Kafka what the index has lost.
    """

    def __init__(
        self,
        folder: Path,
        *,
        disk: Disk | None = None,
        file_entries: int = 1 << 20,
    ) -> None:
        self._folder = folder
        self._header = Header("", 0, [])
        self._disk = disk or Disk()
        self._file_entries = file_entries
        self._files: list[_File] = []
        self._fd: int | None = None
        self._ballast = folder / "ballast"
        self.last = 0

    def open(
        self, header: Header, *, newest: int
    ) -> Iterable[tuple[int, Sequence[str], NDArray[np.void]]]:
        """Yield each file's first number, topic names and entries, oldest first; cut a torn tail.

        Files of another log than `header` names are deleted; those older than the `newest` entries
        are not yielded. Blocks. Exhaust it before anything else is called.
        """
        self._header = header
        self._folder.mkdir(parents=True, exist_ok=True)
        paths = sorted(p for p in self._folder.iterdir() if _NAME.fullmatch(p.name))
        behind = sum(self._disk.size(p) for p in paths) // _ENTRY.size
        for path in paths:
            behind -= self._disk.size(path) // _ENTRY.size
            first = int(path.stem)
            try:
                found, start = decode_header(self._disk.read(path, 0, _HEADER_ROOM))
            except Damaged:
                self._disk.remove(path)
                continue
            entries = self._whole(path, start)
            if len(entries) == 0 or found.log != header.log:
                self._disk.remove(path)
                continue
            names = [name for name, _ in found.topics]
            self._files.append(_File(path, first, start, names))
            self.last = first + len(entries) - 1
            if behind < newest:
                yield first, names, entries

    def append(self, published: Published) -> None:
        """Add what Kafka acknowledged, behind what is there. Raises OSError when the disk is full."""
        first, entries = published
        follows = self._files and first == self.last + 1
        if not follows or self._count() >= self._file_entries:
            self._roll(first)
        if self._fd is None:
            self._fd = os.open(self._files[-1].path, os.O_WRONLY | os.O_APPEND)
        entries["check"] = _check(entries)
        self._add(entries.tobytes())
        self.last = published.last

    async def sync(self) -> None:
        """Return when the entries would survive a loss of power."""
        if self._fd is None:
            return
        # A descriptor of its own, since `append` may close the other meanwhile.
        fd = os.dup(self._fd)
        try:
            await asyncio.to_thread(self._disk.sync, fd)
        finally:
            self._disk.close(fd)

    def place(self, seq: int) -> Place | None:
        """Return where record `seq` lies, None if the index does not (or no longer) know."""
        for file in reversed(self._files):
            if file.first <= seq <= self.last:
                at = file.start + (seq - file.first) * _ENTRY.size
                raw = self._disk.read(file.path, at, _ENTRY.size)
                if len(raw) < _ENTRY.size:
                    return None
                _, offset, topic, partition, _ = _ENTRY.unpack(raw)
                return Place(file.topics[topic], partition, offset)
        return None

    def expire(self, before: float, *, keep_bytes: int) -> int:
        """Delete files last written before that time, and the oldest beyond `keep_bytes`.

        Returns the first number that is still known.
        """
        sizes = [f.path.stat() for f in self._files]
        total = sum(s.st_size for s in sizes)
        gone = 0
        for stat in sizes[:-1]:
            if stat.st_mtime >= before and total <= keep_bytes:
                break
            self._disk.remove(self._files[gone].path)
            total -= stat.st_size
            gone += 1
        del self._files[:gone]
        return self._files[0].first if self._files else self.last + 1

    def close(self) -> None:
        """Sync and close."""
        if self._fd is not None:
            self._disk.sync(self._fd)
            self._disk.close(self._fd)
            self._fd = None

    def _add(self, blob: bytes) -> None:
        """Append, on a full disk at the expense of the ballast; a half-written entry is taken back."""
        assert self._fd is not None
        whole = os.fstat(self._fd).st_size
        try:
            self._disk.append(self._fd, blob)
        except OSError:
            os.ftruncate(self._fd, whole)
            if not self._ballast.exists():
                raise
            self._disk.remove(self._ballast)
            self._add(blob)

    def _lay_ballast(self) -> None:
        """Set aside what lets the relay note its progress, and so free the log, when the disk is full."""
        if not self._ballast.exists():
            with contextlib.suppress(OSError):
                self._disk.replace(self._ballast, bytes(_BALLAST_BYTES))

    def _count(self) -> int:
        return self.last - self._files[-1].first + 1 if self._files else 0

    def _roll(self, first: int) -> None:
        self.close()
        self._lay_ballast()
        path = self._folder / f"{first:020d}.idx"
        self._disk.remove(path)
        self._fd = self._disk.create(path)
        head = encode_header(Header(self._header.log, first, self._header.topics))
        self._disk.append(self._fd, head)
        names = [name for name, _ in self._header.topics]
        self._files.append(_File(path, first, len(head), names))

    def _whole(self, path: Path, start: int) -> NDArray[np.void]:
        size = self._disk.size(path) - start
        entries = np.fromfile(path, ENTRY_DTYPE, count=size // _ENTRY.size, offset=start)
        bad = np.flatnonzero(_check(entries) != entries["check"])
        whole = int(bad[0]) if len(bad) else len(entries)
        if whole * _ENTRY.size != size:
            _log.warning("%s: %d bytes of a torn tail cut", path.name, size - whole * _ENTRY.size)
            self._disk.cut(path, start + whole * _ENTRY.size)
        return entries[:whole]


def _check(entries: NDArray[np.void]) -> NDArray[np.uint32]:
    """Return the sum that each entry should carry: a fold of its words, which zeros do not pass."""
    digest = entries["digest"]
    offset = entries["offset"].astype(np.uint64)
    where = entries["topic"].astype(np.uint64) << np.uint64(16) ^ entries["partition"]
    half = np.uint64(32)
    fold = digest ^ digest >> half ^ offset ^ offset >> half ^ where ^ np.uint64(_SEED)
    folded: NDArray[np.uint32] = fold.astype(np.uint32)
    return folded

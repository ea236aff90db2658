"""Reading the segments after a stop of any kind: whole records are kept, nothing is lost silently."""

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from services.collector.wal.disk import Disk
from services.collector.wal.format import (
    Damaged,
    Header,
    Record,
    decode_header,
    encode_frame,
    encode_header,
    salvage,
    scan,
)

_log = logging.getLogger(__name__)
_NAME = re.compile(r"\d{20}\.wal")


@dataclass
class Segment:
    """A file of records `first` to `last`; `length` is the part of it that is durable."""

    path: Path
    first: int
    last: int
    length: int


@dataclass
class Found:
    """What recovery came upon.

    Attributes
    ----------
    segments : list of Segment
        In order; empty ones are deleted.
    torn_bytes : int
        Cut from tails that a crash left unfinished; never acknowledged.
    damaged_bytes : int
        Moved to `.corrupt` files because a checksum was wrong; whole records behind the damage
        were kept.
    salvaged : int
        Number of those records.
    """

    segments: list[Segment] = field(default_factory=list)
    torn_bytes: int = 0
    damaged_bytes: int = 0
    salvaged: int = 0


def segment_path(folder: Path, first: int) -> Path:
    """Return where the segment that begins with record `first` lies."""
    return folder / f"{first:020d}.wal"


def recover(folder: Path, disk: Disk, spare: Header, on_record: Callable[[Record], None]) -> Found:
    """Mend every segment in `folder` and hand each whole record to `on_record`, in order.

    Blocks; reads every byte. A segment whose own header is damaged is read by the `spare` one.
    Raises OSError when the files cannot be read or mended.
    """
    found = Found()
    last = 0
    for path in sorted(p for p in folder.iterdir() if _NAME.fullmatch(p.name)):
        first = 0
        for record in _mended(path, disk, spare, found):
            if record.seq > last:
                last = record.seq
                first = first or last
                on_record(record)
        if first:
            found.segments.append(Segment(path, first, last, disk.size(path)))
        else:
            disk.remove(path)
    return found


def _mended(path: Path, disk: Disk, spare: Header, found: Found) -> Iterator[Record]:
    """Yield the segment's whole records; afterwards the file holds them and nothing else."""
    buffer = disk.read(path, 0, disk.size(path))
    header = Header(spare.log, int(path.stem), spare.topics)
    records: list[Record] = []
    try:
        header, start = decode_header(buffer)
        for record, _ in scan(buffer, start, header.topics):
            records.append(record)
    except Damaged as damage:
        behind = list(salvage(buffer, damage.position, header.topics))
        if behind:
            _quarantine(path, disk, buffer[damage.position :], found)
            _rewrite(path, disk, header, chain(records, behind))
            found.salvaged += len(behind)
            records += behind
        else:
            found.torn_bytes += len(buffer) - damage.position
            disk.cut(path, damage.position)
    yield from records


def _quarantine(path: Path, disk: Disk, rest: bytes, found: Found) -> None:
    kept = path.with_suffix(".corrupt")
    disk.replace(kept, rest)
    found.damaged_bytes += len(rest)
    _log.error(
        "the write-ahead log is damaged: %d bytes of %s moved to %s; whole records behind the damage are kept",
        len(rest),
        path.name,
        kept.name,
    )


def _rewrite(path: Path, disk: Disk, header: Header, records: Iterator[Record]) -> None:
    index = {name: i for i, (name, _) in enumerate(header.topics)}
    frames = (encode_frame(r, index[r.topic]) for r in records)
    disk.replace(path, b"".join((encode_header(header), *frames)))

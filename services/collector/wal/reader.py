"""Reading segments in order from where the last read ended."""

from pathlib import Path

from services.collector.wal.disk import Disk
from services.collector.wal.format import MAX_FRAME, Damaged, Named, Record, decode_header, scan
from services.collector.wal.recovery import Segment

_HEADER_ROOM = 1 << 16


class Reader:
    """A place in the segments; a read that goes on from the last one seeks nothing."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._path: Path | None = None
        self._topics: list[Named] = []
        self._at = self._after = 0

    def read(self, segment: Segment, after: int, limit_bytes: int) -> list[Record]:
        """Return records of `segment` behind number `after`, about `limit_bytes` of them, at least one.

        Blocks. Raises `Damaged` when the file no longer holds what was written; the next start
        mends it.
        """
        if self._path != segment.path or self._after != after:
            self._open(segment)
        records: list[Record] = []
        while not records:
            wanted = min(segment.length - self._at, max(limit_bytes, 2 * MAX_FRAME))
            if wanted <= 0:
                raise Damaged(self._at)
            records = self._chunk(segment, after, wanted)
        self._after = records[-1].seq
        return records

    def _open(self, segment: Segment) -> None:
        head = self._disk.read(segment.path, 0, min(_HEADER_ROOM, segment.length))
        header, self._at = decode_header(head)
        self._topics = header.topics
        self._path = segment.path

    def _chunk(self, segment: Segment, after: int, wanted: int) -> list[Record]:
        buffer = self._disk.read(segment.path, self._at, wanted)
        records: list[Record] = []
        end = 0
        try:
            for record, behind in scan(buffer, 0, self._topics):
                end = behind
                if record.seq > after:
                    records.append(record)
        except Damaged:
            # The chunk's last frame goes on behind it; anything else is damage.
            if len(buffer) - end >= MAX_FRAME or self._at + len(buffer) >= segment.length:
                raise
        self._at += end
        return records

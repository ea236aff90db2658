"""How records and segments are laid out in bytes; pure functions, no files.

A segment is a header followed by frames. All integers are little-endian.

    header   magic 8 | length u32 | crc32 u32 | JSON {log, first, topics: [[name, type], …]}
    frame    magic 4 | length u32 | crc32 u32 | body
    body     seq u64 | at_ms u64 | digest u64 | topic u16 | flags u8 | id u16 | key u16 | trace u16
             | id | key | traceparent | value

The lengths `id`, `key` and `trace` are of the byte strings that follow; the value is the rest.
`topic` is an index into the header's list, so that a log written by an older release still says
what its numbers meant. The magic before each frame lets recovery find the next whole record behind
a damaged one.
"""

import struct
from collections.abc import Iterator, Sequence
from zlib import crc32

import msgspec

SEGMENT_MAGIC = b"SLOOPWL1"
FRAME_MAGIC = b"\xf5\x9aSL"
_PREFIX = struct.Struct("<4sII")
_HEADER = struct.Struct("<8sII")
_BODY = struct.Struct("<QQQHBHHH")
_TOMBSTONE = 1
MAX_FRAME = 4 << 20
"""Larger lengths are damage; the door takes nothing near this."""

Named = tuple[str, str]
"""A topic's name and the CloudEvents type of its events."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One event on its way to Kafka.

    Attributes
    ----------
    seq : int
        Place in the log, from 1, without gaps.
    at_ms : int
        When the collector took it, milliseconds since 1970.
    topic : str
        Name of the topic.
    key, value : bytes
        As Kafka gets them; the value is None for a tombstone.
    id : bytes
        The event's id.
    digest : int
        64-bit hash of the id.
    trace : bytes
        W3C traceparent; empty for none.
    """

    seq: int
    at_ms: int
    topic: str
    key: bytes
    value: bytes | None
    id: bytes
    digest: int
    trace: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of the variable parts; the bounds of buffers are counted in these."""
        return len(self.key) + len(self.value or b"") + len(self.id) + len(self.trace)


class Header(msgspec.Struct, frozen=True):
    """What a segment says of itself; `first` is the sequence number of its first record."""

    log: str
    first: int
    topics: list[Named]


class Damaged(ValueError):
    """The bytes at `position` are no whole record."""

    def __init__(self, position: int) -> None:
        super().__init__(f"no whole record at byte {position}")
        self.position = position


def encode_header(header: Header) -> bytes:
    """Return the first bytes of a segment."""
    body = msgspec.json.encode(header)
    return _HEADER.pack(SEGMENT_MAGIC, len(body), crc32(body)) + body


def decode_header(buffer: bytes) -> tuple[Header, int]:
    """Return the header and the position of the first frame.

    Raises
    ------
    Damaged
        The header is torn or was never written.
    """
    if len(buffer) < _HEADER.size:
        raise Damaged(0)
    magic, length, crc = _HEADER.unpack_from(buffer)
    body = buffer[_HEADER.size : _HEADER.size + length]
    if magic != SEGMENT_MAGIC or len(body) != length or crc32(body) != crc:
        raise Damaged(0)
    return msgspec.json.decode(body, type=Header), _HEADER.size + length


def encode_frame(record: Record, topic: int) -> bytes:
    """Return the record's frame; `topic` is the index of its topic in the segment's header."""
    return b"".join(frame_parts(record, topic))


def frame_parts(record: Record, topic: int) -> tuple[bytes, bytes]:
    """Return the record's frame in two parts, for who joins many frames anyway."""
    event_id, key, trace, value = record.id, record.key, record.trace, record.value
    flags = _TOMBSTONE if value is None else 0
    lengths = len(event_id), len(key), len(trace)
    fixed = _BODY.pack(record.seq, record.at_ms, record.digest, topic, flags, *lengths)
    body = b"".join((fixed, event_id, key, trace, value or b""))
    return _PREFIX.pack(FRAME_MAGIC, len(body), crc32(body)), body


def decode_frame(buffer: bytes, at: int, topics: Sequence[Named]) -> tuple[Record, int]:
    """Return the record whose frame begins at `at`, and where the next one begins.

    Raises
    ------
    Damaged
        The frame is cut short or its checksum is wrong.
    """
    start = at + _PREFIX.size
    if len(buffer) < start:
        raise Damaged(at)
    magic, length, crc = _PREFIX.unpack_from(buffer, at)
    end = start + length
    if magic != FRAME_MAGIC or not _BODY.size <= length <= MAX_FRAME or end > len(buffer):
        raise Damaged(at)
    body = buffer[start:end]
    if crc32(body) != crc:
        raise Damaged(at)
    seq, at_ms, digest, topic, flags, id_n, key_n, trace_n = _BODY.unpack_from(body)
    key_at = _BODY.size + id_n
    trace_at = key_at + key_n
    value_at = trace_at + trace_n
    if topic >= len(topics) or value_at > length:
        raise Damaged(at)
    record = Record(
        seq,
        at_ms,
        topics[topic][0],
        body[key_at:trace_at],
        None if flags & _TOMBSTONE else body[value_at:],
        body[_BODY.size : key_at],
        digest,
        body[trace_at:value_at],
    )
    return record, end


def scan(buffer: bytes, at: int, topics: Sequence[Named]) -> Iterator[tuple[Record, int]]:
    """Yield each record from `at` on with the position behind it, up to the end of `buffer`.

    Raises
    ------
    Damaged
        At the first byte that begins no whole record; all before it were yielded.
    """
    while at < len(buffer):
        record, at = decode_frame(buffer, at, topics)
        yield record, at


def salvage(buffer: bytes, at: int, topics: Sequence[Named]) -> Iterator[Record]:
    """Yield every whole record from `at` on, stepping over damage."""
    while (at := buffer.find(FRAME_MAGIC, at)) >= 0:
        try:
            record, at = decode_frame(buffer, at, topics)
        except Damaged:
            at += 1
        else:
            yield record

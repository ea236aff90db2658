"""Records → Kafka's record batches, each record put together in one step.

aiokafka's own builder is called once a record with a list of headers, most of which are always the
same, and sums up each byte in software: together half again as costly.

The layout is that of magic 2 (Kafka protocol guide, "Record Batch" and "Record"; KIP-98): a header
of 61 bytes, then records, each a length and its fields with lengths before them. Lengths and
differences are zigzag varints, and as none here is below zero, ``n`` is written as ``2 n``.
"""

import struct
from collections.abc import Iterable, Sequence

from crc32c import crc32c

from services.collector.relay.sink import CE_ID_HEADER, SEQ_HEADER, TRACE_HEADER, Heads
from services.collector.wal.format import Named, Record

_BEFORE_CHECKSUM = struct.Struct(">qiib")
_CHECKSUM = struct.Struct(">I")
_BEHIND_CHECKSUM = struct.Struct(">hiqqqhii")
HEADER_BYTES = _BEFORE_CHECKSUM.size + _CHECKSUM.size + _BEHIND_CHECKSUM.size
_NO_VALUE = b"\x01"
_LENGTH_BYTES = 5
"""Of the length before a record, at most."""
_OF_LENGTH = 4 + 1 + _CHECKSUM.size + _BEHIND_CHECKSUM.size
"""Bytes that the header's length counts beside the records: all that stand behind it."""


class _Varints(dict[int, bytes]):
    """The spelling of small numbers at hand, of others on demand."""

    def __missing__(self, n: int) -> bytes:
        spelled = bytearray()
        n <<= 1
        while n > 0x7F:
            spelled.append(n & 0x7F | 0x80)
            n >>= 7
        spelled.append(n)
        return bytes(spelled)


_VARINTS = _Varints()
_VARINTS.update({n: _VARINTS[n] for n in range(2048)})


class RecordBatch:
    """A full batch, in the shape in which aiokafka's producer takes a closed `BatchBuilder`.

    The producer numbers it (`_set_producer_state`) when its turn has come, and asks for the bytes
    as often as it sends them.
    """

    def __init__(self, records: bytes, *, count: int, first_ms: int, last_ms: int) -> None:
        self._records, self._count = records, count
        self._first_ms, self._last_ms = first_ms, last_ms
        self._producer = (-1, -1, 0)

    def record_count(self) -> int:
        """Return how many records it holds."""
        return self._count

    def size(self) -> int:
        """Return its bytes."""
        return HEADER_BYTES + len(self._records)

    def closed(self) -> bool:
        """Whether it takes no more records: always."""
        return True

    def close(self) -> None:
        """Do nothing: it is closed."""

    def _set_producer_state(self, producer_id: int, epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, epoch, base_sequence)

    def _build(self) -> bytes:
        records, count = self._records, self._count
        checked = _BEHIND_CHECKSUM.pack(
            0, count - 1, self._first_ms, self._last_ms, *self._producer, count
        )
        before = _BEFORE_CHECKSUM.pack(0, _OF_LENGTH + len(records), -1, 2)
        checksum = _CHECKSUM.pack(crc32c(records, crc32c(checked)))
        return b"".join((before, checksum, checked, records))


class Batches:
    """Makes batches of a log's records.

    Parameters
    ----------
    log : str
        Id of the write-ahead log.
    topics : sequence of (name, type)
        The CloudEvents type of each topic's events.
    most_bytes : int
        Of one batch; a single larger record still gets one.
    """

    def __init__(self, log: str, topics: Sequence[Named], *, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        heads = Heads(log, topics)
        self._plain = {name: _begun(heads.shared(name), own=2) for name, _ in topics}
        self._traced = {name: _begun(heads.shared(name), own=3) for name, _ in topics}
        self._id = _text(CE_ID_HEADER.encode())
        self._trace = _text(TRACE_HEADER.encode())

    def of(self, topic: str, records: Sequence[Record]) -> Iterable[RecordBatch]:
        """Yield `records` of one partition of `topic`, in order, in as few batches as they fit in.

        Their times must not run back.
        """
        began = 0
        while began < len(records):
            batch = self._batch(topic, records, began)
            began += batch.record_count()
            yield batch

    def _batch(self, topic: str, records: Sequence[Record], began: int) -> RecordBatch:
        """Return a batch of the records from `began` on, as many as fit in."""
        varints, room = _VARINTS, self._most_bytes - HEADER_BYTES
        plain, traced, ce_id = self._plain[topic], self._traced[topic], self._id
        first_ms = at_ms = records[began].at_ms
        # Neighbours often share these two.
        stamp, trace, traceparent = b"\0\0", b"", b""
        parts: list[bytes] = []
        for place, n in enumerate(range(began, len(records))):
            record = records[n]
            if record.at_ms != at_ms:
                at_ms = record.at_ms
                stamp = b"\0" + varints[at_ms - first_ms]
            if record.trace != trace:
                trace = record.trace
                traceparent = self._trace + _text(trace) if trace else b""
            key, value, event_id, seq = record.key, record.value, record.id, b"%d" % record.seq
            fields = (
                stamp,
                varints[place],
                varints[len(key)],
                key,
                _NO_VALUE if value is None else varints[len(value)],
                value or b"",
                traced if trace else plain,
                varints[len(seq)],
                seq,
                ce_id,
                varints[len(event_id)],
                event_id,
                traceparent,
            )
            body = b"".join(fields)
            room -= len(body) + _LENGTH_BYTES
            if room < 0 and parts:
                break
            parts += (varints[len(body)], body)
        count = len(parts) // 2
        return RecordBatch(
            b"".join(parts),
            count=count,
            first_ms=first_ms,
            last_ms=records[began + count - 1].at_ms,
        )


def _begun(shared: Sequence[tuple[str, bytes]], *, own: int) -> bytes:
    """Return the headers that a topic's records share, up to the value of the record's number."""
    spelled = [_text(name.encode()) + _text(value) for name, value in shared]
    return b"".join((_VARINTS[len(shared) + own], *spelled, _text(SEQ_HEADER.encode())))


def _text(raw: bytes) -> bytes:
    return _VARINTS[len(raw)] + raw

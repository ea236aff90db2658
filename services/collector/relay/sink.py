"""Where the relay writes to; one port, so that a test needs no broker."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from services.collector.wal.format import Named, Record
from services.collector.wal.index import Place
from shared.contracts.envelope import CONTENT_TYPE

LOG_HEADER = "wal_log"
SEQ_HEADER = "wal_seq"
CE_ID_HEADER = "ce_id"
TRACE_HEADER = "traceparent"


class Heads:
    """The headers of records: those that every record of a topic shares are made once."""

    def __init__(self, log: str, topics: Sequence[Named]) -> None:
        self._shared = {
            name: [
                ("content-type", CONTENT_TYPE),
                ("ce_type", type_.encode()),
                (LOG_HEADER, log.encode()),
            ]
            for name, type_ in topics
        }

    def shared(self, topic: str) -> Sequence[tuple[str, bytes]]:
        """Return the headers of every record of the topic."""
        return self._shared[topic]

    def of(self, record: Record) -> list[tuple[str, bytes]]:
        """Return the record's headers: what it is, and its log and number there."""
        headers = [
            *self._shared[record.topic],
            (SEQ_HEADER, b"%d" % record.seq),
            (CE_ID_HEADER, record.id),
        ]
        if record.trace:
            headers.append((TRACE_HEADER, record.trace))
        return headers


class Slot(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Sink(Protocol):
    """Ordered, repeat-free appends to partitions, and a way to see what is there.

    Every method raises `Retryable` when the broker cannot be used at the moment. After that the
    connection is unusable: `close` it, `open` it again and look at what was written.
    """

    async def open(self) -> None:
        """Connect."""
        ...

    async def partitions(self, topic: str) -> int:
        """Return how many partitions the topic has; asked once a connection."""
        ...

    async def write(self, batches: Mapping[Slot, Sequence[Record]]) -> dict[Slot, list[int]]:
        """Append each batch in order and wait until it is on all replicas; return the offsets.

        Waits as long as the broker is away; a retried batch is stored once.
        """
        ...

    async def written_since(self, topics: Sequence[str], at_ms: int) -> dict[int, Place]:
        """Return this log's records in `topics` that carry a time of `at_ms` or later, by number.

        The answer is final: nothing that an earlier connection sent can still arrive.
        """
        ...

    async def close(self) -> None:
        """Drop the connection without waiting for what was not sent."""
        ...

"""What a published record holds, the same for every adapter."""

from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from shared.contracts.envelope import Envelope, Headers, encode, headers_of
from shared.contracts.topics import Topic
from shared.runtime.bus.port import Record

E = TypeVar("E")

DEAD_LETTER_HEADERS = (
    "dlq-topic",
    "dlq-partition",
    "dlq-offset",
    "dlq-reason",
    "dlq-attempt",
    "dlq-service",
    "dlq-release",
    "dlq-time",
)
MAX_REASON_BYTES = 2_000


def redrives(service: str) -> str:
    """Return the name of the topic through which dead letters come back to the service.

    A topic of its own, because the other readers of the original topic had no trouble: to them the
    record would be a new one at a new offset.
    """
    return f"{service}-redrive"


def redrive_marker(service: str) -> str:
    """Return the name of the group whose offset says how far dead letters were sent back."""
    return f"{redrives(service)}-marker"


class Outgoing(NamedTuple):
    """Key, value and headers of a record that is not yet in a topic."""

    key: bytes | None
    value: bytes | None
    headers: Headers


class Origin(NamedTuple):
    """Who puts a record aside: the service and the release of its code."""

    service: str
    release: str


def outgoing(topic: Topic[E], envelope: Envelope[E]) -> Outgoing:
    """Return the record for `envelope`; raises `Invalid` when it is too large."""
    return Outgoing(topic.key_of(envelope).encode(), encode(envelope), headers_of(envelope))


def dead_letter(
    record: Record, origin: Origin, *, reason: str, attempt: int, now: float
) -> Outgoing:
    """Return `record` with its original bytes and headers, and what went wrong in more headers.

    A record that is put aside again keeps the place where it first lay, so that a re-drive and its
    failure can go round any number of times.
    """
    first = {k: v for k, v in record.headers if k in DEAD_LETTER_HEADERS[:3]}
    about: dict[str, Any] = {
        "dlq-topic": record.topic,
        "dlq-partition": record.partition,
        "dlq-offset": record.offset,
        "dlq-reason": reason,
        "dlq-attempt": attempt,
        "dlq-service": origin.service,
        "dlq-release": origin.release,
        "dlq-time": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
    }
    encoded = {k: str(v).encode("utf-8", "replace")[:MAX_REASON_BYTES] for k, v in about.items()}
    kept = tuple((k, v) for k, v in record.headers if k not in DEAD_LETTER_HEADERS)
    value = record.value
    if value is None and record.key is None:
        value = b""  # Kafka's clients refuse a record that has neither
    return Outgoing(record.key, value, (*kept, *(encoded | first).items()))

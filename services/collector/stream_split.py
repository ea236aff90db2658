"""One behaviour record taken apart: a visit for its visitor, a touch for each of its items.

The parts travel in the stream's own topics, grouped by partition there, and each part carries the
offset of the record that it came from: whoever folds them can tell what it has seen (see
`services.collector.core.keyed`).
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple
from zlib import crc32

import msgspec
from msgspec import Struct

from services.collector.core.activity import KINDS, Touch
from services.collector.core.keyed import Forget, Mark
from services.collector.core.sessions import Link, Visit
from shared.contracts import topics
from shared.contracts.consent import allows
from shared.contracts.envelope import Envelope, decode
from shared.contracts.errors import Invalid
from shared.contracts.events import Behaviour, Erasure, Identity
from shared.contracts.events.fields import MOST_CENTS
from shared.contracts.topics import Topic

SOURCES: tuple[Topic[Behaviour] | Topic[Identity] | Topic[Erasure], ...] = (
    topics.BEHAVIOUR,
    topics.IDENTITIES,
    topics.ERASURES,
)
_SOURCES_APART = 100_000
MOST_WEIGHT = 1000.0
"""What one event may count for, whatever its sender says; sums stay numbers that JSON can hold."""
BOT = 0.5
"""From this probability on an action is a robot's, and neither counted nor part of a session."""


class Visits(Struct, frozen=True, array_like=True, tag=True):
    """What one source partition says of the visitors of one partition, in order of offset."""

    source: int
    items: tuple[Visit | Link, ...]


class Touches(Struct, frozen=True, array_like=True, tag=True):
    """What one source partition says of the items of one partition, in order of offset."""

    source: int
    items: tuple[Touch, ...]


OnVisitors = Visits | Forget | Mark
OnItems = Touches | Mark
encode = msgspec.msgpack.Encoder().encode
MOST_BYTES = 500_000
"""Of one record."""


class Raw(NamedTuple):
    """A record as it was read; `seen_ms` is when it reached the log."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    seen_ms: int


class Refused(NamedTuple):
    """A record that is no event, and why."""

    record: Raw
    reason: str


class Parts(NamedTuple):
    """The outcome of `split`, by target partition."""

    visitors: dict[int, list[OnVisitors]]
    items: dict[int, list[OnItems]]
    refused: list[Refused]


def source_of(topic: str, partition: int) -> int:
    """Return the number under which the folds know a partition of one of the sources."""
    names = [source.name for source in SOURCES]
    return names.index(topic) * _SOURCES_APART + partition


def partition_of(key: str, partitions: int) -> int:
    """Return the partition of the stream's own topics that `key` belongs to."""
    return crc32(key.encode()) % partitions


def split(records: Iterable[Raw], partitions: int) -> Parts:
    """Return what the records mean, grouped for each of `partitions`, in their order."""
    parts = Parts(defaultdict(list), defaultdict(list), [])
    visits: dict[tuple[int, int], list[Visit | Link]] = defaultdict(list)
    touches: dict[tuple[int, int], list[Touch]] = defaultdict(list)
    for record in records:
        source = source_of(record.topic, record.partition)
        try:
            if record.topic == topics.BEHAVIOUR.name:
                envelope = decode(record.value, Behaviour)
                for visit in visits_of(envelope, record):
                    visits[partition_of(visit.key, partitions), source].append(visit)
                for touch in touches_of(envelope, record):
                    touches[partition_of(touch.key, partitions), source].append(touch)
            elif record.topic == topics.IDENTITIES.name:
                identity = decode(record.value, Identity).data
                link = Link(identity.anonid, record.offset, identity.user, record.seen_ms)
                visits[partition_of(link.key, partitions), source].append(link)
            else:
                parts.visitors[0].extend(_forgets(record, source))
        except Invalid as error:
            parts.refused.append(Refused(record, error.reason))
    for (target, source), some in visits.items():
        parts.visitors[target].append(Visits(source, tuple(some)))
    for (target, source), few in touches.items():
        parts.items[target].append(Touches(source, tuple(few)))
    return parts


def visits_of(envelope: Envelope[Behaviour], record: Raw) -> list[Visit]:
    """Return the visit, or nothing where there is no person, no consent or no human."""
    visitor = envelope.anonid or envelope.userid
    event = envelope.data
    if visitor is None or not _counts(envelope):
        return []
    at_ms = min(int(envelope.time_s * 1000), record.seen_ms)
    bought = event.action == "purchase"
    visit = Visit(
        visitor=visitor,
        offset=record.offset,
        at_ms=max(at_ms, 0),
        seen_ms=record.seen_ms,
        event_id=envelope.id,
        action=event.action,
        user=envelope.userid,
        consent=envelope.consent,
        items=tuple(item.id for item in event.items),
        query=event.query,
        request_id=event.request_id,
        value_cents=_worth_cents(event) if bought else 0,
    )
    return [visit]


def touches_of(envelope: Envelope[Behaviour], record: Raw) -> list[Touch]:
    """Return a touch for each different item, or nothing where nothing counts."""
    event = envelope.data
    kind = KINDS.get(event.action)
    if kind is None or not _counts(envelope):
        return []
    at_ms = max(min(int(envelope.time_s * 1000), record.seen_ms), 0)
    items = dict.fromkeys(item.id for item in event.items)
    weight = min(event.weight, MOST_WEIGHT)
    return [Touch(item, record.offset, at_ms, kind, weight) for item in items]


def _forgets(record: Raw, source: int) -> list[Forget]:
    envelope = decode(record.value, Erasure)
    erasure = envelope.data
    if erasure.service is not None:
        return []
    ids = (erasure.user, *erasure.anonids)
    return [Forget(source, record.offset, ids, erasure.user, envelope.id)]


def _counts(envelope: Envelope[Behaviour]) -> bool:
    return allows(envelope.consent, "analytics") and envelope.data.bot < BOT


def _worth_cents(event: Behaviour) -> int:
    if event.value_cents is not None:
        return event.value_cents
    worth = sum((item.price_cents or 0) * item.quantity for item in event.items)
    return min(worth, MOST_CENTS)


def values(record: OnVisitors | OnItems, *, most_bytes: int = MOST_BYTES) -> list[bytes]:
    """Return the record in as many values as it needs; one offset never spans two of them."""
    value = encode(record)
    if len(value) <= most_bytes or not isinstance(record, Visits | Touches):
        return [value]
    items = record.items
    cuts = [i for i in range(1, len(items)) if items[i].offset != items[i - 1].offset]
    if not cuts:
        return [value]
    cut = cuts[len(cuts) // 2]
    first = msgspec.structs.replace(record, items=items[:cut])
    rest = msgspec.structs.replace(record, items=items[cut:])
    return [*values(first, most_bytes=most_bytes), *values(rest, most_bytes=most_bytes)]

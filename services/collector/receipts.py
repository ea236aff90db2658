"""What became of an event, by its id."""

from typing import Literal

from msgspec import Struct

from services.collector.core.dedup import digest
from services.collector.spool import Spool

State = Literal["spooled", "published", "rejected", "unknown"]


class Receipt(Struct, omit_defaults=True):
    """The state of one event.

    spooled: in the log, on disk if `durable`, on its way to Kafka. published: in Kafka at
    `topic`, `partition`, `offset`. rejected: not taken for `reason`; the bytes lie in
    `behaviour-rejected` at the place given, if it is. unknown: never seen, or longer ago than
    `since` (seconds since 1970), before which receipts may be forgotten.
    """

    id: str
    state: State
    durable: bool | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    reason: str | None = None
    field: str | None = None
    since: float | None = None


class Receipts:
    """Looks up ids in the memory of a day, the rejections, and the index on disk."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def of(self, event_id: str) -> Receipt:
        """Return the receipt; reads 24 bytes from a file that is most likely cached."""
        spool = self._spool
        key = digest(event_id.encode())
        seq = spool.seen.get(key)
        if seq is not None:
            return self._taken(event_id, seq)
        if (rejected := spool.rejections.get(key)) is not None:
            seq, reason, field = rejected
            receipt = self._taken(event_id, seq)
            receipt.state, receipt.reason, receipt.field = "rejected", reason, field
            return receipt
        since = spool.seen.since
        return Receipt(event_id, "unknown", since=since if since > 0 else None)

    def _taken(self, event_id: str, seq: int) -> Receipt:
        spool = self._spool
        if seq > spool.index.last:
            return Receipt(event_id, "spooled", durable=seq <= spool.log.durable_seq)
        place = spool.index.place(seq)
        if place is None:
            return Receipt(event_id, "published", durable=True)
        return Receipt(event_id, "published", True, place.topic, place.partition, place.offset)

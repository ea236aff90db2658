"""Events as columns: one table a topic, one row for each thing that an event touched."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import polars as pl

from shared.contracts.envelope import Envelope
from shared.contracts.events import (
    Behaviour,
    Decision,
    Erasure,
    Identity,
    Order,
    Product,
    Session,
    Shopper,
)
from shared.contracts.topics import (
    BEHAVIOUR,
    CATALOG,
    DECISIONS,
    ERASURES,
    IDENTITIES,
    ORDERS,
    SESSIONS,
    SHOPPERS,
    Topic,
)
from shared.runtime.bus import Received

Row = tuple[Any, ...]
Schema = Mapping[str, Any]

_EVENT = {
    "offset": pl.Int64,
    "key": pl.String,
    "time_ms": pl.Int64,
    "event_id": pl.String,
    "user": pl.String,
    "anon": pl.String,
    "consent": pl.String,
}
"""What every table begins with; a tombstone has nothing but offset and key."""


class Table(NamedTuple):
    """How the events of a topic become rows.

    Attributes
    ----------
    schema : mapping
        Column to type; `_EVENT` first.
    rows : callable
        The further columns' values, a tuple for each row.
    latest : bool
        Whether only the newest event of each key counts (compacted topics).
    people : tuple of str
        Columns that hold a person.
    """

    topic: Topic[Any]
    schema: Schema
    rows: Callable[[Envelope[Any]], Iterator[Row]]
    latest: bool = False
    people: tuple[str, ...] = ("user", "anon")

    def frame(self, received: Sequence[Received[Any]]) -> pl.DataFrame:
        """Return the rows of these events in their order."""
        rows = [row for event in received for row in self._rows(event)]
        columns = zip(*rows, strict=True) if rows else ([] for _ in self.schema)
        return pl.DataFrame(
            [
                pl.Series(name, values, dtype=dtype)
                for (name, dtype), values in zip(self.schema.items(), columns, strict=True)
            ]
        )

    def _rows(self, event: Received[Any]) -> Iterator[Row]:
        envelope, offset = event.envelope, event.position.offset
        if envelope is None:
            yield (offset, event.key, *(None for _ in range(len(self.schema) - 2)))
            return
        time_ms = round(envelope.time.timestamp() * 1000)
        head = (
            offset,
            event.key,
            time_ms,
            envelope.id,
            envelope.userid,
            envelope.anonid,
            envelope.consent,
        )
        for row in self.rows(envelope):
            yield (*head, *row)


def _behaviour(envelope: Envelope[Behaviour]) -> Iterator[Row]:
    event = envelope.data
    common = (
        event.query,
        event.request_id,
        event.order_id,
        event.value_cents,
        event.weight,
        event.bot,
    )
    for place, item in enumerate(event.items):
        # A rating is of the first item alone.
        said = (event.action, None if place else event.rating)
        yield (item.id, item.quantity, item.price_cents, item.position, *said, *common)
    if not event.items:
        yield (None, None, None, None, event.action, event.rating, *common)


def _order(envelope: Envelope[Order]) -> Iterator[Row]:
    order = envelope.data
    for line in order.lines:
        request = line.request_id or order.request_id
        yield (
            order.order_id,
            order.status,
            line.item_id,
            line.quantity,
            line.price_cents,
            request,
            order.currency,
        )
    if not order.lines:
        yield (
            order.order_id,
            order.status,
            None,
            None,
            None,
            order.request_id,
            order.currency,
        )


def _product(envelope: Envelope[Product]) -> Iterator[Row]:
    product = envelope.data
    yield (
        product.title,
        list(product.category),
        product.brand,
        product.price_cents,
        product.available,
        product.hidden,
    )


def _session(envelope: Envelope[Session]) -> Iterator[Row]:
    session = envelope.data
    began_ms = round(session.began.timestamp() * 1000)
    for step in session.steps:
        for item in step.items or (None,):
            yield (
                session.session_id,
                session.person,
                session.known,
                began_ms + step.at,
                step.action,
                item,
                step.query,
                step.request_id,
            )


def _decision(envelope: Envelope[Decision]) -> Iterator[Row]:
    decision = envelope.data
    common = (
        decision.request_id,
        decision.service,
        decision.scenario,
        decision.release,
        decision.rung,
        decision.personalised,
        decision.variant,
    )
    for shown in decision.shown:
        yield (
            *common,
            shown.item_id,
            shown.position,
            shown.score,
            shown.propensity,
            msgspec.json.encode(shown.sources).decode() if shown.sources else None,
        )
    if not decision.shown:
        # An answer with nothing in it was an answer, and is the worst one.
        yield (*common, None, None, None, None, None)


def _shopper(envelope: Envelope[Shopper]) -> Iterator[Row]:
    shopper = envelope.data
    yield (shopper.user, shopper.consent, shopper.personalised)


def _identity(envelope: Envelope[Identity]) -> Iterator[Row]:
    yield (envelope.data.anonid, envelope.data.user)


def _erasure(envelope: Envelope[Erasure]) -> Iterator[Row]:
    erasure = envelope.data
    yield (erasure.user, list(erasure.anonids), erasure.service)


TABLES: tuple[Table, ...] = (
    Table(
        BEHAVIOUR,
        _EVENT
        | {
            "item": pl.String,
            "quantity": pl.Int64,
            "price_cents": pl.Int64,
            "position": pl.Int64,
            "action": pl.String,
            "rating": pl.Float64,
            "query": pl.String,
            "request_id": pl.String,
            "order_id": pl.String,
            "value_cents": pl.Int64,
            "weight": pl.Float64,
            "bot": pl.Float64,
        },
        _behaviour,
    ),
    Table(
        ORDERS,
        _EVENT
        | {
            "order_id": pl.String,
            "status": pl.String,
            "item": pl.String,
            "quantity": pl.Int64,
            "price_cents": pl.Int64,
            "request_id": pl.String,
            "currency": pl.String,
        },
        _order,
    ),
    Table(
        CATALOG,
        _EVENT
        | {
            "title": pl.String,
            "category": pl.List(pl.String),
            "brand": pl.String,
            "price_cents": pl.Int64,
            "available": pl.Boolean,
            "hidden": pl.Boolean,
        },
        _product,
        latest=True,
        people=(),
    ),
    Table(
        SESSIONS,
        _EVENT
        | {
            "session_id": pl.String,
            "person": pl.String,
            "known": pl.Boolean,
            "at_ms": pl.Int64,
            "action": pl.String,
            "item": pl.String,
            "query": pl.String,
            "request_id": pl.String,
        },
        _session,
        people=("user", "anon", "person"),
    ),
    Table(
        DECISIONS,
        _EVENT
        | {
            "request_id": pl.String,
            "service": pl.String,
            "scenario": pl.String,
            "release": pl.String,
            "rung": pl.String,
            "personalised": pl.Boolean,
            "variant": pl.String,
            "item": pl.String,
            "position": pl.Int64,
            "score": pl.Float64,
            "propensity": pl.Float64,
            "sources": pl.String,
        },
        _decision,
    ),
    Table(
        SHOPPERS,
        _EVENT | {"shopper": pl.String, "granted": pl.String, "personalised": pl.Boolean},
        _shopper,
        latest=True,
        people=("user", "anon", "shopper", "key"),
    ),
    Table(
        IDENTITIES,
        _EVENT | {"visitor": pl.String, "known_as": pl.String},
        _identity,
        latest=True,
        people=("user", "anon", "visitor", "known_as", "key"),
    ),
    Table(
        ERASURES,
        _EVENT | {"forgotten": pl.String, "anonids": pl.List(pl.String), "service": pl.String},
        _erasure,
        latest=True,
        people=(),
    ),
)
TABLE_OF: Mapping[str, Table] = {table.topic.name: table for table in TABLES}

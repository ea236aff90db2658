"""Segment's shapes (track, page, screen, identify, alias, batch) → events.

Follows Segment's HTTP API and its ecommerce spec v2. `messageId` is the idempotency key, `sentAt`
the sender's clock.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from services.collector.core.decode import place_of
from services.collector.core.incoming import Fault, Ident, Incoming, Parsed
from services.collector.core.money import cents
from services.collector.core.people import Claim, Person
from shared.contracts.errors import Invalid
from shared.contracts.events import Behaviour, Touched
from shared.contracts.events.fields import Id, Name, Text

Kind = Literal["track", "page", "screen", "identify", "alias", "batch"]
Taken = Behaviour | Person | Claim
ACTIONS = {
    "product viewed": "view_item",
    "product list viewed": "view_item_list",
    "product list filtered": "view_item_list",
    "product clicked": "select_item",
    "product added": "add_to_cart",
    "product removed": "remove_from_cart",
    "cart viewed": "view_cart",
    "checkout started": "begin_checkout",
    "order completed": "purchase",
    "order refunded": "refund",
    "products searched": "search",
    "promotion viewed": "view_promotion",
    "promotion clicked": "select_promotion",
    "product added to wishlist": "add_to_wishlist",
    "product reviewed": "rate_item",
}
IGNORED_KINDS = frozenset({"group"})
Number = float | str


class _Product(Struct):
    product_id: Ident | None = None
    sku: Ident | None = None
    quantity: Annotated[float, Meta(ge=0)] = 1
    price: Number | None = None
    position: int | None = None


class _Properties(Struct):
    products: Annotated[list[_Product], Meta(max_length=200)] = []
    product_id: Ident | None = None
    sku: Ident | None = None
    quantity: Annotated[float, Meta(ge=0)] = 1
    price: Number | None = None
    position: int | None = None
    currency: str | None = None
    revenue: Number | None = None
    total: Number | None = None
    value: Number | None = None
    order_id: Ident | None = None
    query: Text | None = None
    list_id: Name | None = None
    promotion_id: Id | None = None
    url: Text | None = None
    referrer: Text | None = None
    rating: float | None = None
    request_id: Id | None = None


class _Page(Struct):
    url: Text | None = None
    referrer: Text | None = None


class _Context(Struct):
    page: _Page = msgspec.field(default_factory=_Page)
    locale: Name | None = None
    sessionId: Ident | None = None
    consent: dict[str, Any] | None = None


class _Message(Struct, rename="camel"):
    type: str | None = None
    event: Name | None = None
    message_id: Id | None = None
    user_id: Ident | None = None
    anonymous_id: Id | None = None
    previous_id: Id | None = None
    timestamp: datetime | None = None
    original_timestamp: datetime | None = None
    sent_at: datetime | None = None
    properties: _Properties = msgspec.field(default_factory=_Properties)
    context: _Context = msgspec.field(default_factory=_Context)
    traits: dict[str, Any] = {}


class _Batch(Struct, rename="camel"):
    batch: list[msgspec.Raw]
    sent_at: datetime | None = None


_message = msgspec.json.Decoder(_Message)
_batch = msgspec.json.Decoder(_Batch)
_raw = msgspec.json.Decoder(msgspec.Raw)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def parse(body: bytes, kind: Kind, *, most: int) -> Parsed[Taken]:
    """Return what the request says; identify and alias give people and claims of identity.

    Raises
    ------
    Invalid
        The body as a whole cannot be read.
    """
    try:
        if kind == "batch":
            batch = _batch.decode(body)
            raws, sent_at = batch.batch, batch.sent_at
        else:
            raws, sent_at = [_raw.decode(body)], None
    except _UNREADABLE as error:
        reason, field = place_of(error)
        raise Invalid(f"no Segment request: {reason}", field=field) from error
    if len(raws) > most:
        raise Invalid(f"{len(raws)} events in one request; send at most {most}")
    single = kind != "batch"
    parsed: Parsed[Taken] = Parsed(
        events=[], faults=[], size=len(raws), sent_at=sent_at, single=single
    )
    for index, raw in enumerate(raws):
        message = None
        try:
            message = _message.decode(raw)
            _add(parsed, index, message, None if kind == "batch" else kind)
        except (*_UNREADABLE, Invalid) as error:
            reason, field = (
                (error.reason, error.field) if isinstance(error, Invalid) else place_of(error)
            )
            name = message.message_id if message else None
            parsed.faults.append(Fault(index, reason, field, name, bytes(raw)))
    return parsed


def _add(parsed: Parsed[Taken], index: int, message: _Message, kind: str | None) -> None:
    kind = kind or message.type
    parsed.sent_at = parsed.sent_at or message.sent_at
    if kind in IGNORED_KINDS:
        parsed.ignored += 1
    elif kind == "identify":
        parsed.events += [(index, e) for e in _identified(message)]
    elif kind == "alias":
        parsed.events.append((index, _aliased(message)))
    elif kind in ("track", "page", "screen"):
        parsed.events.append((index, _tracked(message, kind)))
    else:
        raise Invalid(f"unknown type {kind!r}", field="type")


def _tracked(message: _Message, kind: str) -> Incoming[Taken]:
    action = "page_view"
    if kind == "track":
        found = ACTIONS.get((message.event or "").lower())
        if found is None:
            raise Invalid(f"{message.event!r} is not in the ecommerce spec", field="event")
        action = found
    return _incoming(message, _behaviour(action, message))


def _incoming(message: _Message, fact: Taken, suffix: str = "") -> Incoming[Taken]:
    session = message.context.sessionId
    return Incoming(
        id=message.message_id + suffix if message.message_id else None,
        time=message.timestamp or message.original_timestamp,
        userid=_text(message.user_id),
        anonid=message.anonymous_id,
        sessionid=_text(session),
        consent=_consent(message.context.consent),
        data=fact,
    )


def _behaviour(action: str, message: _Message) -> Behaviour:
    p = message.properties
    currency = p.currency.upper() if p.currency else None
    products = p.products
    if not products and (p.product_id or p.sku):
        products = [_Product(p.product_id, p.sku, p.quantity, p.price, p.position)]
    amount = next((v for v in (p.total, p.revenue, p.value) if v is not None), None)
    return msgspec.convert(
        {
            "action": action,
            "items": tuple(_touched(n, i, currency) for n, i in enumerate(products)),
            "query": p.query,
            "rating": p.rating,
            "request_id": p.request_id,
            "list_id": p.list_id,
            "promotion_id": p.promotion_id,
            "order_id": _text(p.order_id),
            "value_cents": cents(amount, currency, field="properties.total"),
            "currency": currency,
            "page": p.url or message.context.page.url,
            "referrer": p.referrer or message.context.page.referrer,
            "locale": message.context.locale,
        },
        Behaviour,
    )


def _touched(place: int, product: _Product, currency: str | None) -> Touched:
    where = f"properties.products[{place}]"
    name = _text(product.product_id or product.sku)
    if name is None:
        raise Invalid("a product needs product_id or sku", field=where)
    position = product.position
    return Touched(
        id=name,
        quantity=max(1, min(1_000_000, round(product.quantity))),
        price_cents=cents(product.price, currency, field=f"{where}.price"),
        position=position if position is not None and 0 <= position <= 100_000 else None,
    )


def _identified(message: _Message) -> list[Incoming[Taken]]:
    user = _text(message.user_id)
    if user is None:
        raise Invalid("identify needs userId", field="userId")
    events = [_incoming(message, Person.of_traits(user, message.traits))]
    if message.anonymous_id:
        claim = Claim(anonid=message.anonymous_id, user=user)
        # One message gives two facts, and each needs an id of its own.
        events.append(_incoming(message, claim, "/identity"))
    return events


def _aliased(message: _Message) -> Incoming[Taken]:
    user = _text(message.user_id)
    if user is None or message.previous_id is None:
        raise Invalid("alias needs userId and previousId", field="userId")
    return _incoming(message, Claim(anonid=message.previous_id, user=user))


def _consent(stated: dict[str, Any] | None) -> str | None:
    """Segment's consent object: ``{"categoryPreferences": {"Advertising": false, …}}``."""
    chosen = (stated or {}).get("categoryPreferences")
    if not isinstance(chosen, dict):
        return None
    names = {"analytics": "analytics", "functional": "personalisation", "advertising": "marketing"}
    names |= {"personalisation": "personalisation", "personalization": "personalisation"}
    names |= {"marketing": "marketing"}
    granted = {names.get(str(k).lower()) for k, v in chosen.items() if v is True} - {None}
    return " ".join(sorted(str(g) for g in granted)) or "none"


def _text(value: str | int | None) -> str | None:
    return None if value is None or value == "" else str(value)

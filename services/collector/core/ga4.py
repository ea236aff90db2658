"""GA4's measurement protocol → events.

Follows the reference of the protocol and of GA4's recommended commerce events. What one payload
says of client, user and consent holds for all of its events. `event_id` among the params is the
idempotency key; without it every sending is a new event.
"""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from services.collector.core.decode import place_of
from services.collector.core.incoming import Fault, Ident, Incoming, Parsed
from services.collector.core.money import cents
from shared.contracts.errors import Invalid
from shared.contracts.events import Behaviour, Touched, behaviour
from shared.contracts.events.fields import Id, Name, Text

ACTIONS: dict[str, str] = {"view_search_results": "search"} | {a: a for a in behaviour.ACTIONS}
"""GA4's names, which ours are too, and the one that differs."""
IGNORED = frozenset(
    [
        "session_start",
        "first_visit",
        "user_engagement",
        "scroll",
        "click",
        "file_download",
        "form_start",
        "form_submit",
        "video_start",
        "video_progress",
        "video_complete",
        "screen_view",
        "login",
        "sign_up",
        "share",
        "select_content",
        "add_payment_info",
        "add_shipping_info",
        "generate_lead",
        "exception",
        "first_open",
        "app_update",
    ]
)
"""Events that GA4 sends by itself or recommends, which say nothing that shoploop uses."""
Number = float | str


class _Item(Struct):
    item_id: Id | None = None
    item_name: Id | None = None
    quantity: Annotated[float, Meta(ge=0)] = 1
    price: Number | None = None
    index: int | None = None


class _Params(Struct):
    items: Annotated[list[_Item], Meta(max_length=200)] = []
    currency: str | None = None
    value: Number | None = None
    transaction_id: Id | None = None
    search_term: Text | None = None
    promotion_id: Id | None = None
    item_list_id: Name | None = None
    item_list_name: Name | None = None
    page_location: Text | None = None
    page_referrer: Text | None = None
    language: Name | None = None
    session_id: Ident | None = None
    event_id: Id | None = None
    request_id: Id | None = None
    rating: float | None = None


class _Event(Struct):
    name: Name
    params: _Params = msgspec.field(default_factory=_Params)
    timestamp_micros: int | str | None = None


class _Consent(Struct):
    ad_user_data: str | None = None
    ad_personalization: str | None = None


class _Payload(Struct):
    events: list[msgspec.Raw]
    client_id: Id | None = None
    app_instance_id: Id | None = None
    user_id: Id | None = None
    timestamp_micros: int | str | None = None
    non_personalized_ads: bool = False
    consent: _Consent | None = None


_payload = msgspec.json.Decoder(_Payload)
_event = msgspec.json.Decoder(_Event)
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Invalid)


def parse(body: bytes, *, most: int) -> Parsed[Behaviour]:
    """Return the payload's events; those that shoploop has no use for are counted as ignored.

    Raises
    ------
    Invalid
        The payload as a whole cannot be read, or names neither client nor user.
    """
    try:
        payload = _payload.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason, field = place_of(error)
        raise Invalid(f"no payload of the measurement protocol: {reason}", field=field) from error
    if len(payload.events) > most:
        raise Invalid(f"{len(payload.events)} events in one request; send at most {most}")
    parsed: Parsed[Behaviour] = Parsed(events=[], faults=[], size=len(payload.events))
    for index, raw in enumerate(payload.events):
        try:
            event = _event.decode(raw)
            if event.name in IGNORED:
                parsed.ignored += 1
            else:
                parsed.events.append((index, _incoming(event, payload)))
        except _ERRORS as error:
            reason, field = (
                (error.reason, error.field) if isinstance(error, Invalid) else place_of(error)
            )
            parsed.faults.append(Fault(index, reason, field, None, bytes(raw)))
    return parsed


def _incoming(event: _Event, payload: _Payload) -> Incoming[Behaviour]:
    action = ACTIONS.get(event.name)
    if action is None:
        raise Invalid(f"{event.name!r} is no commerce event of GA4", field="name")
    params = event.params
    session = params.session_id
    return Incoming(
        id=params.event_id,
        time=_time(event.timestamp_micros or payload.timestamp_micros),
        userid=payload.user_id,
        anonid=payload.client_id or payload.app_instance_id,
        sessionid=None if session is None else str(session),
        consent=_consent(payload),
        data=_behaviour(action, params),
    )


def _behaviour(action: str, params: _Params) -> Behaviour:
    currency = params.currency.upper() if params.currency else None
    return msgspec.convert(
        {
            "action": action,
            "items": tuple(_touched(n, i, currency) for n, i in enumerate(params.items)),
            "query": params.search_term,
            "rating": params.rating,
            "request_id": params.request_id,
            "list_id": params.item_list_id or params.item_list_name,
            "promotion_id": params.promotion_id,
            "order_id": params.transaction_id,
            "value_cents": cents(params.value, currency, field="params.value"),
            "currency": currency,
            "page": params.page_location,
            "referrer": params.page_referrer,
            "locale": params.language,
        },
        Behaviour,
    )


def _touched(place: int, item: _Item, currency: str | None) -> Touched:
    name = item.item_id or item.item_name
    if name is None:
        raise Invalid("an item needs item_id or item_name", field=f"params.items[{place}]")
    return Touched(
        id=name,
        quantity=max(1, min(1_000_000, round(item.quantity))),
        price_cents=cents(item.price, currency, field=f"params.items[{place}].price"),
        position=item.index if item.index is not None and 0 <= item.index <= 100_000 else None,
    )


def _time(micros: int | str | None) -> datetime | None:
    if micros is None:
        return None
    try:
        return datetime.fromtimestamp(int(micros) / 1e6, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise Invalid("microseconds since 1970 wanted", field="timestamp_micros") from error


def _consent(payload: _Payload) -> str | None:
    """`ad_personalization` and `ad_user_data` both speak of marketing; absent means not asked."""
    stated = payload.consent
    if payload.non_personalized_ads:
        return "analytics"
    if stated is None or (stated.ad_user_data is None and stated.ad_personalization is None):
        return None
    refused = "DENIED" in (stated.ad_user_data, stated.ad_personalization)
    return "analytics personalisation" if refused else "all"

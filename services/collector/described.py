"""What the doors take and give, for those who read their OpenAPI document."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar, get_args

from msgspec import Struct

from services.collector.core.incoming import Incoming
from services.collector.core.people import Claim, Person
from services.collector.core.pixel import ATTRIBUTES, FACTS
from services.collector.intake import Answer
from shared.contracts.events import Behaviour, Order, Product
from shared.runtime.app import Described
from shared.runtime.http.erasures import ERASURES
from shared.runtime.keys import Ack

E = TypeVar("E")
_GIVES = {202: Answer, 422: Answer}
_REFUSED = "422: none of the events was taken; `errors` says why."
_TEXT = {"type": "string"}


class Batch(Struct, Generic[E], kw_only=True):
    """Events with the sender's clock, by which their times are set right."""

    events: list[Incoming[E]]
    sentat: datetime | None = None


def _parameter(name: str, about: str, schema: Mapping[str, Any] = _TEXT) -> Mapping[str, Any]:
    return {"name": name, "in": "query", "description": about, "schema": schema}


_ACK = _parameter(
    "ack", "What to wait for; else what the key says.", {"enum": list(get_args(Ack))}
)  # fmt: skip
_KEY = _parameter("key", "A publishable key, where no header can be sent.")


def _native(
    event: Any, example: Mapping[str, Any], *, flat: bool = True, pages: bool = False
) -> Described:
    """Describe a door of our own shape; `pages` may send to it under a publishable key."""
    beside = " The fields of `data` may stand beside the others, without `data`." if flat else ""
    return Described(
        takes=(Incoming[event], list[Incoming[event]], Batch[event]),
        example=example,
        gives=_GIVES,
        parameters=(_ACK, _KEY) if pages else (_ACK,),
        about=f"One, a list of them, or an object with the list under `events`.{beside} {_REFUSED}",
    )


def _foreign(whose: str, example: Mapping[str, Any]) -> Described:
    return Described(
        takes=(dict[str, Any],),
        example=example,
        gives=_GIVES,
        parameters=(_ACK, _KEY),
        about=f"As {whose} sends it. {_REFUSED}",
    )


_EVENT = {"id": "e1", "userid": "u1", "action": "view_item", "items": [{"id": "tea"}]}
_PRODUCT = {"id": "tea", "title": "Green tea", "titles": {"zh": "绿茶"}, "category": ["Drinks"]}
_ORDER = {
    "userid": "u1",
    "order_id": "o1",
    "status": "paid",
    "lines": [{"item_id": "tea", "quantity": 2, "price_cents": 450}],
    "currency": "EUR",
}
DESCRIBED: Mapping[tuple[str, str], Described] = {
    ("POST", "/v1/events"): _native(Behaviour, _EVENT, pages=True),
    ("POST", "/v1/beacon"): _native(Behaviour, _EVENT, pages=True),
    ("POST", "/v1/orders"): _native(Order, _ORDER),
    ("POST", "/v1/catalog"): _native(Product, {"data": _PRODUCT}, flat=False),
    ("PUT", "/v1/catalog"): _native(Product, {"data": _PRODUCT}, flat=False),
    ("POST", "/v1/shoppers"): _native(Person, {"user": "u1", "traits": {"tier": "gold"}}),
    ("POST", "/v1/identities"): _native(Claim, {"anonid": "a1", "user": "u1"}, pages=True),
    ("POST", "/v1/ga4"): _foreign(
        "GA4's measurement protocol",
        {
            "client_id": "a1",
            "events": [{"name": "view_item", "params": {"items": [{"item_id": "tea"}]}}],
        },
    ),
    ("POST", "/v1/segment/{kind}"): _foreign(
        "Segment",
        {
            "anonymousId": "a1",
            "type": "track",
            "event": "Product Viewed",
            "properties": {"product_id": "tea"},
        },
    ),
    ("GET", "/v1/pixel.gif"): Described(
        parameters=(
            _KEY,
            _parameter("item", "An item's id; may be repeated."),
            *(_parameter(name, "As in an event.") for name in (*FACTS, *ATTRIBUTES)),
        ),
        about="The image comes whatever became of the event.",
    ),
    ("POST", "/v1/erasures"): ERASURES,
}

"""What shoppers do, in the names of GA4's commerce events."""

from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from shared.contracts.events.fields import (
    Cents,
    Currency,
    Id,
    Name,
    Position,
    Quantity,
    Share,
    Text,
    Weight,
)

Action = Literal[
    "view_item",
    "view_item_list",
    "select_item",
    "add_to_cart",
    "remove_from_cart",
    "view_cart",
    "begin_checkout",
    "add_to_wishlist",
    "search",
    "view_promotion",
    "select_promotion",
    "page_view",
    "purchase",
    "refund",
    "rate_item",
    "hide_item",
    "unhide_item",
]
ACTIONS: tuple[Action, ...] = get_args(Action)


class Touched(Struct, frozen=True, omit_defaults=True):
    """An item that an action was about; `price_cents` is for one piece."""

    id: Id
    quantity: Quantity = 1
    price_cents: Cents | None = None
    position: Position | None = None


class Behaviour(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one shopper did at one moment.

    `request_id` and `list_id` carry feedback to the decision that led here. `rating` is what the
    shopper said of the first item, 1 to 5. `weight` is the inverse of the probability with which
    the collector kept events of this kind when it had to shed load. `bot` is the estimated
    probability that no human did this.
    """

    action: Action
    items: Annotated[tuple[Touched, ...], Meta(max_length=200)] = ()
    query: Text | None = None
    rating: Annotated[float, Meta(ge=1, le=5)] | None = None
    request_id: Id | None = None
    list_id: Name | None = None
    promotion_id: Id | None = None
    order_id: Id | None = None
    value_cents: Cents | None = None
    currency: Currency | None = None
    page: Text | None = None
    referrer: Text | None = None
    locale: Name | None = None
    device: Name | None = None
    country: Name | None = None
    weight: Weight = 1.0
    bot: Share = 0.0


class Rejected(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Bytes that were not taken, and why; `original` is base64 in JSON, cut at 64 KiB.

    `door` is the route it came through, `field` the path of the first wrong value.
    """

    door: Name
    reason: Text
    original: bytes
    field: Name | None = None
    truncated: bool = False

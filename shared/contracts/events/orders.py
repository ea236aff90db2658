"""The life of an order."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from shared.contracts.events.fields import Cents, Currency, Id, Name, Quantity

Status = Literal["placed", "paid", "shipped", "delivered", "cancelled", "returned"]


class Line(Struct, frozen=True, omit_defaults=True):
    """So many pieces of one product; `price_cents` is for one piece, after discounts."""

    item_id: Id
    quantity: Quantity = 1
    price_cents: Cents | None = None
    request_id: Id | None = None


class Order(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An order reached `status`; `lines` are those it concerns (all of them when placed)."""

    order_id: Id
    status: Status
    lines: Annotated[tuple[Line, ...], Meta(max_length=2000)] = ()
    currency: Currency | None = None
    total_cents: Cents | None = None
    discount_cents: Cents | None = None
    coupon: Name | None = None
    request_id: Id | None = None

"""The product as it is now."""

from typing import Annotated

from msgspec import Meta, Struct

from shared.contracts.events.fields import Cents, Currency, Id, Name, Text


class Product(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One product; a newer event replaces the older one whole, a tombstone removes it.

    `category` is the path from the root (``("Grocery", "Dairy", "Milk")``). `available` is what
    the shop says of its stock; `hidden` keeps it out of every answer. `titles` holds other
    languages by BCP 47 tag.
    """

    id: Id
    title: Name
    titles: dict[str, Name] = {}
    description: Text = ""
    category: Annotated[tuple[Name, ...], Meta(max_length=12)] = ()
    brand: Name | None = None
    price_cents: Cents | None = None
    currency: Currency | None = None
    available: bool = True
    hidden: bool = False
    image: Text | None = None
    url: Text | None = None
    tags: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    attributes: dict[str, str | float | bool] = {}
    weight_g: float | None = None

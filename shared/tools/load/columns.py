"""Which column holds what: guessed from the names, and told so that it can be put right."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from shared.contracts.errors import Invalid

Kind = Literal["behaviour", "catalog", "orders", "shoppers"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_TIME = ("time timestamp ts datetime date event_time created_at occurred_at transaction_timestamp "
         "order_date purchase_date")  # fmt: skip
_USER = ("user user_id userid customer customer_id shopper shopper_id client_id member_id buyer_id"
         " household_id visitor_id reviewer_id")  # fmt: skip
_ITEM = "item item_id itemid product product_id productid sku asin article article_id movie_id parent_asin"
_PRICE = "price unit_price item_price sale_price list_price"
_NAMES: dict[Kind, dict[str, str]] = {
    "behaviour": {
        "userid": _USER,
        "anonid": "anonid anonymous_id anon_id cookie_id device_id",
        "sessionid": "session session_id sessionid visit_id",
        "id": "id event_id message_id",
        "time": _TIME,
        "action": "action event event_name event_type behavior behaviour type interaction",
        "item": _ITEM,
        "quantity": "quantity qty units count",
        "price": _PRICE,
        "price_cents": "price_cents",
        "value": "value amount revenue total sales_value",
        "currency": "currency currency_code",
        "rating": "rating stars score overall",
        "query": "query search search_term search_query keyword",
        "order_id": "order_id order orderid basket_id transaction_id invoice invoice_no invoiceno",
    },
    "catalog": {
        "id": f"id {_ITEM} code stockcode",
        "title": "title name product_name item_name product_type description_short productname",
        "description": "description details long_description summary",
        "category": "category categories category_path product_category department",
        "brand": "brand manufacturer vendor",
        "price": _PRICE,
        "price_cents": "price_cents",
        "currency": "currency currency_code",
        "available": "available in_stock instock is_available",
        "image": "image image_url picture img thumbnail",
        "url": "url link product_url",
        "weight_g": "weight_g weight_grams",
    },
    "orders": {
        "userid": _USER,
        "order_id": "order_id order orderid basket_id transaction_id invoice invoice_no invoiceno",
        "status": "status state order_status",
        "time": _TIME,
        "item": _ITEM,
        "quantity": "quantity qty units count",
        "price": _PRICE,
        "price_cents": "price_cents",
        "currency": "currency currency_code",
        "total": "total order_total amount",
        "coupon": "coupon coupon_code voucher",
    },
    "shoppers": {
        "user": f"id {_USER}",
        "email": "email e_mail mail email_address",
        "name": "name full_name customer_name",
        "first_name": "first_name firstname given_name",
        "last_name": "last_name lastname surname family_name",
        "phone": "phone telephone mobile phone_number",
        "address": "address street street_address",
        "consent": "consent opt_in",
        "locale": "locale language lang",
    },
}
NEEDED: dict[Kind, tuple[tuple[str, ...], ...]] = {
    "behaviour": (("userid", "anonid", "sessionid"),),
    "catalog": (("id",), ("title",)),
    "orders": (("order_id",),),
    "shoppers": (("user",),),
}
"""Of each group one field must have a column."""


def kind_of(columns: Sequence[str]) -> Kind:
    """Return what a file with these columns most likely holds.

    Raises
    ------
    Invalid
        Nothing fits; the text says what each kind needs.
    """
    spelled = {plain(c) for c in columns}

    def has(kind: Kind, field: str) -> bool:
        return bool(spelled & set(_NAMES[kind][field].split()))

    if has("orders", "order_id") and has("orders", "status"):
        return "orders"
    if has("behaviour", "userid") and has("behaviour", "item"):
        return "behaviour"
    if has("shoppers", "email") or has("shoppers", "first_name"):
        return "shoppers"
    if has("catalog", "id") and has("catalog", "title"):
        return "catalog"
    if any(has("behaviour", f) for f in ("userid", "anonid", "sessionid")):
        return "behaviour"
    raise Invalid(
        f"the columns {', '.join(columns)} say nothing; name the kind with --to and columns with --map"
    )


def guessed(columns: Sequence[str], kind: Kind, named: Mapping[str, str]) -> dict[str, str]:
    """Return field → column; what `named` says (column → field) wins, a field is given once.

    Raises
    ------
    Invalid
        `named` speaks of a column or a field that does not exist, or a needed field has none;
        beside a column `data`, which holds whole facts, none is needed.
    """
    found: dict[str, str] = {}
    for column, field in named.items():
        if column not in columns:
            raise Invalid(f"there is no column {column!r}; there are: {', '.join(columns)}")
        if field not in _NAMES[kind]:
            raise Invalid(f"{kind} has no field {field!r}; it has: {', '.join(_NAMES[kind])}")
        found[field] = column
    taken = set(found.values())
    for field, names in _NAMES[kind].items():
        for name in names.split():
            match = next((c for c in columns if c not in taken and plain(c) == name), None)
            if match is not None and field not in found:
                found[field] = match
                taken.add(match)
    for group in () if "data" in columns else NEEDED[kind]:
        if not any(field in found for field in group):
            raise Invalid(
                f"no column for {' or '.join(group)}; name one with --map COLUMN={group[0]}"
            )
    return found


def plain(column: str) -> str:
    """Return a column's name in lower case with words joined by underscores."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column.strip())
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")

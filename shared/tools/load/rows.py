"""One row of a file → one event in the collector's own shape."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shared.contracts.errors import Invalid
from shared.contracts.events.behaviour import ACTIONS
from shared.tools.load.columns import Kind

Row = Mapping[str, Any]
_ACTIONS: dict[str, str] = {
    **{a: a for a in ACTIONS},
    **{"view": "view_item", "click": "select_item", "detail": "view_item", "pv": "view_item"},
    **{"cart": "add_to_cart", "addtocart": "add_to_cart", "add_to_basket": "add_to_cart"},
    **{"buy": "purchase", "order": "purchase", "transaction": "purchase", "sale": "purchase"},
    **{"fav": "add_to_wishlist", "wishlist": "add_to_wishlist", "rate": "rate_item"},
    **{"remove": "remove_from_cart", "searched": "search"},
}
_NO = frozenset({"0", "false", "no", "n", "f", "out of stock", "unavailable"})
_PATH_MARKS = (" > ", ">", "|", "/")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_NOTHING = frozenset({"", "null", "none", "nan", "na", "n/a"})


class Reader:
    """Turns rows into events; raises `Invalid` with the column at fault.

    Parameters
    ----------
    kind : Kind
        What the rows are.
    fields : mapping
        Field → column.
    action : str, optional
        For behaviour without a column of actions; guessed from the other columns if None.
    """

    def __init__(self, kind: Kind, fields: Mapping[str, str], *, action: str | None = None) -> None:
        self._fields = fields
        self._action = action or _likely(fields)
        self._others = frozenset(fields.values())
        self._make = getattr(self, f"_{kind}")

    def event(self, row: Row) -> dict[str, Any]:
        """Return the event; fields without a value are left out."""
        event: dict[str, Any] = self._make(row)
        return event

    def _text(self, row: Row, field: str) -> str | None:
        column = self._fields.get(field)
        value = row.get(column) if column is not None else None
        if value is None:
            return None
        text = str(value).strip()
        return None if text.lower() in _NOTHING else text

    def _number(self, row: Row, field: str) -> float | None:
        text = self._text(row, field)
        if text is None:
            return None
        if _THOUSANDS.fullmatch(text):
            raise Invalid(
                f"{text!r} may be a thousand times the other: write it without the comma",
                field=self._fields[field],
            )
        try:
            number = float(text.replace(",", ".") if text.count(",") == 1 else text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise Invalid(f"{text!r} is not a number", field=self._fields[field])
        return number

    def _cents(self, row: Row, field: str) -> int | None:
        exact = self._number(row, f"{field}_cents") if f"{field}_cents" in self._fields else None
        if exact is not None:
            return round(exact)
        amount = self._number(row, field)
        if amount is not None and not 0 <= amount < 1e10:
            raise Invalid(f"{amount} is not a price; it is zero or more", field=self._fields[field])
        return None if amount is None else round(amount * 100)

    def _time(self, row: Row) -> str | None:
        text = self._text(row, "time")
        return None if text is None else moment(text, self._fields["time"])

    def _attributes(self, row: Row) -> dict[str, Any]:
        return {
            "id": self._text(row, "id"),
            "time": self._time(row),
            "userid": self._text(row, "userid"),
            "anonid": self._text(row, "anonid") or self._text(row, "sessionid"),
            "sessionid": self._text(row, "sessionid"),
        }

    def _behaviour(self, row: Row) -> dict[str, Any]:
        stated = self._text(row, "action")
        action = self._action if stated is None else _ACTIONS.get(stated.lower().replace(" ", "_"))
        if action is None:
            raise Invalid(f"unknown action {stated!r}", field=self._fields["action"])
        item = self._text(row, "item")
        touched = _filled(
            id=item, quantity=self._pieces(row), price_cents=self._cents(row, "price")
        )
        fact = _filled(
            action=action,
            items=[touched] if item else None,
            rating=self._number(row, "rating"),
            query=self._text(row, "query"),
            order_id=self._text(row, "order_id"),
            value_cents=self._cents(row, "value"),
            currency=self._text(row, "currency"),
        )
        return {**_filled(**self._attributes(row)), "data": fact}

    def _catalog(self, row: Row) -> dict[str, Any]:
        available = self._text(row, "available")
        fact = _filled(
            id=self._text(row, "id"),
            title=self._text(row, "title"),
            description=self._text(row, "description"),
            category=self._category(row),
            brand=self._text(row, "brand"),
            price_cents=self._cents(row, "price"),
            currency=self._text(row, "currency"),
            available=None if available is None else available.lower() not in _NO,
            image=self._text(row, "image"),
            url=self._text(row, "url"),
            weight_g=self._number(row, "weight_g"),
            attributes=self._rest(row) or None,
        )
        return {"data": fact}

    def _category(self, row: Row) -> list[str] | None:
        column = self._fields.get("category")
        value = row.get(column) if column is not None else None
        if isinstance(value, list):
            return [str(part) for part in value if part]
        return _path(self._text(row, "category"))

    def _orders(self, row: Row) -> dict[str, Any]:
        item = self._text(row, "item")
        line = _filled(
            item_id=item, quantity=self._pieces(row), price_cents=self._cents(row, "price")
        )
        total = self._cents(row, "total") if "total" in self._fields else None
        fact = _filled(
            order_id=self._text(row, "order_id"),
            status=(self._text(row, "status") or "placed").lower(),
            lines=[line] if item else None,
            currency=self._text(row, "currency"),
            total_cents=total,
            coupon=self._text(row, "coupon"),
        )
        return {**_filled(time=self._time(row), userid=self._text(row, "userid")), "data": fact}

    def _shoppers(self, row: Row) -> dict[str, Any]:
        names = ("email", "name", "first_name", "last_name", "phone", "address")
        fact = _filled(
            user=self._text(row, "user"),
            identifiers=_filled(**{n: self._text(row, n) for n in names}),
            traits=self._rest(row) or None,
            consent=self._text(row, "consent"),
            locale=self._text(row, "locale"),
        )
        return {"data": fact}

    def _pieces(self, row: Row) -> int | None:
        quantity = self._number(row, "quantity")
        if quantity is not None and quantity < 0:
            raise Invalid(
                f"{quantity:g} is no quantity; what came back is an order with the status returned",
                field=self._fields["quantity"],
            )
        return None if quantity is None else max(1, round(quantity))

    def _rest(self, row: Row) -> dict[str, str]:
        return {
            c: str(v) for c, v in row.items() if v is not None and c not in self._others and v != ""
        }


def moment(text: str, column: str) -> str:
    """Return a time as RFC 3339 in UTC; numbers are seconds, milli- or microseconds since 1970.

    Raises
    ------
    Invalid
        Neither a number nor ISO 8601.
    """
    try:
        return _of_number(float(text)).isoformat()
    except (ValueError, OverflowError, OSError):
        pass
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"{text!r} is no time; use 2026-05-04T12:00:00Z", field=column) from None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).isoformat()


def _of_number(number: float) -> datetime:
    if not 1e8 <= number < 1e20:
        raise ValueError
    while number > 1e11:
        number /= 1000
    return datetime.fromtimestamp(number, UTC)


def _likely(fields: Mapping[str, str]) -> str:
    if "rating" in fields:
        return "rate_item"
    bought = {"quantity", "price", "price_cents", "value", "order_id"}
    if bought & fields.keys():
        return "purchase"
    return "search" if "query" in fields and "item" not in fields else "view_item"


def _path(text: str | None) -> list[str] | None:
    if text is None:
        return None
    for mark in _PATH_MARKS:
        if mark in text:
            return [part.strip() for part in text.split(mark) if part.strip()]
    return [text]


def _filled(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}

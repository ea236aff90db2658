from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommender.core.keep import Kept, kept_of
from shared.contracts.envelope import Envelope, utc
from shared.contracts.events import Behaviour, Line, Order, Touched
from shared.contracts.topics import BEHAVIOUR, ORDERS, wrap

LATEST_S = 1e9


def did(action: Any, *items: str, at: float = 10.0, **fields: Any) -> Envelope[Behaviour]:
    attributes = {"userid": "ann", "consent": fields.pop("consent", None)}
    event = Behaviour(action=action, items=tuple(map(Touched, items)), **fields)
    return wrap(BEHAVIOUR, event, id=f"{action}{at}", source="t", time=utc(at), **attributes)


def ordered(status: Any, *items: str, at: float = 10.0) -> Envelope[Order]:
    event = Order(order_id="o|1", status=status, lines=tuple(map(Line, items)))
    return wrap(ORDERS, event, id=f"{status}{at}", source="t", time=utc(at), userid="ann")


TABLE = [
    (did("view_item", "a"), {"va": 10.0}, {}, {}),
    (did("add_to_cart", "a", "b"), {"ca": 10.0, "cb": 10.0}, {"ca": 10.0, "cb": 10.0}, {}),
    (did("rate_item", "a", "b", rating=4.6), {"5a": 10.0}, {}, {}),
    (did("hide_item", "a"), {"ha": 10.0}, {"ha": 10.0}, {}),
    (
        did("purchase", "a", order_id="o"),
        {"pa": 10.0},
        {"pa": 10.0},
        {"+o|a": 10.0},
    ),
    (ordered("placed", "a"), {"pa": 10.0}, {"pa": 10.0}, {"+o%7C1|a": 10.0}),
    (ordered("returned", "a"), {}, {}, {"-o%7C1|a": 10.0}),
    (ordered("cancelled"), {}, {}, {"-o%7C1|": 10.0}),
    (ordered("shipped", "a"), {}, {}, {"+o%7C1|a": 10.0}),
    (ordered("delivered", "a"), {}, {}, {"+o%7C1|a": 10.0}),
    (did("page_view"), {}, {}, {}),
    (did("view_item", "a", bot=0.9), {}, {}, {}),
    (did("view_item", "a", consent="analytics"), {}, {}, {}),
    (did("view_item", "a", at=2e9), {"va": LATEST_S}, {}, {}),
]


@pytest.mark.parametrize(("envelope", "history", "marks", "bought"), TABLE)
def test_what_is_kept_of_an_event(
    envelope: Envelope[Any], history: dict[str, float], marks: Any, bought: Any
) -> None:
    """A shopper's deed would be forgotten, or something else be made of it."""
    kept = kept_of([envelope], LATEST_S)
    for found, expected in ((kept.history, history), (kept.marks, marks), (kept.bought, bought)):
        assert dict(found) == ({"ann": expected} if expected else {})


@given(st.permutations([envelope for envelope, *_ in TABLE]), st.integers(0, len(TABLE)))
def test_order_and_repetition_change_nothing(events: list[Envelope[Any]], again: int) -> None:
    """A replay after a crash would change what a shopper is shown."""
    once, twice = kept_of(events, LATEST_S), kept_of([*events, *events[:again]], LATEST_S)
    split = kept_of(events[:again], LATEST_S)
    rest = kept_of(events[again:], LATEST_S)
    assert once == twice == kept_of(sorted(events, key=lambda e: e.id), LATEST_S)
    assert once.history["ann"] == _newest(split, rest)


def _newest(first: Kept, second: Kept) -> dict[str, float]:
    parts = [kept.history.get("ann", {}) for kept in (first, second)]
    return {m: max(p.get(m, -1.0) for p in parts) for p0 in parts for m in p0}

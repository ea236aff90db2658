"""Tables to bytes that the collector takes."""

import json
from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.events import Order, Product
from shared.tools.demo import bodies
from shared.tools.demo.bodies import BATCH, BATCH_BYTES, batches, shift_of


def test_a_basket_is_a_placed_order() -> None:
    """The collector would refuse the year, or lines would end in another's basket."""
    at = datetime(2017, 1, 5, 10, 30, tzinfo=UTC).replace(tzinfo=None)
    lines = pl.DataFrame(
        {
            "household": [7, 7, 8],
            "basket": [10, 10, 11],
            "item": ["a", "b", "a"],
            "quantity": [2, 1, 1],
            "price_cents": [150, 99, 140],
            "at": [at, at, at + timedelta(hours=1)],
        }
    )
    (body,) = bodies.orders(lines, timedelta(days=365))
    first, second = json.loads(body.content)
    assert body.events == 2
    assert (first["id"], first["userid"]) == ("grocer-basket-10", "household-7")
    assert first["time"] == "2018-01-05T10:30:00Z"
    order = msgspec.convert(first["data"], Order)
    assert [(line.item_id, line.quantity, line.price_cents) for line in order.lines] == [
        ("a", 2, 150),
        ("b", 1, 99),
    ]
    assert (order.order_id, order.status, order.total_cents) == ("10", "placed", 399)
    assert second["time"] == "2018-01-05T11:30:00Z"


def test_a_product_is_a_product() -> None:
    """The catalogue would stay empty, and nothing could be recommended."""
    products = pl.DataFrame(
        {
            "item": ["a"],
            "title": ["Plums, “red”, maker 2"],
            "category": [["Produce", "Plums"]],
            "brand": ["maker 2"],
            "price_cents": [90],
        }
    )
    (body,) = bodies.catalog(products)
    (event,) = json.loads(body.content)
    product = msgspec.convert(event["data"], Product)
    assert (product.id, product.title) == ("a", "Plums, “red”, maker 2")
    assert (product.category, product.price_cents, product.currency) == (
        ("Produce", "Plums"),
        90,
        "USD",
    )


def test_the_year_ends_when_it_should() -> None:
    """Half of the baskets would lie in the future, which the collector refuses."""
    last = datetime(2018, 1, 1, 4, 1, 20, tzinfo=UTC)
    ends = datetime(2026, 5, 4, 12, 0, 0, 700_000, tzinfo=UTC)
    moved = last + shift_of(last.replace(tzinfo=None), ends)
    assert moved == datetime(2026, 5, 4, 12, 0, 1, tzinfo=UTC)


@given(st.lists(st.integers(1, BATCH_BYTES + 10), max_size=12))
def test_nothing_is_lost_or_too_large(sizes: list[int]) -> None:
    """The collector would refuse a batch, and with it a thousand baskets."""
    events = [b"1" * size for size in sizes]
    made = list(batches(events))
    assert [e for body in made for e in body.content[1:-1].split(b",")] == events
    assert sum(body.events for body in made) == len(events)
    assert all(len(body.content) <= BATCH_BYTES or body.events == 1 for body in made)


def test_a_batch_has_at_most_a_thousand_events() -> None:
    """The collector takes no more at once."""
    assert [body.events for body in batches([b"1"] * (2 * BATCH + 1))] == [BATCH, BATCH, 1]

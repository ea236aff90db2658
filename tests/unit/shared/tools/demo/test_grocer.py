"""The grocer's year, on a source small enough to be read by eye."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from shared.tools.demo.grocer import Year, best_sellers, titles_of, wanted

MILK, KETCHUP, PETROL, PLUMS = 1, 2, 3, 4


def at(month: int, day: int) -> datetime:
    """Return a moment by the source's clock, which tells no offset."""
    return datetime(2017, month, day, tzinfo=UTC).replace(tzinfo=None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four households; the year ends with household 4 on the last of December."""
    pl.DataFrame(
        {
            "product_id": [MILK, KETCHUP, PETROL, PLUMS],
            "manufacturer_id": [69, 317, 5, 2],
            "department": ["GROCERY", "GROCERY", "FUEL", "PRODUCE"],
            "brand": ["Private", "National", "National", "National"],
            "product_category": ["MILK", None, "FUEL", "STONE FRUIT"],
            "product_type": ["FLUID  MILK/WHITE", "KETCHUP", "GASOLINE", "PLUMS"],
            "package_size": ["1 GA", None, None, "5 LB"],
        }
    ).write_parquet(tmp_path / "products.parquet")
    rows = [
        (1, 10, MILK, 2, 3.0, at(1, 5)),
        (1, 10, PETROL, 9000, 20.0, at(1, 5)),
        (1, 11, MILK, 1, 1.5, at(12, 30)),
        (2, 20, MILK, 1, 1.7, at(2, 1)),
        (2, 20, PLUMS, 1, 0.8, at(2, 1)),
        (2, 21, PLUMS, 1, 0.9, at(12, 20)),
        (2, 22, PLUMS, 1, 0.9, at(12, 28)),
        (2, 22, KETCHUP, 1, 2.0, at(12, 28)),
        (2, 22, MILK, 0, 0.0, at(12, 28)),
        (2, 22, MILK, 3, 4.5, at(12, 28)),
        (4, 40, KETCHUP, 1, 2.0, at(12, 31)),
    ]
    names = ["household_id", "basket_id", "product_id", "quantity", "sales_value"]
    schema = [*names, "transaction_timestamp"]
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(tmp_path / "transactions.parquet")
    return tmp_path


def test_titles_are_made_of_what_the_source_says(source: Path) -> None:
    """A made-up product would be taken for a real one; a slash would cut a category's path."""
    year = Year.read(source, households=None, seed=1)
    assert year.products.rows(named=True) == [
        {
            "item": "1",
            "title": "Fluid Milk & White, 1 ga, own brand",
            "category": ["Grocery", "Milk", "Fluid Milk & White"],
            "brand": "own brand",
            "price_cents": 150,
        },
        {
            "item": "2",
            "title": "Ketchup, maker 317",
            "category": ["Grocery", "Ketchup"],
            "brand": "maker 317",
            "price_cents": 200,
        },
        {
            "item": "4",
            "title": "Plums, 5 lb, maker 2",
            "category": ["Produce", "Stone Fruit", "Plums"],
            "brand": "maker 2",
            "price_cents": 90,
        },
    ]
    assert titles_of(year.products, ["4", "99"]) == ["Plums, 5 lb, maker 2", "99"]


def test_petrol_and_lines_without_a_piece_are_no_goods(source: Path) -> None:
    """A litre of petrol would be the best seller, and a price would be divided by zero."""
    lines = Year.read(source, households=None, seed=1).lines
    assert str(PETROL) not in lines["item"].to_list()
    assert lines["quantity"].min() == 1
    assert lines.filter(basket=22, item="1")["price_cents"].to_list() == [150]


def test_the_future_is_two_weeks_of_every_other_household(source: Path) -> None:
    """Simulated shoppers would want what the models have seen, or households would be lost whole."""
    year = Year.read(source, households=None, seed=1)
    past, future = year.split()
    assert sorted(set(future["basket"])) == [21, 22, 40]
    assert past.height + future.height == year.lines.height
    assert set(past["household"]) == {1, 2}
    assert wanted(past, future) == {2: ("4", "1", "2")}


def test_a_smaller_draw_is_part_of_a_larger_one(source: Path) -> None:
    """A second run with more households would hold out what the first had sent."""
    drawn = [
        set(Year.read(source, households=count, seed=5).lines["household"])
        for count in (1, 2, 3, None)
    ]
    assert [len(households) for households in drawn] == [1, 2, 3, 3]
    assert drawn[0] < drawn[1] < drawn[2]
    ends = {Year.read(source, households=count, seed=5).ends for count in (1, 2, 3)}
    assert ends == {at(12, 31)}


def test_best_sellers_count_households_not_lines(source: Path) -> None:
    """One household's stock of plums would make them everybody's favourite."""
    year = Year.read(source, households=None, seed=1)
    assert best_sellers(year.lines, year.products, "Grocery") == ["1", "2"]
    assert best_sellers(year.lines, year.products, "Produce") == ["4"]

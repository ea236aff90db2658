"""From the lake's tables to what a model learns from: whose events count, and how much."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from services.trainer.history import Lake
from shared.contracts.consent import Purpose
from shared.contracts.errors import Invalid
from shared.learning.features.interactions import Interactions
from shared.learning.features.weights import BY_ACTION
from shared.learning.models.ids import IdIndex

BOT = 0.5
MAX_SAMPLING_WEIGHT = 10.0
"""A kept event may stand for at most so many that the collector had to shed."""
MAX_EVENTS_A_PERSON = 500
DAY_MS = 86_400_000
AHEAD_MS = 3_600_000
"""An event that lies further in the future has a broken clock behind it."""

_BOUGHT = ("placed", "paid", "shipped", "delivered")
_UNDONE = ("cancelled", "returned")


@dataclass(frozen=True)
class Dataset:
    """Weighted events in dense numbers.

    Parameters
    ----------
    events : Interactions
        In no order; `time_s` in seconds since 1970.
    items, users : IdIndex
        What the numbers stand for; users are pseudonyms or anonymous ids.
    counts : mapping
        How many events were looked at, and left out for which reason.
    purchases : Interactions
        Those of `events` that were purchases.
    """

    events: Interactions
    items: IdIndex
    users: IdIndex
    counts: dict[str, int]
    purchases: Interactions

    @property
    def window_s(self) -> tuple[float, float]:
        """Time of the oldest and of the newest event."""
        times = self.events.time_s
        return float(times.min()), float(times.max())


def learnable(
    lake: Lake, *, now_ms: int, purposes: Sequence[Purpose] = ("analytics",)
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the events that may be learnt from: person, item, action, time_ms, rating, weight.

    Left out are bots, events without consent to `purposes`, people who took that consent back,
    do not want to be personalised or were erased, products that are gone, purchases that were
    undone, and clocks far ahead. Anonymous events count for the user that they turned out to
    be. One person's same action on one item counts once a day, and only their newest 500 do.
    """
    both = pl.concat([_behaviour(lake), _purchases(lake)], how="diagonal_relaxed")
    events = _stitched(both, lake).collect()
    counts = {"looked_at": events.height}
    for reason, kept in (
        ("nobody", pl.col("person").is_not_null()),
        ("bot", pl.col("bot").fill_null(0.0) < BOT),
        ("no_consent", _consents(pl.col("consent"), purposes)),
        ("clock_ahead", pl.col("time_ms") <= now_ms + AHEAD_MS),
    ):
        events, counts[reason] = _filtered(events, kept)
    for reason, others in (
        ("opted_out", _opted_out(lake, purposes)),
        ("product_gone", _gone(events, lake)),
    ):
        on = "person" if reason == "opted_out" else "item"
        events, counts[reason] = _without(events, others, on)
    events, counts["erased"] = _not_erased(events, lake)
    kept_events = _capped(events)
    counts["repeats"] = events.height - kept_events.height
    return kept_events, counts


def dataset(lake: Lake, *, now_ms: int) -> Dataset:
    """Return implicit feedback: what people did, weighted by what it says.

    The weight of an event is that of its action, plus -2 to 2 for a rating, times the sampling
    weight of the collector.

    Raises
    ------
    Invalid
        There is nothing to learn from, with the reason.
    """
    events, counts = learnable(lake, now_ms=now_ms)
    liked = (pl.col("rating") - 3.0).fill_null(0.0)
    of_action = pl.col("action").replace_strict(
        dict(BY_ACTION), default=0.0, return_dtype=pl.Float64
    )
    sampling = pl.col("weight").fill_null(1.0).clip(upper_bound=MAX_SAMPLING_WEIGHT)
    weighted = events.with_columns(weight=(of_action + liked) * sampling).filter(
        pl.col("weight") != 0
    )
    _check_enough(weighted, lake, counts)
    return _numbered(weighted, counts)


def ratings(lake: Lake, *, now_ms: int) -> Dataset:
    """Return explicit feedback: each person's newest rating of each item, 1 to 5, as weight.

    The model keeps what it learns of each person, so that consent to personalisation is needed
    beside that to analytics.

    Raises
    ------
    Invalid
        There is nothing to learn from, with the reason.
    """
    purposes: tuple[Purpose, ...] = ("analytics", "personalisation")
    events, counts = learnable(lake, now_ms=now_ms, purposes=purposes)
    rated = (
        events.filter(pl.col("rating").is_not_null())
        .sort("time_ms", maintain_order=True)
        .filter(pl.struct("person", "item").is_last_distinct())
        .with_columns(weight="rating")
    )
    if rated.is_empty():
        raise Invalid(
            "no ratings that may be learnt from: send rate_item events with a rating from 1 to 5, "
            f"about products of the catalogue (left out: {_left_out(counts)})"
        )
    return _numbered(rated, counts)


def _behaviour(lake: Lake) -> pl.LazyFrame:
    orders = lake.scan("orders").select(pl.col("order_id").unique().drop_nulls())
    return (
        lake.scan("behaviour")
        .filter(pl.col("item").is_not_null(), pl.col("action").is_in([*BY_ACTION, "rate_item"]))
        .select(
            "user", "anon", "item", "action", "time_ms", "rating", "weight", "bot", "consent",
            # A purchase that the shop also sent as an order counts once.
            order_id=pl.when(pl.col("action") == "purchase").then(pl.col("order_id")),
        )
        .join(orders, on="order_id", how="anti", maintain_order="left")
        .drop("order_id")
    )  # fmt: skip


def _purchases(lake: Lake) -> pl.LazyFrame:
    orders = lake.scan("orders")
    undone = orders.filter(pl.col("status").is_in(_UNDONE))
    whole = undone.filter(pl.col("item").is_null()).select("order_id").unique()
    lines = undone.filter(pl.col("item").is_not_null()).select("order_id", "item").unique()
    return (
        orders.filter(pl.col("status").is_in(_BOUGHT), pl.col("item").is_not_null())
        .join(whole, on="order_id", how="anti", maintain_order="left")
        .join(lines, on=["order_id", "item"], how="anti", maintain_order="left")
        .sort("time_ms", maintain_order=True)
        .filter(pl.struct("order_id", "item").is_first_distinct())
        .select("user", "anon", "item", "time_ms", "consent", action=pl.lit("purchase"))
    )


def _stitched(events: pl.LazyFrame, lake: Lake) -> pl.LazyFrame:
    known = lake.scan("identities").filter(pl.col("known_as").is_not_null())
    return (
        events.join(
            known.select(anon="visitor", known_as="known_as"),
            on="anon",
            how="left",
            maintain_order="left",
        )
        .with_columns(person=pl.coalesce("user", "known_as", "anon"))
        .drop("user", "known_as")
    )


def _consents(consent: pl.Expr, purposes: Sequence[Purpose]) -> pl.Expr:
    """Say the same as `shared.contracts.consent.allows`, for a column and all of `purposes`."""
    granted = consent.str.split(" ")
    return consent.is_null() | pl.all_horizontal(granted.list.contains(p) for p in purposes)


def _filtered(events: pl.DataFrame, kept: pl.Expr) -> tuple[pl.DataFrame, int]:
    remaining = events.filter(kept)
    return remaining, events.height - remaining.height


def _without(events: pl.DataFrame, others: pl.Series, on: str) -> tuple[pl.DataFrame, int]:
    return _filtered(events, ~pl.col(on).is_in(others.implode()))


def _opted_out(lake: Lake, purposes: Sequence[Purpose]) -> pl.Series:
    """Return people whose latest word is that they are not to be learnt from."""
    shoppers = lake.scan("shoppers").filter(pl.col("shopper").is_not_null())
    refusing = ~pl.col("personalised") | ~_consents(pl.col("granted"), purposes)
    return shoppers.filter(refusing).select("shopper").collect().to_series()


def _gone(events: pl.DataFrame, lake: Lake) -> pl.Series:
    """Return the items of the events that are not in the catalogue."""
    catalog = lake.scan("catalog").filter(pl.col("event_id").is_not_null()).select("key").collect()
    return events.select(pl.col("item").unique()).join(
        catalog.rename({"key": "item"}), on="item", how="anti"
    ).to_series()  # fmt: skip


def _not_erased(events: pl.DataFrame, lake: Lake) -> tuple[pl.DataFrame, int]:
    """Leave out what an erased person did before they were erased."""
    requests = lake.scan("erasures").filter(
        pl.col("service").is_null(), pl.col("forgotten").is_not_null()
    )
    erased = (
        requests.select(erased_ms="time_ms", person=pl.concat_list("forgotten", "anonids"))
        .explode("person")
        .group_by("person")
        .agg(pl.col("erased_ms").max())
        .collect()
    )
    if erased.is_empty():
        return events, 0
    joined = events.join(erased, on="person", how="left", maintain_order="left")
    kept = pl.col("erased_ms").is_null() | (pl.col("time_ms") > pl.col("erased_ms"))
    remaining, gone = _filtered(joined, kept)
    return remaining.drop("erased_ms"), gone


def _capped(events: pl.DataFrame) -> pl.DataFrame:
    """Keep a person's newest events; of those at one moment, the last ones in the log.

    The order is kept from the log on, or every training would learn from other lines of a basket.
    """
    day = (pl.col("time_ms") // DAY_MS).alias("day")
    return (
        events.sort("time_ms", maintain_order=True)
        .filter(pl.struct("person", "item", "action", day).is_last_distinct())
        .filter(pl.int_range(pl.len(), 0, -1).over("person") <= MAX_EVENTS_A_PERSON)
    )


def _check_enough(events: pl.DataFrame, lake: Lake, counts: dict[str, int]) -> None:
    if counts["looked_at"] == 0:
        raise Invalid("no events yet: send behaviour or orders to the collector first")
    if lake.scan("catalog").select(pl.len()).collect().item() == 0:
        raise Invalid("the catalogue is empty: send products to the collector first")
    if events.is_empty():
        raise Invalid(f"none of the events may be learnt from (left out: {_left_out(counts)})")
    for column, what in (("item", "item"), ("person", "shopper")):
        if events[column].n_unique() < 2:
            raise Invalid(f"all events are about one {what}; a model needs at least two")


def _left_out(counts: dict[str, int]) -> str:
    reasons = [f"{reason} {n}" for reason, n in counts.items() if n and reason != "looked_at"]
    return ", ".join(reasons) or "none"


def _numbered(events: pl.DataFrame, counts: dict[str, int]) -> Dataset:
    items, item = _index(events["item"])
    users, user = _index(events["person"])
    interactions = Interactions(
        user=user,
        item=item,
        time_s=events["time_ms"].to_numpy() / 1000.0,
        weight=events["weight"].to_numpy(),
        n_users=len(users),
        n_items=len(items),
    )
    bought = interactions.where((events["action"] == "purchase").to_numpy())
    return Dataset(interactions, items, users, {**counts, "used": events.height}, bought)


def _index(column: pl.Series) -> tuple[IdIndex, "np.ndarray[tuple[int], np.dtype[np.int32]]"]:
    ids = column.unique().sort().to_frame("id").with_row_index("number")
    numbers = column.to_frame("id").join(ids, on="id", how="left", maintain_order="left")
    return IdIndex(ids["id"].to_list()), numbers["number"].to_numpy().astype(np.int32)

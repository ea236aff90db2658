"""Who got a canary and who did not, and what happened to them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import polars as pl
from msgspec.structs import replace

from services.trainer.core.canary import Counts
from services.trainer.feedback import Windows, requests
from services.trainer.history import Lake
from shared.runtime.releases.pointer import gets_canary

MEASURES: Mapping[str, Counts] = MappingProxyType(
    {
        "clicked": Counts(name="clicked", decides=True),
        "bought": Counts(name="bought"),
        "empty": Counts(name="met an empty list", better="fewer"),
        "fallback": Counts(name="met a list without the release's models", better="fewer"),
    }
)
"""What is counted of each shopper, and which way is good."""


class Sides(NamedTuple):
    """A canary, the share of shoppers in per cent who get it, and the release in service."""

    canary: str
    percent: int
    current: str


class Cohorts(NamedTuple):
    """How many `lists` of the canary were shown, to how many `shoppers`, and all measures."""

    lists: int
    shoppers: int
    counts: tuple[Counts, ...]


def cohorts(lake: Lake, sides: Sides, *, since_s: float, windows: Windows) -> Cohorts:
    """Return what happened since then to shoppers who were shown one of the two releases.

    A shopper belongs to the side that chance gave them, whichever release answered: while a
    replica has not loaded the canary yet, its shoppers get the other. Requests for nobody (no user,
    no anonymous id) are never the canary's and do not count.
    """
    rows = requests(lake, windows, since_ms=int(since_s * 1000)).filter(
        pl.col("release").is_in([sides.canary, sides.current]), pl.col("person").is_not_null()
    )
    people = rows.group_by("person").agg(
        clicked=(pl.col("clicks") > 0).any(),
        bought=(pl.col("purchases") > 0).any(),
        empty=(pl.col("shown") == 0).any(),
        fallback=(pl.col("rung") != "current").any(),
        lists=(pl.col("release") == sides.canary).sum(),
    )
    chosen = [gets_canary(sides.canary, one, sides.percent) for one in people["person"]]
    groups = people.with_columns(chosen=pl.Series(chosen, dtype=pl.Boolean))
    return Cohorts(
        lists=int(people["lists"].sum()),
        shoppers=int((people["lists"] > 0).sum()),
        counts=tuple(_counts(groups, column, measure) for column, measure in MEASURES.items()),
    )


def _counts(groups: pl.DataFrame, column: str, measure: Counts) -> Counts:
    happened = groups.filter(pl.col(column))
    canary = int(happened["chosen"].sum())
    return replace(measure, canary=canary, others=happened.height - canary)

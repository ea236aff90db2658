"""The grocer's year into the collector, and until it has taken effect."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import polars as pl

from shared.contracts.errors import Retryable
from shared.runtime.bus import groups
from shared.tools.demo import bodies
from shared.tools.demo.doors import Doors, wait_for
from shared.tools.demo.steps import Steps
from shared.tools.local.services import manifest

READER = "recommender"
BEHIND_S = 120.0


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent; `seconds` is the time of the orders alone."""

    products: int = 0
    orders: int = 0
    lines: int = 0
    duplicates: int = 0
    seconds: float = 0.0
    known: bool = False

    @property
    def rate(self) -> float:
        """Events a second: products and orders."""
        return (self.products + self.orders) / self.seconds if self.seconds else 0.0


def load(
    doors: Doors, steps: Steps, products: pl.DataFrame, lines: pl.DataFrame, shift: timedelta
) -> Loaded:
    """Send the catalogue and then the baskets."""
    words = steps.words
    began = time.perf_counter()
    with steps.step("catalog") as step:
        step.of(products.height)
        put = doors.send_all("/v1/catalog", bodies.catalog(products), step.advance)
        known = words("duplicates", n=put.duplicates) if put.duplicates else ""
        step.done(words("catalog.done", n=products.height) + known)
    with steps.step("orders") as step:
        made = bodies.orders(lines, shift)
        orders = sum(body.events for body in made)
        step.of(orders)
        placed = doors.send_all("/v1/orders", made, step.advance)
        known = words("duplicates", n=placed.duplicates) if placed.duplicates else ""
        step.done(words("orders.done", n=orders, lines=lines.height) + known)
    return Loaded(
        products=products.height,
        orders=orders,
        lines=lines.height,
        duplicates=put.duplicates + placed.duplicates,
        seconds=time.perf_counter() - began,
    )


def behind(kafka: str) -> int:
    """Return how many records the recommender's worker has not handled yet."""
    reads: list[Any] = [topic.name for topic in manifest(READER).reads]
    return sum(lag.records for lag in groups.lag(kafka, {READER: reads}, now=time.time()))


def caught_up(kafka: str, too_late: Callable[[int], str]) -> None:
    """Wait until the recommender's worker has handled everything.

    Raises
    ------
    Retryable
        It is not there after two minutes; `too_late` makes the text of how many are left.
    """
    left = [behind(kafka)]

    def none_left() -> bool:
        left[0] = behind(kafka)
        return left[0] == 0

    if not wait_for(none_left, timeout_s=BEHIND_S, every_s=0.3):
        raise Retryable(too_late(left[0]))

"""One run: a shop that publishes, a fault a seed, and the count at the end."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import Struct

from shared.runtime import keys
from shared.tools.chaos import audit
from shared.tools.chaos.faults import Fault, draw, strike
from shared.tools.chaos.shop import Shop
from shared.tools.local.stack import Stack

SERVICES = ("collector", "trainer", "recommender")
SETTLE_S = 180.0
"""The bound on catching up after the last fault."""
_EVERY_S = 2.0

Tell = Callable[[int, Fault, float], None]


class Verdict(Struct, frozen=True, kw_only=True):
    """What became of the acknowledged events.

    `lost` are not in the log; `doubled` are in it more than once, or counted more than once in the
    item activity; `missing_effects` are not counted there. All three must be 0.
    """

    seeds: int
    faults: dict[str, int]
    acknowledged: int
    sent_again: int
    lost: int
    doubled: int
    missing_effects: int
    caught_up_s: float

    @property
    def kept(self) -> bool:
        """Whether the collector's promise was kept."""
        return self.lost == self.doubled == self.missing_effects == 0


def run(
    home: Path, seeds: Iterable[int], *, tell: Tell = lambda seed, fault, took_s: None
) -> Verdict:
    """Kill one program a seed while a shop publishes, then hold the log against what was acknowledged.

    Parameters
    ----------
    home : Path
        An empty folder for the stack's data and logs.
    seeds : iterable of int
        Each draws a victim, a moment and an outage.
    tell : callable
        Gets the seed, the fault and the seconds until all was ready again.
    """
    counts: dict[str, int] = {}
    with Stack(home=home, services=SERVICES, random_ports=True, keep_alive=True) as stack:
        key = next(k.key for k in keys.load(home / "keys.json").api_keys if k.name == "owner")
        number = time.time_ns() % 2**62
        shop = Shop(stack.url("collector"), key or "", run=number)
        victims = stack.programs()
        shop.open()
        for seed in seeds:
            fault = draw(seed, victims)
            began = time.monotonic()
            strike(stack, fault)
            counts[fault.victim] = counts.get(fault.victim, 0) + 1
            tell(seed, fault, time.monotonic() - began)
        shop.close()
        return _judge(stack, shop, f"chaos-{number}-", counts)


def _judge(stack: Stack, shop: Shop, prefix: str, faults: dict[str, int]) -> Verdict:
    began = time.monotonic()
    expected = {item: float(n) for item, n in shop.views.items()}
    while True:
        found = audit.behaviour_ids(stack.kafka, shop.acknowledged)
        views = audit.item_views(stack.kafka, prefix)
        settled = len(found) == len(shop.acknowledged) and views == expected
        waited = time.monotonic() - began
        if settled or waited > SETTLE_S:
            break
        time.sleep(_EVERY_S)
    over = sum(max(0.0, views.get(i, 0.0) - n) for i, n in expected.items())
    under = sum(max(0.0, n - views.get(i, 0.0)) for i, n in expected.items())
    return Verdict(
        seeds=sum(faults.values()),
        faults=faults,
        acknowledged=len(shop.acknowledged),
        sent_again=shop.repeated,
        lost=len(shop.acknowledged) - len(found),
        doubled=sum(n - 1 for n in found.values()) + round(over),
        missing_effects=round(under),
        caught_up_s=round(waited, 1),
    )

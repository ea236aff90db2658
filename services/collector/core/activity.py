"""Behaviour folded into counts of each item: the last hour, day and week, and how unusual they are.

Each window is cut into twelve slots; it covers the running slot and the eleven before it. What
leaves a window is summed with exponential decay, and that longer past gives the rate that is
expected now. Growth is the z-score of the window's count if events came as a Poisson process at
that rate: ``(count - expected) / sqrt(max(expected, 1))``.
"""

import math
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

from msgspec import Struct

from services.collector.core.keyed import Advanced, Offsets
from shared.contracts.envelope import Envelope, utc
from shared.contracts.events import ItemActivity
from shared.contracts.events.sessions import WINDOW_S
from shared.contracts.topics import ITEM_ACTIVITY, wrap

SOURCE = "shoploop/collector/stream"
_IDS = UUID("c1b0b7b2-4f8e-5d0c-8a55-7e0f6f1f2b11")

SLOTS: Final = 12
SLOT_MS: tuple[int, ...] = tuple(seconds * 1000 // SLOTS for seconds in WINDOW_S.values())
DECAY: Final = 0.5 ** (1 / (24 * SLOTS))
"""A slot: the past of a window halves in 24 windows, so that for the hour it spans the time of day."""
ENOUGH: Final = 2.0 * SLOTS
"""Slots of past, after decay, below which nothing can be called unusual."""

KINDS = {"view_item": 0, "add_to_cart": 1, "purchase": 2}
"""Which of an item's three counts an action raises."""

Counts = tuple[float, float, float]
"""Views, carts, buys."""


class Touch(Struct, frozen=True, array_like=True, tag=True):
    """One action about one item; `weight` undoes the collector's sampling."""

    item: str
    offset: int
    at_ms: int
    kind: int
    weight: float = 1.0

    @property
    def key(self) -> str:
        """The item."""
        return self.item


class Series(Struct, array_like=True):
    """One window: counts by slot number, and the decayed sum of all slots before `newest - 11`."""

    newest: int
    slots: dict[int, Counts] = {}
    past: float = 0.0


class Item(Struct, array_like=True):
    """What is kept of an item; `told_ms` is when its counts were last published."""

    applied: Offsets
    first_ms: int
    last_ms: int
    series: list[Series]
    told_ms: int = 0
    changed: bool = False


@dataclass(frozen=True)
class Activity:
    """The fold from touches to item activity.

    Parameters
    ----------
    every_ms : int
        A changing item is published at most this often.
    keep_ms : int
        An item without events for so long is dropped, and its record with it.
    limit : int
        Items that one partition may hold.
    """

    every_ms: int = 10_000
    keep_ms: int = 28 * 86_400_000
    limit: int = 100_000
    state: type[Item] = Item

    def add(self, state: Item | None, item: Touch) -> Item:
        """Return the item after one more event."""
        known = state or _first(item)
        known.first_ms = min(known.first_ms, item.at_ms)
        known.last_ms = max(known.last_ms, item.at_ms)
        known.changed = True
        for series, slot_ms in zip(known.series, SLOT_MS, strict=True):
            _count(series, item.at_ms // slot_ms, item)
        return known

    def due_ms(self, state: Item) -> int:
        """Return when to publish next, or when to drop the item."""
        if state.changed:
            return state.told_ms + self.every_ms
        expiries = [
            (min(series.slots) + SLOTS) * slot_ms
            for series, slot_ms in zip(state.series, SLOT_MS, strict=True)
            if series.slots
        ]
        return min(expiries, default=state.last_ms + self.keep_ms)

    def advance(
        self, key: str, state: Item, now_ms: int, *, leave: bool
    ) -> Advanced[Item, Envelope[ItemActivity] | str]:
        """Return the item at `now_ms` and its activity, or its bare id when it is dropped."""
        if leave or now_ms >= state.last_ms + self.keep_ms:
            return Advanced(state, [key], gone=True)
        for series, slot_ms in zip(state.series, SLOT_MS, strict=True):
            _move(series, now_ms // slot_ms)
        state.told_ms = now_ms
        state.changed = False
        return Advanced(state, [_told(key, state, now_ms)], gone=False)

    def concerns(self, key: str, state: Item, ids: frozenset[str]) -> bool:
        """Counts say nothing of people."""
        return False


def growth(count: float, past: float, exposure: float, slots: float) -> float:
    """Return the z-score of `count` in `slots` slots after a `past` count in `exposure` slots."""
    if exposure < ENOUGH:
        return 0.0
    expected = past / exposure * slots
    return (count - expected) / math.sqrt(max(expected, 1.0))


def _first(touch: Touch) -> Item:
    series = [Series(touch.at_ms // slot_ms) for slot_ms in SLOT_MS]
    return Item(applied={}, first_ms=touch.at_ms, last_ms=touch.at_ms, series=series)


def _count(series: Series, slot: int, touch: Touch) -> None:
    age = series.newest - slot
    if age >= SLOTS:
        series.past += touch.weight * DECAY ** (age - SLOTS)
        return
    counts = list(series.slots.get(slot, (0.0, 0.0, 0.0)))
    counts[touch.kind] += touch.weight
    series.slots[slot] = (counts[0], counts[1], counts[2])


def _move(series: Series, newest: int) -> None:
    passed = newest - series.newest
    if passed <= 0:
        return
    series.past *= DECAY**passed
    for slot in [s for s in series.slots if newest - s >= SLOTS]:
        series.past += sum(series.slots.pop(slot)) * DECAY ** (newest - slot - SLOTS)
    series.newest = newest


def _exposure(series: Series, first: int) -> float:
    slots = series.newest - SLOTS - first + 1
    return 0.0 if slots <= 0 else (1 - DECAY**slots) / (1 - DECAY)


def _told(key: str, state: Item, now_ms: int) -> Envelope[ItemActivity]:
    totals: list[Counts] = []
    grown: list[float] = []
    for series, slot_ms in zip(state.series, SLOT_MS, strict=True):
        total = _total(series)
        elapsed = SLOTS - 1 + (now_ms / slot_ms - series.newest)
        exposure = _exposure(series, state.first_ms // slot_ms)
        totals.append(total)
        grown.append(growth(sum(total), series.past, exposure, min(elapsed, SLOTS)))
    views, carts, buys = zip(*totals, strict=True)
    event = ItemActivity(
        item_id=key,
        ended=utc(now_ms / 1000),
        views=views,
        carts=carts,
        buys=buys,
        growth=(grown[0], grown[1], grown[2]),
    )
    ident = str(uuid5(_IDS, f"{now_ms}\n{key}"))
    return wrap(ITEM_ACTIVITY, event, id=ident, source=SOURCE, time=event.ended, subject=key)


def _total(series: Series) -> Counts:
    columns = list(zip(*series.slots.values(), strict=True)) or [(), (), ()]
    views, carts, buys = map(math.fsum, columns)
    return views, carts, buys

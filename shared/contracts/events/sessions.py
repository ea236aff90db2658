"""What the collector's stream derives from behaviour."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from shared.contracts.events.behaviour import Action
from shared.contracts.events.fields import Cents, Count, Id, Text


class Step(Struct, frozen=True, omit_defaults=True):
    """One action in a session; `at` is milliseconds since the session began."""

    event_id: Id
    at: Count
    action: Action
    items: tuple[Id, ...] = ()
    query: Text | None = None
    request_id: Id | None = None


class Session(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A closed session: 30 minutes passed without an action.

    `person` is the user where one was known by the end, the anonymous id otherwise. `dropped`
    counts steps beyond the 500 that are kept.
    """

    session_id: Id
    person: Id
    known: bool
    began: datetime
    ended: datetime
    steps: Annotated[tuple[Step, ...], Meta(max_length=500)]
    dropped: Count = 0
    value_cents: Cents = 0


Window = Literal["1h", "1d", "7d"]
WINDOW_S: dict[Window, int] = {"1h": 3600, "1d": 86_400, "7d": 604_800}


class ItemActivity(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Weighted counts of one item in the windows that end at `ended`.

    Each list is ordered 1 h, 1 d, 7 d. `growth` is the z-score of a window's activity against the
    rate that the longer past leads to expect (0 for too little past).
    """

    item_id: Id
    ended: datetime
    views: tuple[float, float, float]
    carts: tuple[float, float, float]
    buys: tuple[float, float, float]
    growth: tuple[float, float, float]

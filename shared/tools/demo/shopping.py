"""Simulated shoppers at the facades, one shopper's click, and what the trainer makes of it all."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import add, sub
from typing import Any

import msgspec
import numpy as np

from shared.tools.demo.bodies import CURRENCY, Body, user_of
from shared.tools.demo.doors import Doors, wait_for
from shared.tools.demo.shoppers import Share, Visit, visit
from shared.tools.demo.training import K

SCENARIO = "home"
POPULAR = "popular"
ARMS: Mapping[str, Mapping[str, str]] = {
    "again": {"scenario": "again"},
    "home": {"scenario": "home"},
    POPULAR: {"scenario": "home", "personalised": "false"},
}
"""The kinds of lists that are compared, and what is asked for to get them."""
ARM_OF: Mapping[tuple[str, bool], str] = {
    ("again", True): "again",
    ("again", False): "again",
    ("home", True): "home",
    ("home", False): POPULAR,
}
"""The arm of a row of the trainer's report, by its scenario and whether it was personalised."""
SHOPPERS_AT_ONCE = 3
CHANGED_WITHIN_S = 10.0
JOINED_WITHIN_S = 30.0
Wants = Mapping[int, Sequence[str]]


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of list brought, as the trainer counted it.

    `clicked` and `bought` count lists with at least one such item, `clicks` such items.
    """

    visits: int = 0
    clicked: int = 0
    bought: int = 0
    clicks: int = 0

    @property
    def click_through(self) -> Share:
        """The share of lists that were clicked."""
        return Share(self.clicked, self.visits)

    @property
    def conversion(self) -> Share:
        """The share of lists from which something was bought."""
        return Share(self.bought, self.visits)


COUNTED = Arm.__struct_fields__


class Click(msgspec.Struct, frozen=True, kw_only=True):
    """A newcomer's list before and after a click; `ms` from sending it to the changed answer.

    `ms` is None if the list stayed as it was. `because` says why `why` is in the new list.
    """

    user: str
    item: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    ms: float | None
    requests: int
    why: str | None = None
    because: str | None = None


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What the shoppers did: lists that they read, items that they clicked, orders."""

    lists: int
    clicks: int
    orders: int


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """What the trainer has joined of this run, by arm, and whether it is all that was sent."""

    arms: dict[str, Arm]
    complete: bool

    @property
    def lists(self) -> int:
        """The lists of all arms."""
        return sum(arm.visits for arm in self.arms.values())

    @property
    def clicks(self) -> int:
        """The clicked items of all arms."""
        return sum(arm.clicks for arm in self.arms.values())


def choose(wants: Wants, met: Sequence[int], count: int, *, seed: int) -> list[int]:
    """Draw the households that go shopping: first those that have not been in an earlier run."""
    rng = np.random.default_rng(seed)
    fresh = sorted(set(wants) - set(met))
    drawn = [int(h) for h in rng.permutation(fresh)[:count]]
    known = sorted(set(wants) & set(met))
    return drawn + [int(h) for h in rng.permutation(known)[: count - len(drawn)]]


def shop(
    doors: Doors,
    wants: Wants,
    households: Sequence[int],
    prices: Mapping[str, int],
    *,
    seed: int,
    told: Callable[[int], None],
) -> Sent:
    """Let the households go shopping, a few at a time, each with a list drawn from `ARMS`.

    The same seed draws the same.
    """
    names = tuple(ARMS)

    def go(household: int) -> Visit:
        rng = np.random.default_rng([seed, household])
        arm = names[int(rng.integers(len(names)))]
        user = user_of(household)
        page = doors.recommend(user, k=K, **ARMS[arm])
        shown = _items(page)
        seen = visit(shown, frozenset(wants[household]), rng)
        _publish(doors, user, page["request_id"], shown, seen, prices)
        return seen

    with ThreadPoolExecutor(SHOPPERS_AT_ONCE) as pool:
        visits = []
        try:
            for seen in pool.map(go, households):
                visits.append(seen)
                told(1)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Sent(
        lists=len(visits),
        clicks=sum(len(seen.clicked) for seen in visits),
        orders=sum(bool(seen.bought) for seen in visits),
    )


def click_once(doors: Doors, user: str, items: Sequence[str], lang: str) -> Click:
    """Let a newcomer look at the first of `items` that is not in their list."""
    before = _items(doors.recommend(user, scenario=SCENARIO, k=K))
    item = next((one for one in items if one not in before), items[0])
    event = {"userid": user, "data": {"action": "view_item", "items": [{"id": item}]}}
    began, requests = time.perf_counter(), 1
    page: dict[str, Any] = {}
    doors.send("/v1/events", Body(msgspec.json.encode([event]), 1))
    ms, after = None, before
    while ms is None and time.perf_counter() - began < CHANGED_WITHIN_S:
        page = doors.recommend(user, scenario=SCENARIO, k=K)
        requests, after = requests + 1, _items(page)
        # The last place may be an exploration, which differs without any event.
        if after[:-1] != before[:-1]:
            ms = (time.perf_counter() - began) * 1000
    click = Click(user=user, item=item, before=before, after=after, ms=ms, requests=requests)
    fresh = next((one for one in after if one not in before and one != item), None)
    if fresh is None:
        return click
    because = doors.because(page["request_id"], fresh, lang)
    return msgspec.structs.replace(click, why=fresh, because=because)


def joined(doors: Doors, version: str, earlier: Mapping[str, Arm], sent: Sent) -> Joined:
    """Wait until the trainer has joined all that was sent, beyond what it had `earlier`."""

    def now() -> Joined:
        arms = since(earlier, arms_of(doors.feedback(), version))
        found = Joined(arms=arms, complete=True)
        done = found.lists >= sent.lists and found.clicks >= sent.clicks
        return msgspec.structs.replace(found, complete=done)

    wait_for(lambda: now().complete, timeout_s=JOINED_WITHIN_S, every_s=0.3)
    return now()


def arms_of(rows: Sequence[Mapping[str, Any]], version: str) -> dict[str, Arm]:
    """Return what the trainer's report says of a release, by arm."""
    arms = {name: Arm() for name in ARMS}
    for row in rows:
        name = ARM_OF.get((row["scenario"], row["personalised"]))
        if row["release"] == version and name is not None:
            more = (row[counted] for counted in ("requests", "clicked", "bought", "clicks"))
            arms[name] = _each(add, arms[name], Arm(**dict(zip(COUNTED, more, strict=True))))
    return arms


def since(earlier: Mapping[str, Arm], now: Mapping[str, Arm]) -> dict[str, Arm]:
    """Return what has come since the earlier counts were taken."""
    return {name: _each(sub, now[name], earlier[name]) for name in now}


def _each(do: Callable[[int, int], int], left: Arm, right: Arm) -> Arm:
    return Arm(**{name: do(getattr(left, name), getattr(right, name)) for name in COUNTED})


def _publish(
    doors: Doors,
    user: str,
    request_id: str,
    shown: Sequence[str],
    seen: Visit,
    prices: Mapping[str, int],
) -> None:
    """Tell the collector what the shopper saw, clicked and bought, under the list's request id."""

    def event(action: str, places: Sequence[int]) -> dict[str, Any]:
        items = [{"id": shown[place], "position": place} for place in places]
        return {
            "userid": user,
            "id": f"{request_id}-{action}-{places[0]}",
            "data": {"action": action, "items": items, "request_id": request_id},
        }

    if not shown:
        return
    events = [event("view_item_list", range(len(shown)))]
    events += [event("select_item", [place]) for place in seen.clicked]
    doors.send("/v1/events", Body(msgspec.json.encode(events), len(events)))
    if seen.bought:
        lines = [
            {"item_id": shown[place], "price_cents": prices.get(shown[place])}
            for place in seen.bought
        ]
        data = {
            "order_id": f"demo-{request_id}",
            "status": "placed",
            "lines": lines,
            "currency": CURRENCY,
            "request_id": request_id,
        }
        order = {"userid": user, "id": f"{request_id}-order", "data": data}
        doors.send("/v1/orders", Body(msgspec.json.encode([order]), 1))


def _items(page: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(item["item_id"] for item in page["items"])

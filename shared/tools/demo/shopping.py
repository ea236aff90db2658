"""Simulated shoppers at the facades, one shopper's click, and what the trainer makes of it all."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

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
SCENARIOS = frozenset(asked["scenario"] for asked in ARMS.values())
SHOPPERS_AT_ONCE = 3
CHANGED_WITHIN_S = 10.0
JOINED_WITHIN_S = 30.0
Wants = Mapping[int, Sequence[str]]


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of list brought: `clicked` and `bought` count lists with at least one."""

    visits: int
    clicked: int
    bought: int
    clicks: int

    @property
    def click_through(self) -> Share:
        """The share of lists that were clicked."""
        return Share(self.clicked, self.visits)

    @property
    def conversion(self) -> Share:
        """The share of lists from which something was bought."""
        return Share(self.bought, self.visits)


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


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """What the trainer has joined: lists and clicks of this run, and whether that is all of them.

    `rows` are its figures of the release in service, by scenario, with those of earlier runs.
    """

    requests: int
    clicks: int
    complete: bool
    rows: list[dict[str, Any]]


class Counts(NamedTuple):
    """Lists and clicks."""

    requests: int
    clicks: int


class _Seen(NamedTuple):
    arm: str
    visit: Visit


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
) -> dict[str, Arm]:
    """Let the households go shopping, a few at a time, each with a list drawn from `ARMS`.

    The same seed draws the same.
    """
    names = tuple(ARMS)

    def go(household: int) -> _Seen:
        rng = np.random.default_rng([seed, household])
        arm = names[int(rng.integers(len(names)))]
        user = user_of(household)
        page = doors.recommend(user, k=K, **ARMS[arm])
        shown = _items(page)
        seen = visit(shown, frozenset(wants[household]), rng)
        _publish(doors, user, page["request_id"], shown, seen, prices)
        return _Seen(arm, seen)

    with ThreadPoolExecutor(SHOPPERS_AT_ONCE) as pool:
        visits = []
        try:
            for seen in pool.map(go, households):
                visits.append(seen)
                told(1)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {arm: _arm([seen.visit for seen in visits if seen.arm == arm]) for arm in names}


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


def joined(doors: Doors, version: str, earlier: Counts, *, requests: int, clicks: int) -> Joined:
    """Wait until the trainer has joined so many lists and clicks beyond those of `earlier`."""
    rows: list[dict[str, Any]] = []

    def come() -> Counts:
        rows[:] = rows_of(doors, version)
        now = counts_of(rows)
        return Counts(now.requests - earlier.requests, now.clicks - earlier.clicks)

    def all_there() -> bool:
        now = come()
        return now.requests >= requests and now.clicks >= clicks

    complete = wait_for(all_there, timeout_s=JOINED_WITHIN_S, every_s=0.3)
    now = come()
    return Joined(requests=now.requests, clicks=now.clicks, complete=complete, rows=rows)


def rows_of(doors: Doors, version: str) -> list[dict[str, Any]]:
    """Return the trainer's figures of a release, one row for each scenario that is compared."""
    rows = doors.feedback()
    return [r for r in rows if r["release"] == version and r["scenario"] in SCENARIOS]


def counts_of(rows: Sequence[Mapping[str, Any]]) -> Counts:
    """Return the sums over scenarios."""
    return Counts(sum(row["requests"] for row in rows), sum(row["clicks"] for row in rows))


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


def _arm(visits: Sequence[Visit]) -> Arm:
    return Arm(
        visits=len(visits),
        clicked=sum(bool(one.clicked) for one in visits),
        bought=sum(bool(one.bought) for one in visits),
        clicks=sum(len(one.clicked) for one in visits),
    )


def _items(page: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(item["item_id"] for item in page["items"])

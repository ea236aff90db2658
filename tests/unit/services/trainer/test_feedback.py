"""What a list brought: joined by request id, within the windows, each thing once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.core.rates import mean, share
from services.trainer.feedback import Windows, online, report
from shared.contracts.events import Behaviour, Candidate, Decision, Line, Order, Touched
from shared.contracts.topics import BEHAVIOUR, DECISIONS, ORDERS
from tests.fixtures.lake import Writer

HOUR_S = 3600.0


class Shop(Writer):
    """A lake with decisions and what followed."""

    def showed(
        self, request: str, *items: str, release: str = "v1", at: float = 1000.0, **more: Any
    ) -> None:
        shown = tuple(Candidate(item, place, 1.0) for place, item in enumerate(items))
        decision = Decision(
            request_id=request, service="recommender", scenario="home", shown=shown,
            release=release, rung="current", **more,
        )  # fmt: skip
        self.put(DECISIONS, decision, at=at, userid="ann")

    def clicked(self, request: str, item: str, *, at: float = 1060.0, **more: Any) -> None:
        self.did("ann", item, "select_item", request_id=request, at=at, **more)

    def ordered(
        self, order: str, request: str, item: str, status: str = "placed", at: float = 2000.0
    ) -> None:
        lines = (Line(item, 2, 250, request),)
        event = Order(order_id=order, status=status, lines=lines)  # type: ignore[arg-type]
        self.put(ORDERS, event, at=at, userid="ann")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    for request in ("r1", "r2", "r3", "r4"):
        made.showed(request, "a", "b")
    return made


def only(shop: Shop) -> dict[str, Any]:
    (row,) = report(shop.lake)
    return row


def test_clicks_orders_and_revenue_join_their_request(shop: Shop) -> None:
    """The shop could not tell which release earns."""
    shop.clicked("r1", "a")
    shop.clicked("r1", "a", at=1070.0)
    shop.clicked("r2", "b")
    shop.ordered("o1", "r2", "b")
    row = only(shop)
    assert (row["requests"], row["shown"], row["clicks"], row["purchases"]) == (4, 8, 2, 1)
    assert (row["click_through"]["value"], row["conversion"]["value"]) == (0.5, 0.25)
    assert (row["revenue_cents"]["total"], row["revenue_cents"]["value"]) == (500, 125.0)


def test_what_was_not_shown_is_not_counted(shop: Shop) -> None:
    """A search result clicked later would be credited to the list."""
    shop.clicked("r1", "zzz")
    shop.clicked("unknown", "a")
    assert only(shop)["clicks"] == 0


def test_late_feedback_does_not_count(shop: Shop) -> None:
    """Every list would look good if one waits long enough."""
    shop.clicked("r1", "a", at=1000 + 31 * 60)
    shop.ordered("o1", "r1", "a", at=1000 + 25 * HOUR_S)
    row = only(shop)
    assert (row["clicks"], row["purchases"]) == (0, 0)
    (wider,) = report(shop.lake, Windows(click_minutes=60, purchase_hours=48))
    assert (wider["clicks"], wider["purchases"]) == (1, 1)


def test_bots_bring_nothing(shop: Shop) -> None:
    """A crawler that follows every link would be the best customer."""
    shop.clicked("r1", "a", bot=0.9)
    assert only(shop)["clicks"] == 0


def test_an_order_counts_once_and_not_when_it_was_returned(shop: Shop) -> None:
    """Revenue would be counted for each status, or for goods that came back."""
    shop.ordered("o1", "r1", "a")
    shop.ordered("o1", "r1", "a", "paid")
    bought = Behaviour(
        action="purchase", items=(Touched("a", 2, 250),), request_id="r1", order_id="o1"
    )
    shop.put(BEHAVIOUR, bought, at=2000.0, userid="ann")
    shop.ordered("o2", "r2", "b")
    shop.ordered("o2", "r2", "b", "returned")
    row = only(shop)
    assert (row["purchases"], row["revenue_cents"]["total"]) == (1, 500)


def test_releases_are_told_apart(shop: Shop) -> None:
    """A canary could not be compared with the release beside it."""
    shop.showed("c1", "a", release="v2")
    shop.clicked("c1", "a")
    assert {r["release"]: r["click_through"]["value"] for r in report(shop.lake)} == {
        "v1": 0.0, "v2": 1.0,
    }  # fmt: skip
    assert [row["requests"] for row in online(shop.lake, "v2")] == [1]


def test_lists_for_nobody_in_particular_are_told_apart(shop: Shop) -> None:
    """The clicks on bestsellers would be taken for the success of the model, or hide it."""
    shop.showed("n1", "a", personalised=False)
    shop.showed("n2", "a", personalised=False)
    shop.clicked("r1", "a")
    shop.clicked("n1", "a")
    found = {r["personalised"]: (r["requests"], r["clicked"]) for r in report(shop.lake)}
    assert found == {True: (4, 1), False: (2, 1)}


def test_an_empty_answer_is_a_request_without_anything_shown(shop: Shop) -> None:
    """A release that shows nothing to most people would have the best click-through of all."""
    shop.showed("empty")
    row = only(shop)
    assert (row["requests"], row["empty"], row["shown"]) == (5, 1, 8)
    assert row["click_through"]["value"] == 0.0


def test_without_any_event_the_rates_say_what_can_be_known(shop: Shop) -> None:
    """Four lists without a click would be reported as a certainty of no clicks and no revenue."""
    row = only(shop)
    # By hand: Wilson's upper bound for 0 of 4 is z² / (4 + z²) = 3.8415 / 7.8415.
    assert row["click_through"] == {
        "value": 0.0,
        "low": 0.0,
        "high": pytest.approx(0.4899, abs=1e-4),
    }
    assert row["revenue_cents"] == {"value": 0.0, "low": None, "high": None, "total": 0}


def test_an_empty_lake_reports_nothing(tmp_path: Path) -> None:
    """The report of a new shop would be an error."""
    assert report(Shop(tmp_path).lake) == []


def test_a_share_s_interval_is_wilson_s() -> None:
    """A release with 1 click of 10 would look certain. Values: Wilson 1927, worked out by hand."""
    rate = share(1, 10)
    assert (round(rate.low, 4), round(rate.high, 4)) == (0.0179, 0.4042)
    assert share(0, 0) == (0.0, 0.0, 1.0)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_share(case: tuple[int, int]) -> None:
    """A report would contradict itself."""
    rate = share(*case)
    assert 0 <= rate.low <= rate.value <= rate.high <= 1


def test_a_mean_of_few_has_no_width_it_cannot_know() -> None:
    """One request's revenue would be divided by zero, or taken for certain."""
    assert mean(np.array([])) == (0.0, None, None)
    assert mean(np.array([5.0])) == (5.0, None, None)
    # By hand: mean 3, standard deviation √2, standard error 1.
    assert mean(np.array([2.0, 4.0])) == pytest.approx((3.0, 3 - 1.96, 3 + 1.96), abs=1e-3)

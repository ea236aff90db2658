"""Whether a canary does harm: figures worked out by hand, laws, and what chance alone does."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator

from services.trainer.core.canary import ALPHA, Counts, bounds, judge, log_evidence
from services.trainer.core.rates import share as wilson

COUNTS = st.integers(0, 3_000) | st.integers(0, 10**9)
SHARES = st.sampled_from([0.05, 0.1, 0.5, 0.8])


def clicked(canary: int, others: int) -> Counts:
    return Counts(name="clicked", canary=canary, others=others, decides=True)


def empty(canary: int, others: int) -> Counts:
    return Counts(name="empty", canary=canary, others=others, better="fewer")


@pytest.mark.parametrize(
    ("canary", "others", "expected"),
    [
        # A share of one half mixes over beta(8, 8): the first click says nothing, as 8/16 is 1/2.
        (0, 0, 1.0),
        (1, 0, 1.0),
        # Two on one side: (8 · 9) / (16 · 17) against 1/4. One each: (8 · 8) / (16 · 17).
        (2, 0, 72 / 272 * 4),
        (1, 1, 64 / 272 * 4),
        # Three: (8 · 9 · 10) / (16 · 17 · 18) against 1/8.
        (0, 3, 720 / 4896 * 8),
    ],
)
def test_evidence_by_hand(canary: int, others: int, expected: float) -> None:
    """A canary would be taken back, or promoted, by a wrong number."""
    found = log_evidence(canary, others, weight=0.5, share=0.5)
    assert math.exp(found) == pytest.approx(expected)


@given(COUNTS, COUNTS, SHARES)
def test_bounds_hold_what_was_observed(canary: int, others: int, share: float) -> None:
    """The report would contradict itself."""
    low, high = bounds(canary, others, share=share, alpha=0.05)
    assert 0 <= low <= high <= 1
    if canary + others:
        assert low <= canary / (canary + others) <= high
    assert bounds(0, 0, share=share, alpha=0.05) == (0.0, 1.0)


@given(COUNTS, COUNTS)
def test_the_two_sides_are_alike(canary: int, others: int) -> None:
    """A canary for half of the shoppers would be judged by another measure than its neighbour."""
    low, high = bounds(canary, others, share=0.5, alpha=0.05)
    mirrored = bounds(others, canary, share=0.5, alpha=0.05)
    assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-6)


@given(COUNTS, COUNTS, SHARES)
def test_bounds_exclude_the_coin_exactly_where_the_evidence_does(
    canary: int, others: int, share: float
) -> None:
    """What is proved of the evidence below would not hold for the decision."""
    if canary + others == 0:
        return
    low, high = bounds(canary, others, share=share, alpha=0.01)
    surprise = log_evidence(canary, others, weight=share, share=share) + math.log(0.01)
    if abs(surprise) > 1e-6:
        assert (not low <= share <= high) == (surprise > 0)


def test_no_event_decides_nothing() -> None:
    """A canary in the night, when nobody clicks, would be promoted or taken back."""
    found = judge([clicked(0, 0), empty(0, 0)], share=0.1, margin=0.1)
    assert found.action == "wait"
    assert [(m.ratio, m.low, m.high) for m in found.measured] == [(None, 0.0, None)] * 2


@pytest.mark.parametrize(
    ("counts", "action"),
    [
        ([clicked(1, 40)], "take back"),
        ([clicked(3, 8)], "wait"),
        ([clicked(3_000, 3_000)], "promote"),
        ([clicked(60, 20)], "promote"),
        ([clicked(3_000, 3_000), empty(40, 2)], "take back"),
        ([clicked(3_000, 3_000), empty(2, 40)], "promote"),
        ([empty(0, 0)], "wait"),
    ],
)
def test_what_is_done(counts: list[Counts], action: str) -> None:
    """A guardrail would not hold, or a sound release would never come into service."""
    assert judge(counts, share=0.5, margin=0.1).action == action


def test_the_reason_names_the_measure_and_its_bounds() -> None:
    """An operator could not tell why a release is gone."""
    found = judge([clicked(1, 40), empty(0, 0)], share=0.5, margin=0.1)
    assert found.reason.startswith("worse beyond doubt: clicked 0.03 times as often [0.0")
    assert "empty" not in found.reason


def alarms(arms: Generator, *, share: float, shown: float, looks: int, runs: int) -> float:
    """Return the share of runs in which looking after every event ever takes the canary back."""
    weight = shown * share / (shown * share + 1 - share)
    found = 0
    for _ in range(runs):
        canary = np.cumsum(arms.random(looks) < weight)
        found += any(
            count < share * n
            and log_evidence(int(count), n - int(count), weight=share, share=share)
            >= math.log(4 / ALPHA)
            for n, count in enumerate(canary, start=1)
        )
    return found / runs


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_looking_all_the_time_raises_no_false_alarms(share: float) -> None:
    """Sound releases would be taken back by chance, the more often somebody looks."""
    rng = np.random.default_rng(1)
    # Each of four measures may use a quarter of alpha; three standard errors on top.
    limit = ALPHA / 4 + 3 * math.sqrt(ALPHA / 4 / 600)
    assert alarms(rng, share=share, shown=1.0, looks=300, runs=600) <= limit


def test_a_test_for_one_look_would_raise_them() -> None:
    """The test above could not fail: it is this common way of looking that it keeps out."""
    rng, alarmed = np.random.default_rng(1), 0
    for _ in range(300):
        canary = np.cumsum(rng.random(300) < 0.5)
        alarmed += any(wilson(int(c), n).high < 0.5 for n, c in enumerate(canary, start=1))
    assert alarmed / 300 > 2 * ALPHA


@pytest.mark.parametrize(("share", "looks"), [(0.1, 700), (0.5, 200)])
def test_half_the_clicks_are_noticed(share: float, looks: int) -> None:
    """A canary that halves the clicks would go on to everybody."""
    rng = np.random.default_rng(2)
    assert alarms(rng, share=share, shown=0.5, looks=looks, runs=60) > 0.8


def test_what_is_worse_by_more_than_the_margin_is_hardly_ever_promoted() -> None:
    """The promise of the margin would be broken by looking often."""
    rng, promoted, margin, runs = np.random.default_rng(3), 0, 0.3, 150
    weight = (1 - margin) / (2 - margin)
    for _ in range(runs):
        canary = np.cumsum(rng.random(400) < weight)
        promoted += any(
            judge(
                [clicked(int(canary[n - 1]), n - int(canary[n - 1]))], share=0.5, margin=margin
            ).action
            == "promote"
            for n in range(10, 400, 10)
        )
    assert promoted / runs <= ALPHA + 3 * math.sqrt(ALPHA / runs)

"""Metrics and their noise against worked-out values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.errors import Invalid
from shared.learning.evaluation import metrics
from shared.learning.evaluation.bootstrap import mean_interval, paired_difference
from shared.learning.evaluation.gate import Guardrail, judge
from shared.learning.evaluation.metrics import Lists
from shared.learning.models.ranking import Ranked


def lists(*rows: tuple[list[int], list[int]], k: int = 3) -> Lists:
    ranked = [Ranked(np.array(shown, dtype=int), np.zeros(len(shown))) for shown, _ in rows]
    return Lists.of(ranked, [np.array(wanted) for _, wanted in rows], k)


ONE = lists(([4, 1, 2], [1, 2, 9]), ([0, 3, 5], [7]), ([6], [6]))
GAIN = 1 / np.log2([2, 3, 4])

BY_HAND = [
    (metrics.hit_rate, [1, 0, 1]),
    (metrics.recall, [2 / 3, 0, 1]),
    (metrics.ndcg, [(GAIN[1] + GAIN[2]) / GAIN.sum(), 0, 1]),
    (metrics.reciprocal_rank, [1 / 2, 0, 1]),
]


@pytest.mark.parametrize(("metric", "expected"), BY_HAND, ids=lambda v: getattr(v, "__name__", ""))
def test_metrics_by_hand(metric: object, expected: list[float]) -> None:
    """A release would be promoted for a number that means something else."""
    assert metric(ONE, 3) == pytest.approx(expected)  # type: ignore[operator]


def test_metrics_look_at_k_places_only() -> None:
    """nDCG@1 would be flattered by the places behind."""
    assert metrics.hit_rate(ONE, 1).tolist() == [0, 0, 1]
    assert metrics.reciprocal_rank(ONE, 1).tolist() == [0, 0, 1]


@given(st.permutations(range(6)), st.sets(st.integers(0, 5), min_size=1))
def test_metrics_lie_between_0_and_1_and_the_best_list_has_1(
    order: list[int], wanted: set[int]
) -> None:
    """Figures of different shops could not be compared."""
    ordered = sorted(order, key=lambda item: item not in wanted)
    some, best = (lists((items, sorted(wanted)), k=4) for items in (order, ordered))
    for metric in metrics.PER_USER.values():
        assert 0 <= metric(some, 4)[0] <= metric(best, 4)[0] <= 1 + 1e-9
    assert metrics.ndcg(best, 4)[0] == pytest.approx(1)


def test_exposure_by_hand() -> None:
    """Everyone could get the same list without anybody noticing."""
    shown = lists(([0, 1], [9]), ([0, 1], [9]), ([0, 2], [9]), k=2)
    assert metrics.exposure(shown, 2, 4).tolist() == [3, 2, 1, 0]
    assert metrics.coverage(shown, 2, 4) == 3 / 4
    # Mean absolute difference of (3, 2, 1, 0) is 20/16, over twice the mean 1.5.
    assert metrics.gini(shown, 2, 4) == pytest.approx(20 / 16 / 3)
    assert metrics.novelty(shown, 2, np.array([3.0, 0, 0, 0])) == pytest.approx(
        (3 * -np.log2(4 / 7) + 3 * -np.log2(1 / 7)) / 6
    )


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Noise would pass the gate as progress, or progress be refused as noise."""
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(200):
        interval = mean_interval(rng.normal(1, 2, 100), seed=trial, resamples=200)
        inside += interval.low <= 1 <= interval.high
    assert 0.88 <= inside / 200 <= 0.99


def test_pairing_removes_what_users_have_in_common() -> None:
    """A small but certain gain would drown in the differences between users."""
    rng = np.random.default_rng(0)
    old = rng.normal(0, 10, 200)
    difference = paired_difference(old + 0.1, old, seed=1)
    assert difference.low == pytest.approx(0.1)
    assert difference.high == pytest.approx(0.1)


def test_no_users_no_interval() -> None:
    """An empty test would look like a perfect or a useless model."""
    with pytest.raises(Invalid):
        mean_interval(np.zeros(0), seed=0)
    with pytest.raises(Invalid):
        paired_difference(np.zeros(2), np.zeros(3), seed=0)


CURRENT = np.random.default_rng(0).random(400)
GATES = [
    ("same", 0.0, 0.5, True),
    ("better", 0.1, 0.5, True),
    ("worse for certain", -0.1, 0.5, False),
    ("better, coverage fell", 0.1, 0.2, False),
]


@pytest.mark.parametrize(("case", "gain", "coverage", "passed"), GATES, ids=str)
def test_gate(case: str, gain: float, coverage: float, passed: bool) -> None:
    """A worse model would be promoted, or a better one held back."""
    verdict = judge(
        CURRENT + gain,
        CURRENT,
        sides={"coverage": lambda _: (coverage, 0.5)},
        guardrails={"coverage": Guardrail(share_of_current=0.8)},
        seed=0,
    )
    assert verdict.passed is passed
    assert bool(verdict.reasons) is not passed


def test_a_loss_within_noise_passes_and_an_unmeasured_guardrail_does_not() -> None:
    """Every retraining would be refused for a coin's throw; a guardrail could be forgotten."""
    noise = np.random.default_rng(1).normal(0, 1, 400)
    noisy = CURRENT + noise - noise.mean() - 0.01
    assert judge(noisy, CURRENT, sides={}, guardrails={}, seed=0).passed
    assert not judge(
        CURRENT, CURRENT, sides={}, guardrails={"coverage": Guardrail(0.1)}, seed=0
    ).passed

"""The gate: what may replace the release in service."""

from collections.abc import Sequence

import numpy as np
import pytest

from services.trainer.core.gate import MIN_QUESTIONS, POPULARITY, Contest, Verdict, judge

FINE = {"coverage": (0.5, 0.5), "variety": (0.9, 0.9)}
"""Side metric to its values for candidate and reference, equal for every shopper."""


def verdict(
    lead: float,
    *,
    n: int = 400,
    reference: str = "v1",
    sides: dict[str, tuple[float, float]] | None = None,
    due: Sequence[str] = (),
    forced: bool = False,
) -> Verdict:
    rng = np.random.default_rng(1)
    other = rng.uniform(0, 1, n)
    contest = Contest(
        reference=reference,
        candidate=other + lead + rng.normal(0, 0.1, n),
        other=other,
        sides={
            name: lambda _, pair=pair: pair  # type: ignore[misc]
            for name, pair in (sides or FINE).items()
        },
        due=due,
        forced=forced,
    )
    return judge(contest, seed=3)


@pytest.mark.parametrize(
    ("lead", "due", "decision", "reason"),
    [
        (0.1, (), "promote", "better than v1 by more than noise"),
        (-0.1, ("24 hours have passed",), "refuse", "worse than the current model"),
        (0.0, (), "refuse", "as good as v1 within noise"),
        (0.0, ("24 hours have passed",), "promote", "24 hours have passed"),
    ],
)
def test_noise_decides(lead: float, due: tuple[str, ...], decision: str, reason: str) -> None:
    """A worse model would go live, or a fresh one never would."""
    found = verdict(lead, due=due)
    assert found.decision == decision
    assert reason in "; ".join(found.reasons)
    assert found.low <= found.difference <= found.high


@pytest.mark.parametrize("side", [{"coverage": (0.2, 0.5)}, {"variety": (0.1, 0.9)}])
def test_a_broken_guardrail_refuses_the_better_model(side: dict[str, tuple[float, float]]) -> None:
    """A model that shows bestsellers only would win on accuracy."""
    assert verdict(0.1, sides=FINE | side).decision == "refuse"


@pytest.mark.parametrize(("share", "decision"), [(0.45, "promote"), (0.2, "refuse")])
def test_a_guardrail_is_broken_by_more_than_noise_only(share: float, decision: str) -> None:
    """A retraining on nearly the same data would be refused by chance. Half is the bound."""
    rng = np.random.default_rng(4)
    ours, theirs = rng.random(400) < share * 0.1, rng.random(400) < 0.1
    contest = Contest(
        reference="v1",
        candidate=np.ones(400),
        other=np.zeros(400),
        sides={
            "coverage": lambda _: (1.0, 1.0),
            "variety": lambda rows: (float(ours[rows].mean()), float(theirs[rows].mean())),
        },
    )
    found = judge(contest, seed=3)
    side = found.sides["variety"]
    assert found.decision == decision
    assert side.low < side.candidate - side.bound < side.high
    assert side.candidate < side.bound == 0.5 * side.reference


def test_a_shop_of_few_best_sellers_can_be_served_better() -> None:
    """A grocer, of whose sales most are a hundredth of the items, would keep its first release."""
    assert verdict(0.1, sides=FINE | {"variety": (0.08, 0.1)}).decision == "promote"


def test_a_first_release_must_beat_popularity() -> None:
    """A first model worse than the fallback would be served instead of it."""
    assert verdict(0.1, reference=POPULARITY).decision == "promote"
    worse = verdict(-0.1, reference=POPULARITY, due=("there is no release yet",))
    assert worse.decision == "refuse"


def test_too_few_shoppers_cannot_stop_what_is_due() -> None:
    """A small shop would never get a model."""
    few = MIN_QUESTIONS - 1
    assert verdict(0.0, n=few, due=("there is no release yet",)).decision == "promote"
    assert verdict(0.5, n=few).decision == "refuse"


def test_force_overrules_and_is_noted() -> None:
    """An operator could not put a model live against the gate, or nobody would know who did."""
    found = verdict(-0.1, forced=True)
    assert found.decision == "promote"
    assert found.reasons[-1] == "forced by whoever asked for the job"

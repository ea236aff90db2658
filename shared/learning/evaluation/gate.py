"""Whether a new model may replace the current one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from shared.learning.arrays import Floats, Ints
from shared.learning.evaluation.bootstrap import Interval, paired_difference

RESAMPLES = 200

Measure = Callable[[Ints], tuple[float, float]]
"""A side metric of (new, current), higher is better, over the users at these positions."""


@dataclass(frozen=True)
class Guardrail:
    """Bounds of a side metric such as coverage: an absolute floor, and a share of the current."""

    floor: float = float("-inf")
    share_of_current: float = 0.0

    def bound(self, current: float) -> float:
        """Return what the new model's metric must reach."""
        return max(self.floor, self.share_of_current * current)


@dataclass(frozen=True)
class Margin:
    """A side metric under its guardrail.

    Parameters
    ----------
    value, current : float
        Of the new and of the current model.
    bound : float
        What `value` must reach.
    above : Interval
        Of ``value - bound``, both taken over the same resampled users.
    """

    value: float
    current: float
    bound: float
    above: Interval

    @property
    def broken(self) -> bool:
        """Whether the bound is missed by more than noise."""
        return not self.above.high >= 0


@dataclass(frozen=True)
class Verdict:
    """The gate's answer; `reasons` name every bound that was broken.

    Parameters
    ----------
    passed : bool
    difference : Interval
        Of the main metric, new minus current.
    reasons : tuple of str
    margins : mapping
        Side metric with a guardrail to what was measured.
    """

    passed: bool
    difference: Interval
    reasons: tuple[str, ...]
    margins: Mapping[str, Margin]


def judge(
    new: Floats,
    current: Floats,
    *,
    sides: Mapping[str, Measure],
    guardrails: Mapping[str, Guardrail],
    seed: int,
    tolerance: float = 0.0,
) -> Verdict:
    """Let the new model pass unless it is worse, or breaks a guardrail, by more than noise.

    Noise is the 95 % interval of the bootstrap over users, paired: both models are looked at
    over the same resampled users. A guardrail on the figures alone would refuse, now and then, a
    model that differs from the current one in nothing but chance.

    Parameters
    ----------
    new, current : (n_users,) floats
        The main metric of the same users under both models, higher is better.
    sides : mapping
        Side metric to how it is measured.
    guardrails : mapping
        Side metric to its bounds; a side without guardrail is not looked at.
    seed : int
        Of the bootstrap.
    tolerance : float
        Loss of the main metric that is accepted even when it is certain.
    """
    difference = paired_difference(new, current, seed=seed)
    reasons = []
    if difference.high < -tolerance:
        reasons.append(
            f"worse than the current model by {-difference.mean:.4f} "
            f"({-difference.high:.4f} to {-difference.low:.4f})"
        )
    reasons += [f"{name} was not measured" for name in guardrails if name not in sides]
    margins = {
        name: _margin(sides[name], rail, len(new), seed)
        for name, rail in guardrails.items()
        if name in sides
    }
    reasons += [
        f"{name} {margin.value:.4f} is below {margin.bound:.4f} by more than noise "
        f"({-margin.above.high:.4f} to {-margin.above.low:.4f})"
        for name, margin in margins.items()
        if margin.broken
    ]
    return Verdict(not reasons, difference, tuple(reasons), margins)


def _margin(measure: Measure, rail: Guardrail, n: int, seed: int) -> Margin:
    def above(users: Ints) -> float:
        value, current = measure(users)
        return value - rail.bound(current)

    rng = np.random.default_rng(seed)
    resampled = [above(rng.integers(0, n, n)) for _ in range(RESAMPLES)]
    low, high = np.quantile(resampled, [0.025, 0.975])
    value, current = measure(np.arange(n))
    bound = rail.bound(current)
    return Margin(value, current, bound, Interval(value - bound, float(low), float(high)))

"""Whether a new model may replace the current one."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.learning.arrays import Floats
from shared.learning.evaluation.bootstrap import Interval, paired_difference


@dataclass(frozen=True)
class Guardrail:
    """Bounds of a side metric such as coverage: an absolute floor, and a share of the current."""

    floor: float = float("-inf")
    share_of_current: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """The gate's answer; `reasons` name every bound that was broken.

    Parameters
    ----------
    passed : bool
    difference : Interval
        Of the main metric, new minus current.
    reasons : tuple of str
    """

    passed: bool
    difference: Interval
    reasons: tuple[str, ...]


def judge(
    new: Floats,
    current: Floats,
    *,
    sides: Mapping[str, tuple[float, float]],
    guardrails: Mapping[str, Guardrail],
    seed: int,
    tolerance: float = 0.0,
) -> Verdict:
    """Let the new model pass unless it is worse by more than noise or breaks a guardrail.

    Parameters
    ----------
    new, current : (n_users,) floats
        The main metric of the same users under both models, higher is better.
    sides : mapping
        Side metric to (new, current) values, higher is better.
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
    for name, rail in guardrails.items():
        if name not in sides:
            reasons.append(f"{name} was not measured")
            continue
        value, before = sides[name]
        bound = max(rail.floor, rail.share_of_current * before)
        if not value >= bound:
            reasons.append(f"{name} {value:.4f} is below {bound:.4f}")
    return Verdict(not reasons, difference, tuple(reasons))

"""What another policy would have earned, from decisions logged with their propensities."""

from typing import NamedTuple

import numpy as np

from shared.contracts.errors import Invalid
from shared.learning.arrays import Floats
from shared.learning.evaluation.bootstrap import Interval, mean_interval


class Logged(NamedTuple):
    """Logged decisions, one a row.

    Parameters
    ----------
    reward : (n,) floats
        What followed, such as 1 for a click.
    propensity : (n,) floats
        Probability in (0, 1] with which the logging policy chose what it showed.
    target : (n,) floats
        Probability with which the policy to be judged would choose it.
    """

    reward: Floats
    propensity: Floats
    target: Floats


def importance(logged: Logged, clip: float = float("inf")) -> Floats:
    """Return ``target / propensity``, cut at `clip`; Invalid for impossible probabilities."""
    if len({len(column) for column in logged}) > 1 or len(logged.reward) == 0:
        raise Invalid("reward, propensity and target must be columns of one length above 0")
    if np.any(logged.propensity <= 0) or np.any(logged.propensity > 1):
        raise Invalid("must lie in (0, 1]", field="propensity")
    if np.any(logged.target < 0) or np.any(logged.target > 1):
        raise Invalid("must lie in [0, 1]", field="target")
    return np.minimum(logged.target / logged.propensity, clip)


def inverse_propensity(logged: Logged, *, seed: int, clip: float = float("inf")) -> Interval:
    """Return the value by IPS (Horvitz and Thompson 1952): unbiased unless clipped, noisy."""
    return mean_interval(importance(logged, clip) * logged.reward, seed=seed)


def self_normalised(logged: Logged, *, seed: int, resamples: int = 1000) -> Interval:
    """Return the value by SNIPS (Swaminathan and Joachims 2015): bounded by the rewards.

    The mean is NaN when the policy would never have shown anything that was logged.
    """
    weights = importance(logged)
    gains = weights * logged.reward
    rng, n = np.random.default_rng(seed), len(weights)
    with np.errstate(invalid="ignore"):
        value = float(np.divide(gains.sum(), weights.sum()))
        rows = (rng.integers(0, n, n) for _ in range(resamples))
        values = [float(np.divide(gains[row].sum(), weights[row].sum())) for row in rows]
    low, high = np.nanquantile(values, [0.025, 0.975]) if weights.any() else (value, value)
    return Interval(value, float(low), float(high))


def doubly_robust(
    logged: Logged, expected_shown: Floats, expected_target: Floats, *, seed: int
) -> Interval:
    """Return the value by DR (Dudik et al. 2011): right if propensities or reward model are.

    Parameters
    ----------
    logged : Logged
        Decisions with their propensities.
    expected_shown : (n,) floats
        The reward model's expectation for what was shown.
    expected_target : (n,) floats
        Its expectation for the target policy's choice in the same situation.
    seed : int
        Of the bootstrap.
    """
    residual = importance(logged) * (logged.reward - expected_shown)
    return mean_interval(expected_target + residual, seed=seed)

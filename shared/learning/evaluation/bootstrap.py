"""The noise of a mean: percentile bootstrap over users (Efron 1979)."""

from dataclasses import dataclass

import numpy as np

from shared.contracts.errors import Invalid
from shared.learning.arrays import Floats


@dataclass(frozen=True)
class Interval:
    """A mean and the bounds between which it lies in `level` of the resamples."""

    mean: float
    low: float
    high: float


def mean_interval(
    values: Floats, *, seed: int, level: float = 0.95, resamples: int = 1000
) -> Interval:
    """Return the mean of one value a user with its percentile interval.

    Raises
    ------
    Invalid
        There is no value.
    """
    if len(values) == 0:
        raise Invalid("an interval needs at least one value")
    rng = np.random.default_rng(seed)
    n = len(values)
    means = [float(values[rng.integers(0, n, n)].mean()) for _ in range(resamples)]
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(values.mean()), float(low), float(high))


def paired_difference(
    new: Floats, old: Floats, *, seed: int, level: float = 0.95, resamples: int = 1000
) -> Interval:
    """Return the interval of the mean of ``new - old`` over the same users.

    Much narrower than two intervals side by side, as users differ more than models do.
    """
    if len(new) != len(old):
        raise Invalid("a paired difference needs the same users on both sides")
    return mean_interval(new - old, seed=seed, level=level, resamples=resamples)

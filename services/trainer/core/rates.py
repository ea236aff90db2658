"""What lists brought, with the noise of the figure."""

import math
from typing import NamedTuple

import numpy as np

from shared.learning.arrays import Floats

Z = 1.959963984540054
"""Half-width of a 95 % interval in standard errors."""


class Rate(NamedTuple):
    """A share and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


class Mean(NamedTuple):
    """A mean and the bounds of its 95 % interval; None where nothing can be told of the noise."""

    value: float
    low: float | None
    high: float | None


def share(hits: int, n: int) -> Rate:
    """Return hits of n with Wilson's score interval (1927); (0, 0, 1) for n = 0."""
    if n == 0:
        return Rate(0.0, 0.0, 1.0)
    p, z2 = hits / n, Z * Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At the ends rounding would leave the observed share outside by an epsilon.
    return Rate(p, min(max(centre - half, 0.0), p), max(min(centre + half, 1.0), p))


def mean(values: Floats) -> Mean:
    """Return the mean with its normal interval; 0 for no values.

    Values that are all alike (one, or a hundred requests without a sale) show no noise to go by,
    and an interval of no width would claim to know the mean exactly.
    """
    value = float(values.mean()) if len(values) else 0.0
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    if spread == 0.0:
        return Mean(value, None, None)
    half = Z * spread / math.sqrt(len(values))
    return Mean(value, value - half, value + half)


def total(values: Floats) -> int:
    """Return the sum as a whole number."""
    return int(np.sum(values))

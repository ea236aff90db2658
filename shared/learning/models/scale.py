"""Scores of different models on one scale, so that they can be weighed against each other."""

import numpy as np

from shared.learning.arrays import Floats


def scaled(scores: Floats) -> Floats:
    """Return the scores with the best as 1; zeros where none is positive."""
    peak = float(scores.max(initial=0))
    return np.asarray(scores / np.float32(peak)) if peak > 0 else np.zeros_like(scores)


def damped(counts: Floats) -> Floats:
    """Return logarithms of counts scaled to 1, so that the first does not drown the others."""
    return scaled(np.log1p(np.maximum(counts, 0)))

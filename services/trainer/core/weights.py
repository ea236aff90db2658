"""How much each source counts in a blend, and when that is changed."""

import math
from collections.abc import Mapping
from itertools import product
from statistics import NormalDist

from services.trainer.core.board import Board
from services.trainer.core.quality import K
from shared.learning.evaluation.metrics import ndcg

Weights = Mapping[str, float]
WEIGHTS: Weights = {"slim": 1.0, "ials": 0.3, "knn": 0.3, "popular": 0.1, "trending": 0.02}
TRENDING_SHARE = 0.2
"""Of the weight of `popular`: by the two alone come the lists of those of whom nothing is known."""
DOUBT = 0.05
"""Probability that a blend which is no better is taken for one that is."""


def weights_to_try() -> list[Weights]:
    """Return the blends that are tried, the usual one first."""
    grid = product((0.3, 1.0), (0.0, 0.5), (0.0, 1.0), (0.03, 0.2, 1.0))
    tried = [
        {
            "slim": slim,
            "ials": ials,
            "knn": knn,
            "popular": popular,
            "trending": TRENDING_SHARE * popular,
        }
        for slim, ials, knn, popular in grid
    ]
    return [WEIGHTS, *tried]


def chosen(board: Board, current: Weights | None) -> Weights:
    """Return the weights of highest nDCG; `current` unless others are better by more than noise.

    Noise is the standard error of the shoppers' paired differences, times the quantile that the
    best of so many blends exceeds by chance with a probability of `DOUBT` at most (Bonferroni).
    Without it the blends that are equally good would take turns on equal data, and with them what
    the lists show.
    """
    tried = weights_to_try()
    gains = [ndcg(board.lists(weights), K) for weights in tried]
    best = max(range(len(tried)), key=lambda place: float(gains[place].mean()))
    if current is None:
        return tried[best]
    lead = gains[best] - ndcg(board.lists(current), K)
    error = float(lead.std(ddof=1)) / math.sqrt(len(lead))
    noise = NormalDist().inv_cdf(1 - DOUBT / len(tried)) * error
    return tried[best] if float(lead.mean()) > noise else current

"""The figures of a card."""

from typing import Any

import numpy as np

from shared.learning.arrays import Floats, Ints
from shared.learning.evaluation.judge import report
from shared.learning.evaluation.metrics import Lists

K = 10
POPULAR_SHARE = 0.01


def head(popularity: Floats) -> Ints:
    """Return the most popular hundredth of the items."""
    count = max(1, round(len(popularity) * POPULAR_SHARE))
    return np.argsort(-popularity, kind="stable")[:count]


def share_of_places(lists: Lists, items: Ints) -> float:
    """Return the share of all places that `items` take."""
    shown = lists.items[lists.items >= 0]
    return float(np.isin(shown, items).sum() / max(len(shown), 1))


def figures(lists: Lists, popularity: Floats, *, seed: int) -> dict[str, Any]:
    """Return all metrics at 10, those of shoppers with their interval; empty for no questions."""
    if len(lists) == 0:
        return {}
    measured = report(lists, K, popularity, seed=seed)
    return {**measured, f"popular_share@{K}": share_of_places(lists, head(popularity))}

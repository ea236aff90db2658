"""Many scorers asked the same questions."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from shared.learning.arrays import Floats, Ints
from shared.learning.evaluation.judge import Questions, Score, report
from shared.learning.evaluation.metrics import Lists, exposure
from shared.learning.models.ranking import Ranked, top

K = 10
POPULAR_SHARE = 0.01


def ask_all(scorers: Mapping[str, Score], asked: Questions) -> dict[str, Lists]:
    """Return every scorer's lists of ten; question by question, so that they can share work."""
    ranked: dict[str, list[Ranked]] = {name: [] for name in scorers}
    for history in asked.histories:
        for name, score in scorers.items():
            ranked[name].append(top(score(history), K, history.items))
    return {name: Lists.of(lists, asked.relevant, K) for name, lists in ranked.items()}


def popular_share(lists: Lists, popularity: Floats) -> float:
    """Return the share of all places that the most popular hundredth of the items takes."""
    head = _head(popularity)
    shown = exposure(lists, K, len(popularity))
    return float(shown[head].sum() / max(int(shown.sum()), 1))


def figures(lists: Lists, popularity: Floats, *, seed: int) -> dict[str, Any]:
    """Return all metrics at 10, those of shoppers with their interval; empty for no questions."""
    if len(lists) == 0:
        return {}
    measured = report(lists, K, popularity, seed=seed)
    return {**measured, f"popular_share@{K}": popular_share(lists, popularity)}


def _head(popularity: Floats) -> Ints:
    count = max(1, round(len(popularity) * POPULAR_SHARE))
    return np.argsort(-popularity, kind="stable")[:count]

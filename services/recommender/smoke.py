"""A freshly loaded release is asked its golden examples before it answers anybody."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shared.learning.features.history import History
from shared.learning.models.bundle import Bundle
from shared.learning.models.ranking import top
from shared.learning.models.repeat import RepeatPurchase

AGREEMENT = 0.8
"""Least share of a golden list."""
ROUNDING = 1e-4
"""Part of the best score by which equal ones may differ: processors add up in another order."""
ITEMS = "items"


def smoke_bundle(bundle: Bundle, golden: Sequence[Mapping[str, Any]]) -> str | None:
    """Return what is wrong with a bundle of recommendation models, or None.

    A golden example is ``{"history": [item ids, oldest first], "top": {model: [item ids]}}``.
    """
    if ITEMS not in bundle.ids:
        return "the bundle has no item ids"
    n_items = len(bundle.ids[ITEMS])
    for name, model in bundle.models.items():
        if model.n_items != n_items:
            return f"{name} scores {model.n_items} items, the bundle has {n_items}"
        if isinstance(model, RepeatPurchase):
            continue
        if not np.isfinite(model.scores(_history(bundle, bundle.ids[ITEMS].ids[:3]))).all():
            return f"{name} gives scores that are not finite"
    for example in golden:
        for name, expected in example.get("top", {}).items():
            if name not in bundle.models:
                return f"the model {name} is missing"
            if _agreement(bundle, name, example["history"], expected) < AGREEMENT:
                return f"{name} does not give the list it was released with"
    return None


def _history(bundle: Bundle, items: Sequence[str]) -> History:
    return History.sequence(bundle.ids[ITEMS].numbers(items))


def _agreement(bundle: Bundle, name: str, items: Sequence[str], expected: Sequence[str]) -> float:
    """Return the share of the expected items that are as good as those the model gives now."""
    if not expected:
        return 1.0
    history = _history(bundle, items)
    scores = bundle.models[name].scores(history)
    said = top(scores, len(expected), history.items)
    rounding = ROUNDING * float(np.abs(scores).max())
    good = scores[bundle.ids[ITEMS].numbers(expected)] >= said.scores.min(initial=np.inf) - rounding
    return float(good.sum()) / len(expected)

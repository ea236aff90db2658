"""A freshly loaded release is asked its golden examples before it answers anybody."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shared.learning.features.history import History
from shared.learning.models.bundle import Bundle
from shared.learning.models.ranking import top
from shared.learning.models.repeat import RepeatPurchase

AGREEMENT = 0.8
"""Least share of a golden list; the last places may differ between processors."""
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
            said = _top(bundle, name, example["history"], len(expected))
            if len(said & set(expected)) < AGREEMENT * len(expected):
                return f"{name} does not give the list it was released with"
    return None


def _history(bundle: Bundle, items: Sequence[str]) -> History:
    return History.sequence(bundle.ids[ITEMS].numbers(items))


def _top(bundle: Bundle, name: str, items: Sequence[str], k: int) -> set[str]:
    history = _history(bundle, items)
    ranked = top(bundle.models[name].scores(history), k, history.items)
    return {bundle.ids[ITEMS].name(int(number)) for number in ranked.items}

"""How much an event says: the weight of its type, halved with age."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from shared.learning.arrays import Floats

DAY_S = 86_400.0

BY_ACTION: Mapping[str, float] = MappingProxyType(
    {
        "view_item": 1.0,
        "select_item": 0.5,
        "add_to_wishlist": 2.0,
        "add_to_cart": 3.0,
        "begin_checkout": 3.0,
        "purchase": 5.0,
        "remove_from_cart": -1.0,
        "refund": -2.0,
        "hide_item": -5.0,
    }
)
"""Purchases and carts far above views; a dislike is negative; what is missing says nothing."""


@dataclass(frozen=True)
class EventWeights:
    """Confidence of an event: ``by_action[action] * 0.5 ** (age / half_life_s)``.

    Parameters
    ----------
    by_action : mapping
        Weight of each action; an action that is missing weighs 0.
    half_life_s : float
        Seconds after which an event says half as much; ``inf`` for no decay.
    """

    by_action: Mapping[str, float] = field(default_factory=lambda: BY_ACTION)
    half_life_s: float = 90 * DAY_S

    def of(self, action: str, age_s: float, rating: float | None = None) -> float:
        """Return the weight of one event; a rating of 1 to 5 counts as -2 to 2 added to it."""
        liked = 0.0 if rating is None else rating - 3.0
        return (self.by_action.get(action, 0.0) + liked) * float(self.decay(np.float64(age_s)))

    def decay(self, age_s: Floats | np.float64) -> Floats | np.float64:
        """Return the share of the weight that is left at this age; the future counts as now."""
        return np.exp2(-np.maximum(age_s, 0.0) / self.half_life_s)

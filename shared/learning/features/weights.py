"""How much an event says: the weight of its action."""

from collections.abc import Mapping
from types import MappingProxyType

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

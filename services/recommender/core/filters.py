"""What must not be shown, checked at the moment of the answer."""

from collections.abc import Collection

import numpy as np

from services.recommender.core.catalog import NO_PRICE
from services.recommender.core.person import Person
from services.recommender.core.query import Query, Rules
from services.recommender.core.shelf import Shelf
from shared.learning.arrays import Bools, Ints


def narrowed(shelf: Shelf, query: Query) -> Bools:
    """Return the (n,) mask of what the request asks for by category and price."""
    mask = np.ones(len(shelf), dtype=bool)
    if query.category is not None:
        paths = shelf.catalog.within(query.category)
        mask &= paths[shelf.path]
    if query.min_price is not None:
        mask &= shelf.price >= query.min_price
    if query.max_price is not None:
        mask &= (shelf.price <= query.max_price) & (shelf.price != NO_PRICE)
    return mask


def withheld(
    shelf: Shelf, query: Query, person: Person, bought: Collection[int], rules: Rules
) -> dict[str, Ints]:
    """Return for each reason the numbers that this shopper must not be shown.

    Reasons: ``excluded`` by the request, ``anchor`` (what is being looked at), ``in_cart``,
    ``hidden_by_shopper``, ``bought`` where the scenario leaves that out and the category is not
    one of things bought again.
    """
    reasons = {
        "excluded": query.exclude,
        "anchor": query.anchors,
        "in_cart": person.cart,
        "hidden_by_shopper": person.hidden,
    }
    found = {reason: shelf.numbers_of(items) for reason, items in reasons.items() if items}
    if bought and query.scenario in rules.hide_bought:
        numbers = np.array(list(bought))
        found["bought"] = numbers[~shelf.repeatable[numbers]]
    return found

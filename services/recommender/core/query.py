"""What is asked for, and the rules that hold for every answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Scenario = Literal["home", "product", "cart", "again"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)


@dataclass(frozen=True)
class Query:
    """One request.

    Parameters
    ----------
    k : int
        Length of the list asked for.
    anchors : tuple of item ids
        What is being looked at: the product of the page, or what lies in the cart.
    category : str, optional
        Path from the root joined by ``/``, or the name of one level.
    min_price, max_price : int, optional
        In cents, both included; an item without price passes neither.
    exclude : frozenset of item ids
        Not to be shown.
    """

    scenario: Scenario = "home"
    k: int = 10
    anchors: tuple[str, ...] = ()
    category: str | None = None
    min_price: int | None = None
    max_price: int | None = None
    exclude: frozenset[str] = frozenset()

    @property
    def filtered(self) -> bool:
        """Whether the request narrows the catalogue."""
        return not (self.category is None and self.min_price is None and self.max_price is None)


WEIGHTS: Mapping[str, float] = {
    "slim": 1.0,
    "ials": 0.3,
    "knn": 0.3,
    "repeat": 1.0,
    "popular": 0.1,
    "trending": 0.05,
    "newest": 0.02,
}
"""Weight of each source's score, scaled to at most 1; a release may bring better ones."""


@dataclass(frozen=True)
class Rules:
    """How lists are made, whoever asks.

    Parameters
    ----------
    weights : mapping
        Source to its weight in the blend; a source that is missing gets none.
    pool : int
        Candidates that are filtered and reranked.
    half_life_s : float
        Seconds after which an event of the live history says half as much.
    repeat_half_life_s : float
        The same for a purchase in the repeat-purchase score.
    hide_bought : frozenset of scenarios
        Where what was bought is left out.
    repeatable : tuple of categories
        Where it is shown all the same, because such things are bought again.
    category_share : float
        In (0, 1]: largest share of a list that one category may have.
    diversity : float
        In [0, 1]: 0 ranks by score, 1 by being unlike what stands above (MMR).
    explore : float
        In [0, 1]: probability with which the last place goes to an item without history.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: WEIGHTS)
    pool: int = 256
    half_life_s: float = 30 * 86_400.0
    repeat_half_life_s: float = 45 * 86_400.0
    hide_bought: frozenset[str] = frozenset({"home", "product", "cart"})
    repeatable: tuple[str, ...] = ()
    category_share: float = 0.4
    diversity: float = 0.1
    explore: float = 0.05

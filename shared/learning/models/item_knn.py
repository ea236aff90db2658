"""Item-based nearest neighbours: the baseline of item-item models."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from shared.contracts.errors import Invalid
from shared.learning.features.interactions import Interactions
from shared.learning.models.baskets import baskets
from shared.learning.models.csr import Csr
from shared.learning.models.item_to_item import ItemToItem
from shared.learning.sparse import column_norms, cosine, entry_rows, gram, strongest


@dataclass(frozen=True)
class ItemKnnSettings:
    """Settings of `ItemKnn`.

    Parameters
    ----------
    neighbours : int
        Most similar items kept for each item.
    shrinkage : float
        Damps the cosine of items with few common users: ``cos * n / (n + shrinkage)``.
    recency : float
        In (0, 1]: strength left of an event one moment older, in serving.
    max_history : int
        Newest events of a user that training and serving look at.
    """

    neighbours: int = 200
    shrinkage: float = 5.0
    recency: float = 0.8
    max_history: int = 100

    def __post_init__(self) -> None:
        if min(self.neighbours, self.max_history) < 1 or self.shrinkage < 0:
            raise Invalid("neighbours and max_history must be positive, shrinkage not negative")


class ItemKnn(ItemToItem):
    """Shrunk cosine between items over the users who had both (Sarwar et al. 2001)."""

    KIND: ClassVar[str] = "item-knn"

    @classmethod
    def fit(cls, interactions: Interactions, settings: ItemKnnSettings | None = None) -> Self:
        """Learn from positive events; deterministic. Empty input gives all-zero scores."""
        chosen = settings or ItemKnnSettings()
        matrix, _ = baskets(interactions.positive().newest(chosen.max_history))
        together, norms = gram(matrix, matrix), column_norms(matrix)
        likeness = cosine(together, norms, norms)
        likeness.data *= together.data / (together.data + np.float32(chosen.shrinkage))
        likeness.data[entry_rows(likeness) == likeness.indices] = 0
        weights = strongest(likeness, chosen.neighbours).T
        return cls(Csr.of(weights), chosen.recency, chosen.max_history)

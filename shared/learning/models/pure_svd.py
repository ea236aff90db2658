"""PureSVD: the truncated singular vectors of the user-item matrix as an item-item map."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from shared.contracts.artifact import Artifact
from shared.contracts.errors import Invalid
from shared.learning.arrays import Floats, Ints
from shared.learning.features.history import History
from shared.learning.features.interactions import Interactions
from shared.learning.models.baskets import baskets
from shared.learning.models.reader import Reader
from shared.learning.sparse import Sparse


@dataclass(frozen=True)
class PureSvd:
    """``scores = history · V · Vᵀ`` with V the right singular vectors (Cremonesi et al. 2010).

    Parameters
    ----------
    item_factors : (n_items, k) float32
        Orthonormal columns.
    recency : float
        In (0, 1]: strength left of an event one moment older.
    max_history : int
        Newest events that are looked at.
    """

    KIND: ClassVar[str] = "pure-svd"

    item_factors: Floats
    recency: float
    max_history: int

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        *,
        rank: int = 50,
        recency: float = 1.0,
        max_history: int = 200,
        seed: int = 0,
    ) -> Self:
        """Learn from positive events by randomised subspace iteration; the seed fixes it.

        The rank is lowered to the number of items or users where it exceeds them.
        """
        if min(rank, max_history) < 1 or not 0 < recency <= 1:
            raise Invalid("rank and max_history must be positive, recency in (0, 1]")
        matrix, _ = baskets(interactions.positive().newest(max_history))
        factors = _right_singular_vectors(matrix, min(rank, *matrix.shape), seed)
        return cls(factors.astype(np.float32), recency, max_history)

    @property
    def n_items(self) -> int:
        """How many items the model scores."""
        return len(self.item_factors)

    def read(self, history: History) -> tuple[Ints, Floats]:
        """Return the distinct items that the model looks at and the strength of each."""
        seen = history.newest(self.max_history).distinct()
        return seen.items, seen.weights * self.recency**seen.age_rank

    def scores(self, history: History) -> Floats:
        """Return the (n_items,) scores; all zero for an empty history."""
        items, strengths = self.read(history)
        taste = strengths @ self.item_factors[items]
        # In the factors' own type, or all of them would be converted for one product.
        return self.item_factors @ taste.astype(self.item_factors.dtype)

    def contributions(self, history: History, item: int) -> tuple[Ints, Floats]:
        """Return history items and their signed parts, which add up to the score of `item`."""
        items, strengths = self.read(history)
        return items, strengths * (self.item_factors[items] @ self.item_factors[item])

    def to_artifact(self) -> Artifact:
        """Return the factors as an array and the settings as JSON."""
        meta = {
            "rank": self.item_factors.shape[1],
            "recency": self.recency,
            "max_history": self.max_history,
        }
        return Artifact(self.KIND, {"item_factors": self.item_factors}, meta, {})

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """Rebuild the model; Invalid when the artifact is of another kind or damaged."""
        read = Reader(artifact, cls.KIND)
        factors = read.floats("item_factors", -1, read.int("rank"))
        return cls(factors, read.float("recency"), read.int("max_history"))


def _right_singular_vectors(matrix: Sparse, rank: int, seed: int) -> Floats:
    """Return (n_items, rank), the strongest first (Halko et al. 2011, algorithm 4.4)."""
    if rank == 0:
        return np.zeros((matrix.shape[1], 0))
    from sklearn.utils.extmath import randomized_svd

    _, _, directions = randomized_svd(
        matrix, rank, n_iter=6, power_iteration_normalizer="QR", random_state=seed
    )
    return np.asarray(directions.T)

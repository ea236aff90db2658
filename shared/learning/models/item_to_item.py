"""Models that are one sparse matrix of item-item weights, read through a history's recency."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from shared.contracts.artifact import Artifact
from shared.contracts.errors import Invalid
from shared.learning.arrays import Floats, Ints
from shared.learning.features.history import History
from shared.learning.models.csr import Csr
from shared.learning.models.ranking import Ranked, top
from shared.learning.models.reader import Reader


@dataclass(frozen=True)
class ItemToItem:
    """Scores of all items as a signed sum over the history.

    ``score[j] = sum over distinct history items i of weight[i] * recency**age_rank[i] * W[i, j]``

    Parameters
    ----------
    weights : Csr
        (n_items, n_items); row = item in the history, column = item to recommend.
    recency : float
        In (0, 1]: how much one moment more of age leaves of an event.
    max_history : int
        Newest events that are looked at.
    """

    KIND: ClassVar[str]

    weights: Csr
    recency: float
    max_history: int

    @property
    def n_items(self) -> int:
        """How many items the model scores."""
        return self.weights.n_columns

    def read(self, history: History) -> tuple[Ints, Floats]:
        """Return the distinct items that the model looks at and the strength of each."""
        seen = history.newest(self.max_history).distinct()
        return seen.items, seen.weights * self.recency**seen.age_rank

    def scores(self, history: History) -> Floats:
        """Return the (n_items,) scores; all zero for an empty history."""
        return self.weights.weighted_rows(*self.read(history))

    def contributions(self, history: History, item: int) -> tuple[Ints, Floats]:
        """Return history items and their signed parts, which add up to the score of `item`."""
        items, strengths = self.read(history)
        return items, strengths * self.weights.column(items, item)

    def related(self, item: int, k: int) -> Ranked:
        """Return up to `k` items that `item` speaks for most, without itself and zero scores."""
        ranked = top(self.weights.weighted_rows(np.array([item]), np.ones(1)), k, np.array([item]))
        kept = ranked.scores > 0
        return Ranked(ranked.items[kept], ranked.scores[kept])

    def to_artifact(self) -> Artifact:
        """Return the weights as arrays and the settings as JSON."""
        return Artifact(
            kind=self.KIND,
            arrays={
                "indptr": self.weights.indptr,
                "indices": self.weights.indices,
                "values": self.weights.values,
            },
            meta={
                "n_items": self.n_items,
                "recency": self.recency,
                "max_history": self.max_history,
            },
            blobs={},
        )

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """Rebuild the model; Invalid when the artifact is of another kind or damaged."""
        read = Reader(artifact, cls.KIND)
        weights = Csr(
            read.ints("indptr"),
            read.ints("indices"),
            read.floats("values", -1),
            read.int("n_items"),
        )
        if len(weights.indptr) - 1 != weights.n_columns:
            raise Invalid(f"{cls.KIND} needs a row of weights for each of its items")
        return cls(weights, read.float("recency"), read.int("max_history"))

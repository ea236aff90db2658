"""What each source says of what may be shown, worked out once for all blends."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from services.trainer.core.quality import K
from shared.learning.arrays import Bools, Floats, Ints
from shared.learning.evaluation.judge import Questions, Score
from shared.learning.evaluation.metrics import Lists
from shared.learning.features.history import History
from shared.learning.models.ranking import top

POOL = 100
"""Places of each source's own ranking that are looked at."""


@dataclass(frozen=True)
class Board:
    """Scores of the candidates of many shoppers: the best of each source, scored by all of them.

    Lists of one source are exact. Those of a blend lack what no source has among its best
    hundred: such an item would have to be middling everywhere and still come out among ten.

    Parameters
    ----------
    items : (n_questions, width) integers
        Candidates, rising; -1 fills up.
    scores : mapping
        Source to (n_questions, width) float32.
    wanted : (n_questions, width) bool
        Whether the item is what came next.
    relevant : (n_questions,) integers
        How many items came next.
    """

    items: Ints
    scores: Mapping[str, Floats]
    wanted: Bools
    relevant: Ints

    @classmethod
    def of(cls, sources: Mapping[str, Score], asked: Questions, *, pool: int = POOL) -> Self:
        """Ask every source every question, once."""
        found = [
            _candidates(sources, history, pool, asked.exclude_seen) for history in asked.histories
        ]
        width = max([K, *(len(items) for items, _ in found)])
        n = len(found)
        board = cls(
            items=np.full((n, width), -1, dtype=np.int32),
            scores={name: np.zeros((n, width), dtype=np.float32) for name in sources},
            wanted=np.zeros((n, width), dtype=bool),
            relevant=np.array([len(wanted) for wanted in asked.relevant], dtype=np.int64),
        )
        for row, (items, scores) in enumerate(found):
            board.items[row, : len(items)] = items
            board.wanted[row, : len(items)] = np.isin(items, asked.relevant[row])
            for name, values in zip(sources, scores, strict=True):
                board.scores[name][row, : len(items)] = values
        return board

    def __len__(self) -> int:
        return len(self.items)

    def where(self, rows: slice | Ints) -> Self:
        """Return the board of some of the shoppers."""
        return replace(
            self,
            items=self.items[rows],
            scores={name: values[rows] for name, values in self.scores.items()},
            wanted=self.wanted[rows],
            relevant=self.relevant[rows],
        )

    def lists(self, weights: Mapping[str, float]) -> Lists:
        """Return everybody's lists of ten by the weighted sum of the sources that are known."""
        total = np.where(self.items < 0, np.float32(-np.inf), np.float32(0))
        for name, weight in weights.items():
            if weight and name in self.scores:
                total += self.scores[name] * np.float32(weight)
        # Stable, and the candidates rise: the lower number wins a tie, as in a list that is served.
        places = np.argsort(-total, axis=1, kind="stable")[:, :K]
        return Lists(
            np.take_along_axis(self.items, places, axis=1),
            np.take_along_axis(self.wanted, places, axis=1),
            self.relevant,
        )


def _candidates(
    sources: Mapping[str, Score], history: History, pool: int, exclude_seen: bool
) -> tuple[Ints, list[Floats]]:
    scores = [score(history) for score in sources.values()]
    seen = history.items if exclude_seen else history.items[:0]
    items = np.unique(np.concatenate([top(values, pool, seen).items for values in scores]))
    return items, [values[items] for values in scores]

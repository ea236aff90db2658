"""A model's lists for many shoppers, made by the code that serves, and their metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np

from shared.learning.arrays import Floats, Ints, offsets
from shared.learning.evaluation import metrics
from shared.learning.evaluation.bootstrap import mean_interval
from shared.learning.evaluation.metrics import Lists
from shared.learning.features.history import History
from shared.learning.features.interactions import Interactions
from shared.learning.models.ranking import top

Score = Callable[[History], Floats]


@dataclass(frozen=True)
class Questions:
    """What is asked of a model: for each shopper the history, and the items that came next.

    Parameters
    ----------
    histories : sequence of History
    relevant : sequence of integers
        At least one item each.
    exclude_seen : bool
        Whether items of the history are taken out of the list.
    """

    histories: Sequence[History]
    relevant: Sequence[Ints]
    exclude_seen: bool = True

    @classmethod
    def of(
        cls, past: Interactions, future: Interactions, *, exclude_seen: bool = True
    ) -> "Questions":
        """Ask for the future events of each user who has some that may be shown."""
        histories, wanted = rows(past), rows(future)
        asked, relevant = [], []
        for history, one in zip(histories, wanted, strict=True):
            items = np.unique(one.items)
            if exclude_seen:
                items = np.setdiff1d(items, history.items)
            if len(items):
                asked.append(history)
                relevant.append(items)
        return cls(asked, relevant, exclude_seen)

    def sample(self, n: int, *, seed: int) -> "Questions":
        """Return `n` of the questions at random, or all when there are no more."""
        chosen = np.random.default_rng(seed).permutation(len(self.histories))[:n]
        return Questions(
            [self.histories[i] for i in chosen],
            [self.relevant[i] for i in chosen],
            self.exclude_seen,
        )

    def ask(self, score: Score, k: int) -> Lists:
        """Return the first `k` of each full ranking and which of them were right."""
        none = np.zeros(0, dtype=np.int32)
        ranked = [
            top(score(history), k, history.items if self.exclude_seen else none)
            for history in self.histories
        ]
        return Lists.of(ranked, self.relevant, k)


def rows(events: Interactions) -> list[History]:
    """Return each user's history, the empty ones too."""
    ordered = events.ordered()
    bounds = offsets(np.bincount(ordered.user, minlength=events.n_users)).tolist()
    weights = ordered.weight.astype(np.float32)
    return [
        History(ordered.item[a:b], weights[a:b], ordered.time_s[a:b]) for a, b in pairwise(bounds)
    ]


def report(
    lists: Lists, k: int, popularity: Floats, *, seed: int
) -> dict[str, Mapping[str, float] | float]:
    """Return all metrics at `k`: per-user ones with their 95% interval, list ones as numbers.

    Parameters
    ----------
    lists : Lists
        Lists of at least `k` places.
    k : int
        Places that count.
    popularity : (n_items,) floats
        Training events of each item.
    seed : int
        Of the bootstrap.
    """
    n_items = len(popularity)
    answer: dict[str, Mapping[str, float] | float] = {
        f"{name}@{k}": asdict(mean_interval(metric(lists, k), seed=seed))
        for name, metric in metrics.PER_USER.items()
    }
    answer[f"coverage@{k}"] = metrics.coverage(lists, k, n_items)
    answer[f"gini@{k}"] = metrics.gini(lists, k, n_items)
    answer[f"novelty@{k}"] = metrics.novelty(lists, k, popularity)
    return answer

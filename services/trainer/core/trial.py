"""A recipe put to the test on the newest part of the history."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.trainer.core import gate
from services.trainer.core.blend import Parts, Weights, weights_to_try
from services.trainer.core.gate import POPULARITY
from services.trainer.core.quality import K, ask_all, figures, popular_share
from shared.learning.evaluation.judge import Questions, Score
from shared.learning.evaluation.metrics import Lists, coverage, ndcg
from shared.learning.models.popularity import Popularity

CANDIDATE = "candidate"
ENOUGH_TO_CHOOSE = 200
"""Shoppers from which on the blend's weights are chosen on one half and judged on the other."""


@dataclass(frozen=True)
class Trial:
    """What was asked, and how each scorer did.

    Parameters
    ----------
    lists : mapping
        Name to judged lists: each model alone, ``candidate`` (their blend), the reference.
    reference : str
        What the candidate is held against.
    weights : mapping
        The blend's weights.
    """

    lists: Mapping[str, Lists]
    reference: str
    weights: Weights
    popular: Popularity
    asked: int

    def verdict(self, *, due: Sequence[str], forced: bool, seed: int) -> gate.Verdict:
        """Return the gate's decision."""
        ours, theirs = self.lists[CANDIDATE], self.lists[self.reference]
        contest = gate.Contest(
            reference=self.reference,
            candidate=ndcg(ours, K),
            other=ndcg(theirs, K),
            sides={
                name: (measure(ours), measure(theirs)) for name, measure in self._sides().items()
            },
            due=due,
            forced=forced,
        )
        return gate.judge(contest, seed=seed)

    def _sides(self) -> Mapping[str, Callable[[Lists], float]]:
        popularity = self.popular.item_scores
        return {
            "coverage": lambda lists: coverage(lists, K, len(popularity)),
            "variety": lambda lists: 1 - popular_share(lists, popularity),
        }

    def offline(self, seed: int) -> dict[str, Any]:
        """Return every scorer's figures with intervals."""
        popularity = self.popular.item_scores
        return {name: figures(lists, popularity, seed=seed) for name, lists in self.lists.items()}


def trial(
    models: Mapping[str, Any],
    asked: Questions,
    reference: tuple[str, Score] | None,
    *,
    weights: Weights,
    half_life_s: float,
    extra: Mapping[str, Any],
) -> Trial:
    """Choose the blend's weights if there are shoppers enough, and judge on the others.

    Parameters
    ----------
    models : mapping
        What goes into the blend; ``popular`` among them.
    asked : Questions
        What is asked.
    reference : (name, score), optional
        The release in service; popularity without one.
    weights : mapping
        The blend's weights where there are too few shoppers to choose better ones.
    half_life_s : float
        Seconds after which an event of a live history says half as much.
    extra : mapping
        Models that are only compared.
    """
    popular = models["popular"]
    if len(asked.histories) >= ENOUGH_TO_CHOOSE:
        half = len(asked.histories) // 2
        weights = _best(Parts(models, half_life_s), _part(asked, slice(half)), weights)
        asked = _part(asked, slice(half, None))
    parts = Parts({**models, **extra}, half_life_s)
    scorers = {name: parts.one(name) for name in (*models, *extra)}
    scorers[POPULARITY] = scorers.pop("popular")
    scorers[CANDIDATE] = parts.blend(weights)
    name, scorer = reference or (POPULARITY, scorers[POPULARITY])
    lists = ask_all({**scorers, name: scorer}, asked)
    return Trial(lists, name, weights, popular, len(asked.histories))


def _part(asked: Questions, part: slice) -> Questions:
    return Questions(asked.histories[part], asked.relevant[part])


def _best(parts: Parts, asked: Questions, default: Weights) -> Weights:
    """Return the weights of highest nDCG; the default where none is better."""
    tried = [default, *weights_to_try()]
    lists = ask_all({str(i): parts.blend(w) for i, w in enumerate(tried)}, asked)
    # The first of equals, so that the default stays unless another is better.
    return max(zip(lists.values(), tried, strict=True), key=lambda pair: ndcg(pair[0], K).mean())[1]

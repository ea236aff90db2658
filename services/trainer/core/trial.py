"""A recipe put to the test on the newest part of the history."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.trainer.core import gate
from services.trainer.core.blend import sources
from services.trainer.core.board import Board
from services.trainer.core.gate import POPULARITY
from services.trainer.core.quality import K, figures, head, share_of_places
from services.trainer.core.weights import WEIGHTS, Weights, chosen
from shared.learning.evaluation.gate import Measure
from shared.learning.evaluation.judge import Questions, Score
from shared.learning.evaluation.metrics import Lists, coverage, ndcg
from shared.learning.models.popularity import Popularity

CANDIDATE = "candidate"
REFERENCE = "reference"
"""The source that stands for a release in service on the board."""
ENOUGH_TO_CHOOSE = 200
"""Shoppers from which on the blend's weights are chosen on one half and judged on the other."""


@dataclass(frozen=True)
class Reference:
    """What the candidate is held against.

    Parameters
    ----------
    name : str
    score : callable, optional
        How it scores; None for the very models of the candidate, blended by other `weights`.
    weights : mapping
        Of the candidate's models.
    """

    name: str
    score: Score | None = None
    weights: Weights = field(default_factory=lambda: {REFERENCE: 1.0})


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
            sides=self._sides(),
            due=due,
            forced=forced,
        )
        return gate.judge(contest, seed=seed)

    def _sides(self) -> Mapping[str, Measure]:
        ours, theirs = self.lists[CANDIDATE], self.lists[self.reference]
        n_items, popular = self.popular.n_items, head(self.popular.item_scores)

        def both(measure: Callable[[Lists], float]) -> Measure:
            return lambda rows: (measure(ours.where(rows)), measure(theirs.where(rows)))

        return {
            "coverage": both(lambda lists: coverage(lists, K, n_items)),
            "variety": both(lambda lists: 1 - share_of_places(lists, popular)),
        }

    def offline(self, seed: int) -> dict[str, Any]:
        """Return every scorer's figures with intervals."""
        popularity = self.popular.item_scores
        return {name: figures(lists, popularity, seed=seed) for name, lists in self.lists.items()}


def trial(
    models: Mapping[str, Any],
    asked: Questions,
    reference: Reference | None,
    *,
    weights: Weights | None,
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
    reference : Reference, optional
        The release in service; popularity without one.
    weights : mapping, optional
        The blend's weights of the release in service, which stay unless others are better by
        more than noise; None without one.
    half_life_s : float
        Seconds after which an event of a live history says half as much.
    extra : mapping
        Models that are only compared.
    """
    scorers = sources({**models, **extra}, half_life_s)
    if reference is not None and reference.score is not None:
        scorers[REFERENCE] = reference.score
    board = Board.of(scorers, asked)
    judged = board
    if len(board) >= ENOUGH_TO_CHOOSE:
        half = len(board) // 2
        weights = chosen(board.where(slice(half)), weights)
        judged = board.where(slice(half, None))
    weights = weights or WEIGHTS
    blends = {name: {name: 1.0} for name in (*models, *extra)}
    blends[POPULARITY] = blends.pop("popular")
    blends[CANDIDATE] = dict(weights)
    if reference is not None:
        blends[reference.name] = dict(reference.weights)
    lists = {name: judged.lists(blend) for name, blend in blends.items()}
    name = POPULARITY if reference is None else reference.name
    return Trial(lists, name, weights, models["popular"], len(judged))

"""A better recipe for this shop, by random search on a past within the past."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from services.trainer.core.blend import sources
from services.trainer.core.board import Board
from services.trainer.core.quality import K
from services.trainer.core.recipe import Recipe, fit_all
from services.trainer.core.split import questions, split
from shared.learning.evaluation.metrics import ndcg
from shared.learning.evaluation.tuning import Tuned, log_uniform, near, random_search
from shared.learning.features.interactions import Interactions

ASKED = 500
PATIENCE = 8


class RecommendOptions(Struct, frozen=True, kw_only=True):
    """What may be chosen for one training: `tune` recipes are tried, 0 keeps the one in service."""

    tune: Annotated[int, Meta(ge=0, le=100)] = 0


def tuned(
    past: Interactions, start: Recipe, trials: int, *, workers: int, tell: Callable[[int], None]
) -> Tuned[Recipe]:
    """Return the best of `trials` recipes by nDCG@10 on the newest tenth of `past`.

    What lies behind `past` is never looked at, so that the winner can still be judged on it.
    """
    parts, _ = split(past)
    asked = questions(parts, limit=ASKED, seed=start.seed)
    tried = 0

    def score(recipe: Recipe) -> float:
        nonlocal tried
        tell(tried)
        tried += 1
        models = fit_all(parts.train, recipe, workers)
        board = Board.of(sources(models, recipe.live_half_life_s), asked)
        lists = board.lists(recipe.weights)
        return float(ndcg(lists, K).mean()) if len(lists) else 0.0

    return random_search(start, draw, score, trials=trials + 1, patience=PATIENCE, seed=start.seed)


def draw(rng: np.random.Generator, best: Recipe) -> Recipe:
    """Return a recipe near the best so far in what matters little, anywhere in what matters much."""
    slim = replace(
        best.slim,
        neighbours=int(rng.choice([30, 50, 80])),
        ridge=near(rng, best.slim.ridge, 0.7, low=3, high=1000),
        order=float(np.clip(best.slim.order + rng.normal(0, 0.2), 0, 1)),
        recency=float(np.clip(best.slim.recency + rng.normal(0, 0.1), 0.3, 1)),
    )
    return replace(
        best,
        slim=slim,
        penalty=log_uniform(rng, 0.2, 20),
        half_life_days=near(rng, best.half_life_days, 0.7, low=3, high=2000),
        live_half_life_days=near(rng, best.live_half_life_days, 0.7, low=1, high=1000),
    )

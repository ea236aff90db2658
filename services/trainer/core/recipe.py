"""How the recommender's models are made: settings that fit into JSON and back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import msgspec
import numpy as np

from services.trainer.core.weights import WEIGHTS, Weights
from shared.learning.features.interactions import Interactions
from shared.learning.models.ials import Ials, IalsSettings
from shared.learning.models.item_knn import ItemKnn, ItemKnnSettings
from shared.learning.models.popularity import Popularity, Trending
from shared.learning.models.slim import LocalSlim, SlimSettings

DAY_S = 86_400.0
SOURCES = ("slim", "ials", "knn", "popular", "trending")


@dataclass(frozen=True)
class Recipe:
    """All that decides what a release becomes from given events.

    Parameters
    ----------
    slim, ials, knn : settings of the models
        The regularisation of `ials` is worked out from `penalty`.
    penalty : float
        Ridge penalty of an average shopper's factors. What is right hardly differs between
        shops, whereas the regularisation that gives it falls with the size of the catalogue.
    weights : mapping
        Source to its weight in the blend.
    half_life_days : float
        An event so much older says half as much in training.
    live_half_life_days : float
        The same for the history that is read at the answer.
    seed : int
    """

    slim: SlimSettings = field(default_factory=SlimSettings)
    ials: IalsSettings = field(
        default_factory=lambda: IalsSettings(factors=32, iterations=5, max_history=100)
    )
    knn: ItemKnnSettings = field(default_factory=lambda: ItemKnnSettings(neighbours=100))
    penalty: float = 2.0
    weights: Weights = field(default_factory=lambda: dict(WEIGHTS))
    half_life_days: float = 90.0
    live_half_life_days: float = 30.0
    seed: int = 7

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave; `msgspec.ValidationError` when it is something else."""
        return msgspec.convert(dict(fields), cls)

    @property
    def live_half_life_s(self) -> float:
        """`live_half_life_days` in seconds."""
        return self.live_half_life_days * DAY_S


def fit_all(events: Interactions, recipe: Recipe, workers: int) -> dict[str, Any]:
    """Return all models of a release by the name of their source."""
    return {
        "slim": fit_slim(events, recipe, workers),
        "ials": fit_ials(events, recipe, workers),
        "knn": fit_knn(events, recipe),
        **fit_simple(events),
    }


def fit_simple(events: Interactions) -> dict[str, Any]:
    """Return the models that are the same for everybody, as of the newest event if there is one."""
    now_s = float(events.time_s.max(initial=0.0))
    return {
        "popular": Popularity.fit(events, now_s=now_s, half_life_s=30 * DAY_S),
        "trending": Trending.fit(events, now_s=now_s),
    }


def fit_slim(events: Interactions, recipe: Recipe, workers: int) -> LocalSlim:
    """Return the item-item model."""
    return LocalSlim.fit(aged(events, recipe.half_life_days), recipe.slim, workers=workers)


def fit_knn(events: Interactions, recipe: Recipe) -> ItemKnn:
    """Return the neighbourhood model."""
    return ItemKnn.fit(aged(events, recipe.half_life_days), recipe.knn)


def fit_ials(events: Interactions, recipe: Recipe, workers: int) -> Ials:
    """Return the factor model."""
    mean_events = len(events) / max(events.n_users, 1)
    scale = mean_events + recipe.ials.unobserved * events.n_items
    settings = replace(
        recipe.ials, regularisation=recipe.penalty / scale**recipe.ials.frequency_exponent
    )
    decayed = aged(events, recipe.half_life_days)
    return Ials.fit(decayed, settings, seed=recipe.seed, workers=workers)


def aged(events: Interactions, half_life_days: float) -> Interactions:
    """Return the events with each weight halved every `half_life_days` before the newest wish.

    Were it the newest of all, one dislike after years could make all wishes nothing.
    """
    newest_s = events.time_s[events.weight > 0].max(initial=0.0)
    age_s = np.maximum(newest_s - events.time_s, 0.0)
    weight = events.weight * np.exp2(-age_s / (half_life_days * DAY_S))
    return Interactions(
        events.user, events.item, events.time_s, weight, events.n_users, events.n_items
    )

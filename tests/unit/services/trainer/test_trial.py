"""Recipes, blends and trials on data whose answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.core.blend import WEIGHTS, Parts, faded, transplanted, weights_to_try
from services.trainer.core.quality import ask_all, popular_share
from services.trainer.core.recipe import Recipe, aged, fit_ials, fit_knn, fit_simple, fit_slim
from services.trainer.core.split import questions, split
from services.trainer.core.trial import CANDIDATE, trial
from services.trainer.core.tune import draw, tuned
from shared.learning.evaluation.judge import Questions
from shared.learning.evaluation.metrics import ndcg
from shared.learning.features.history import History
from shared.learning.features.interactions import Interactions
from shared.learning.models.bundle import Bundle
from shared.learning.models.ids import IdIndex
from shared.learning.models.popularity import Popularity

DAY_S = 86_400.0


@pytest.fixture(scope="module")
def tastes() -> Interactions:
    """120 shoppers walk through one of two halves of 40 items."""
    user = np.repeat(np.arange(120), 12)
    step = np.tile(np.arange(12), 120)
    item = 20 * (user % 2) + (user // 2 * 7 + step) % 20
    return Interactions(
        user, item.astype(np.int32), step * 0.8 * DAY_S + user, np.ones(len(user)), 120, 40
    )


def test_the_newest_tenth_is_the_future(tastes: Interactions) -> None:
    """Models would be judged on what they have seen."""
    parts, cut_s = split(tastes)
    assert parts.train.time_s.max() < cut_s <= parts.test.time_s.min()
    assert 0.05 < len(parts.test) / len(tastes) < 0.15


def test_questions_hold_nothing_that_was_met_before(tastes: Interactions) -> None:
    """Repeating what a shopper has seen would count as a good recommendation."""
    parts, _ = split(tastes)
    asked = questions(parts, limit=50, seed=1)
    assert len(asked.histories) == 50
    for history, wanted in zip(asked.histories, asked.relevant, strict=True):
        assert not np.isin(wanted, history.items).any()


def test_a_candidate_is_held_against_popularity_first(tastes: Interactions) -> None:
    """A first release would pass or fail for no reason."""
    parts, _ = split(tastes)
    recipe = Recipe()
    models = {
        "slim": fit_slim(parts.train, recipe),
        "ials": fit_ials(parts.train, recipe, 1),
        "knn": fit_knn(parts.train, recipe),
        **fit_simple(parts.train),
    }
    asked = questions(parts, limit=100, seed=1)
    found = trial(models, asked, None, weights=recipe.weights, half_life_s=30 * DAY_S, extra={})
    verdict = found.verdict(due=(), forced=False, seed=1)
    assert (found.reference, verdict.decision) == ("popularity", "promote")
    assert ndcg(found.lists[CANDIDATE], 10).mean() > 0.5
    assert found.offline(1)[CANDIDATE]["ndcg@10"]["low"] > 0


def test_a_blend_is_the_weighted_sum_of_scaled_scores() -> None:
    """The trainer would judge another list than the one that is served. Worked out by hand."""
    popular = Popularity(np.array([0.0, np.e - 1, np.e**2 - 1], dtype=np.float32))
    parts = Parts({"popular": popular, "other": _Fixed([4.0, 2.0, 0.0])}, DAY_S)
    history = History.sequence(np.array([0], dtype=np.int32))
    blend = parts.blend({"other": 1.0, "popular": 0.5, "missing": 9.0})(history)
    assert blend.tolist() == pytest.approx([1.0, 0.5 + 0.25, 0.5])


class _Fixed:
    """Gives the same scores for any history."""

    def __init__(self, scores: list[float]) -> None:
        self._scores = np.array(scores, dtype=np.float32)

    def scores(self, history: History) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
        return self._scores


def test_an_older_event_says_less() -> None:
    """Last year's taste would weigh as much as today's."""
    history = History(np.array([1, 2]), np.array([1.0, 1.0]), np.array([0.0, DAY_S]))
    assert faded(history, DAY_S).weights.tolist() == [0.5, 1.0]
    events = Interactions(
        np.array([0, 0]), np.array([0, 1]), np.array([0.0, DAY_S]), np.array([2.0, 2.0]), 1, 2
    )
    assert aged(events, 1.0).weight.tolist() == [1.0, 2.0]


def test_a_release_is_asked_in_the_new_numbering() -> None:
    """The release in service would be judged on other items than it means."""
    old = Bundle(
        ids={"items": IdIndex(["b", "a"])},
        models={"popular": Popularity(np.array([1.0, 3.0], dtype=np.float32))},
        meta={"weights": {"popular": 1.0}},
    )
    scores = transplanted(old, IdIndex(["a", "b", "new"]), DAY_S)(
        History.sequence(np.array([2, 0], dtype=np.int32))
    )
    assert scores.tolist() == pytest.approx([1.0, 0.5, 0.0])


def test_the_share_of_the_most_popular_is_counted_by_places() -> None:
    """The guardrail against bestseller lists would not bite."""
    popularity = np.array([5.0, 1.0, 1.0, 1.0] + [0.0] * 96)
    one = np.array([9], dtype=np.int32)
    asked = Questions([History.sequence(one)], [np.array([0])])
    lists = ask_all({"popular": lambda _: popularity.astype(np.float32)}, asked)
    assert popular_share(lists["popular"], popularity) == pytest.approx(0.1)


def test_a_recipe_survives_json() -> None:
    """The next training could not tell how the release in service was made."""
    recipe = Recipe(penalty=3.0, weights={"slim": 0.5})
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_tuning_keeps_the_start_unless_something_is_better(tastes: Interactions) -> None:
    """Trying recipes would make lists worse; or look at what it is judged on."""
    told: list[int] = []
    start = Recipe()
    found = tuned(tastes, start, 2, workers=1, tell=told.append)
    assert told == [0, 1, 2]
    assert found.trials[0][0] == start
    assert found.score == max(score for _, score in found.trials)


@given(st.integers(0, 2**32 - 1))
def test_every_drawn_recipe_can_be_made(seed: int) -> None:
    """A training would fail on settings that the search itself came up with."""
    rng, recipe = np.random.default_rng(seed), Recipe()
    for _ in range(5):
        recipe = draw(rng, recipe)
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_no_blend_lets_trends_outweigh_demand() -> None:
    """A newcomer, of whom only those two speak, would be shown the rarities of the week."""
    for weights in (WEIGHTS, *weights_to_try()):
        assert weights["trending"] <= 0.25 * weights["popular"], weights

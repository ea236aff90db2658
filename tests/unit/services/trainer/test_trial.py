"""Recipes, blends and trials on data whose answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.core.blend import blended, faded, sources, transplanted
from services.trainer.core.board import Board
from services.trainer.core.quality import head, share_of_places
from services.trainer.core.recipe import Recipe, aged, fit_ials, fit_knn, fit_simple, fit_slim
from services.trainer.core.split import questions, split
from services.trainer.core.trial import CANDIDATE, Reference, trial
from services.trainer.core.tune import draw, tuned
from services.trainer.core.weights import WEIGHTS, chosen, weights_to_try
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


def test_when_all_the_newest_are_newcomers_there_is_nobody_to_ask(tastes: Interactions) -> None:
    """A shop that a campaign has just filled with strangers could train no model."""
    new = np.arange(200)
    campaign = Interactions(
        np.r_[tastes.user, tastes.n_users + new],
        np.r_[tastes.item, new % 40].astype(np.int32),
        np.r_[tastes.time_s, np.full(200, 30 * DAY_S)],
        np.ones(len(tastes) + 200),
        tastes.n_users + 200,
        40,
    )
    parts, _ = split(campaign)
    asked = questions(parts, limit=100, seed=1)
    assert asked.histories == []
    models, current = fit_simple(parts.train), Reference("the current one", weights=WEIGHTS)
    found = trial(models, asked, current, weights=None, half_life_s=30 * DAY_S, extra={})
    assert found.verdict(due=("it is old",), forced=False, seed=1).passed
    assert found.offline(1)[CANDIDATE] == {}


def test_a_candidate_is_held_against_popularity_first(tastes: Interactions) -> None:
    """A first release would pass or fail for no reason."""
    parts, _ = split(tastes)
    recipe = Recipe()
    models = {
        "slim": fit_slim(parts.train, recipe, 1),
        "ials": fit_ials(parts.train, recipe, 1),
        "knn": fit_knn(parts.train, recipe),
        **fit_simple(parts.train),
    }
    asked = questions(parts, limit=100, seed=1)
    found = trial(models, asked, None, weights=None, half_life_s=30 * DAY_S, extra={})
    verdict = found.verdict(due=(), forced=False, seed=1)
    assert (found.reference, verdict.decision) == ("popularity", "promote")
    assert ndcg(found.lists[CANDIDATE], 10).mean() > 0.5
    assert found.offline(1)[CANDIDATE]["ndcg@10"]["low"] > 0


def test_a_blend_is_the_weighted_sum_of_scaled_scores() -> None:
    """The trainer would judge another list than the one that is served. Worked out by hand."""
    popular = Popularity(np.array([0.0, np.e - 1, np.e**2 - 1], dtype=np.float32))
    scorers = sources({"popular": popular, "other": _Fixed([4.0, 2.0, 0.0])}, DAY_S)
    history = History.sequence(np.array([0], dtype=np.int32))
    weights = {"other": 1.0, "popular": 0.5, "missing": 9.0}
    blend = blended(scorers, weights)(history)
    assert blended(scorers, {})(history).tolist() == [0.0, 0.0, 0.0]
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


def test_a_late_dislike_ages_no_wish() -> None:
    """One old shopper who hides something would make a model of nothing."""
    day = np.array([0.0, 30.0, 10_000.0])
    events = Interactions(
        np.zeros(3, np.int32), np.arange(3, dtype=np.int32), day * DAY_S, np.array([1.0, 1, -5]), 1, 3
    )  # fmt: skip
    assert aged(events, half_life_days=30).weight.tolist() == [0.5, 1.0, -5.0]


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
    popularity = np.array([5.0, 1.0, 1.0, 1.0] + [0.0] * 96, dtype=np.float32)
    one = np.array([9], dtype=np.int32)
    board = Board.of({"a": lambda _: popularity}, Questions([History.sequence(one)], [one - 9]))
    lists = board.lists({"a": 1.0})
    assert share_of_places(lists, head(popularity)) == pytest.approx(0.1)


POINTS = st.sampled_from([0.0, 0.25, 0.5, 1.0])


@given(
    st.lists(st.tuples(POINTS, POINTS, st.booleans(), st.booleans()), min_size=3, max_size=40),
    st.tuples(POINTS, POINTS),
)
def test_a_board_gives_the_lists_of_full_scores(
    rows: list[tuple[float, float, bool, bool]], weights: tuple[float, float]
) -> None:
    """Blends would be chosen and judged by other lists than those that are served."""
    table = np.array(rows, dtype=np.float32)
    wanted, seen = np.flatnonzero(table[:, 2]), np.flatnonzero(table[:, 3]).astype(np.int32)
    scorers = {"a": _Fixed(table[:, 0].tolist()).scores, "b": _Fixed(table[:, 1].tolist()).scores}
    by = dict(zip("ab", weights, strict=True))
    asked = Questions([History.sequence(seen)], [wanted if len(wanted) else np.array([0])])
    found, full = Board.of(scorers, asked).lists(by), asked.ask(blended(scorers, by), 10)
    assert found.items.tolist() == full.items.tolist()
    assert found.hits.tolist() == full.hits.tolist()
    assert found.relevant.tolist() == full.relevant.tolist()


def _board(good: list[bool], also: list[bool]) -> Board:
    """Return a board on which `slim` and `ials` put what is wanted first for these shoppers."""
    n = len(good)
    scores = {
        "slim": np.where(np.array(good)[:, None], [1.0, 0.0], [0.0, 1.0]).astype(np.float32),
        "ials": np.where(np.array(also)[:, None], [1.0, 0.0], [0.0, 1.0]).astype(np.float32),
    }
    items = np.tile(np.array([0, 1], dtype=np.int32), (n, 1))
    return Board(items, scores, np.tile([True, False], (n, 1)), np.ones(n, dtype=np.int64))


def test_a_blend_stays_unless_another_is_better_by_more_than_noise() -> None:
    """Blends would take turns on nearly equal data, and the lists with them."""
    ials = {"ials": 1.0}
    even = [place % 2 == 0 for place in range(100)]
    slightly = _board([*even[:98], True, True], even)
    assert chosen(slightly, ials) == ials
    assert chosen(slightly, None)["slim"] > chosen(slightly, None)["ials"]
    clearly = _board([True] * 80 + [False] * 20, even)
    assert chosen(clearly, ials)["slim"] > 0.3


def test_the_weights_in_service_meet_themselves(tastes: Interactions) -> None:
    """A retraining on the same data would be refused, or would change the blend."""
    parts, _ = split(tastes)
    models = {
        "slim": fit_slim(parts.train, Recipe(), 1),
        **fit_simple(parts.train),
    }
    asked, weights = questions(parts, limit=100, seed=1), {"slim": 1.0, "popular": 0.1}
    found = trial(
        models,
        asked,
        Reference("v1", weights=weights),
        weights=weights,
        half_life_s=30 * DAY_S,
        extra={},
    )
    verdict = found.verdict(due=("a day has passed",), forced=False, seed=1)
    assert found.weights == weights
    assert (verdict.decision, verdict.difference) == ("promote", 0.0)
    assert {side.candidate / side.reference for side in verdict.sides.values()} == {1.0}


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
    assert WEIGHTS in weights_to_try()
    for weights in weights_to_try():
        assert weights["trending"] <= 0.25 * weights["popular"], weights

"""Predicted ratings and their parts."""

import numpy as np
import pytest

from shared.learning.features.interactions import Interactions
from shared.learning.models.biased_factors import BiasedFactors, RatingSettings


def made(seed: int, n_users: int = 60, n_items: int = 40) -> tuple[Interactions, np.ndarray]:
    """Ratings with known biases and one taste, half of them given."""
    rng = np.random.default_rng(seed)
    kind, users, items = (
        rng.normal(size=n_users),
        rng.normal(size=n_users),
        rng.normal(size=n_items),
    )
    truth = 3 + 0.4 * users[:, None] + 0.4 * items + 0.6 * np.outer(kind, rng.normal(size=n_items))
    user, item = np.nonzero(rng.random(truth.shape) < 0.5)
    given = truth[user, item] + rng.normal(0, 0.1, len(user))
    return Interactions(user, item, np.zeros(len(user)), given, n_users, n_items), truth


WIDE = RatingSettings(factors=4, iterations=60, lowest=-10, highest=10)


def test_known_ratings_are_found_again() -> None:
    """Predicted ratings would be noise."""
    ratings, truth = made(1)
    model = BiasedFactors.fit(ratings, WIDE)
    error = [model.predict(u, i).value - truth[u, i] for u in range(60) for i in range(40)]
    assert np.sqrt(np.mean(np.square(error))) < 0.15


def test_the_parts_add_up() -> None:
    """The shown reasons for a rating would not explain it."""
    model = BiasedFactors.fit(made(1)[0], WIDE)
    rating = model.predict(3, 4)
    assert rating.value == pytest.approx(sum(rating[1:]))
    assert rating.mean == model.mean


def test_strangers_get_what_is_known() -> None:
    """A new shopper or a new product would be an error, or a made-up taste."""
    model = BiasedFactors.fit(made(1)[0], WIDE)
    assert model.predict(None, None).value == pytest.approx(model.mean)
    assert model.predict(None, 4).value == pytest.approx(model.mean + float(model.items[4, -1]))
    assert model.predict(3, None).interaction == 0


def test_a_user_without_ratings_is_a_stranger() -> None:
    """Whoever rated nothing would be shown the random start of the fit as a taste."""
    ratings, _ = made(1)
    wider = Interactions(ratings.user, ratings.item, ratings.time_s, ratings.weight, 61, 40)
    model = BiasedFactors.fit(wider, WIDE)
    assert not model.users[60].any()


def test_fold_in_comes_close_to_training() -> None:
    """A rating given a minute ago would change nothing, or change it wrongly."""
    ratings, truth = made(1)
    model = BiasedFactors.fit(ratings, WIDE)
    mine = ratings.where(ratings.user == 7)
    folded = model.fold_in(mine.item, mine.weight)
    values = [model.predict_for(folded, item).value for item in range(40)]
    assert np.sqrt(np.mean((values - truth[7]) ** 2)) < 0.2


def test_predictions_stay_on_the_scale() -> None:
    """A page would show 5.7 of 5 stars."""
    ratings = Interactions(np.arange(4), np.zeros(4, int), np.zeros(4), np.full(4, 9.0), 4, 1)
    model = BiasedFactors.fit(ratings)
    assert model.predict(0, 0).value == 5
    assert model.predict_many(np.array([0]), np.array([0])).tolist() == [5]


def test_repeated_ratings_count_as_their_mean() -> None:
    """Whoever changes a rating often would weigh more than others."""
    once = Interactions(
        np.array([0, 1, 1]), np.array([0, 0, 1]), np.zeros(3), np.array([3.0, 2, 4]), 2, 2
    )
    twice = Interactions(
        np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]), np.zeros(4), np.array([2.0, 4, 2, 4]), 2, 2
    )
    one, two = BiasedFactors.fit(once), BiasedFactors.fit(twice)
    assert one.predict(0, 1).value == pytest.approx(two.predict(0, 1).value)


def test_no_rating_gives_the_middle() -> None:
    """A new shop would have no ratings service at all."""
    nothing = np.zeros(0)
    model = BiasedFactors.fit(
        Interactions(nothing.astype(int), nothing.astype(int), nothing, nothing, 2, 2)
    )
    assert model.predict(0, 1).value == 3

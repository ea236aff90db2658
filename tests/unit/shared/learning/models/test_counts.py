"""Popularity, trending and repeat purchase, worked out on paper."""

import numpy as np
import pytest

from shared.contracts.errors import Invalid
from shared.learning.features.history import History
from shared.learning.features.interactions import Interactions
from shared.learning.models.item_knn import ItemKnn, ItemKnnSettings
from shared.learning.models.popularity import Popularity, Trending
from shared.learning.models.pure_svd import PureSvd
from shared.learning.models.repeat import RepeatPurchase, RepeatSettings

DAY = 86_400.0


def table(*rows: tuple[int, int, float, float], n_items: int = 3) -> Interactions:
    columns = np.array(rows, dtype=float).reshape(-1, 4).T
    user, item = columns[0].astype(int), columns[1].astype(int)
    return Interactions(user, item, columns[2], columns[3], 5, n_items)


def test_popularity_halves_with_age_and_leaves_dislikes_out() -> None:
    """Last year's hit would lead the list for ever."""
    events = table((0, 0, 0, 4), (1, 1, 100, 3), (2, 1, 100, -9))
    model = Popularity.fit(events, now_s=100, half_life_s=50)
    assert model.item_scores.tolist() == [1, 3, 0]


def test_trending_compares_with_the_expected_rate() -> None:
    """A steady best-seller would always look like a trend, and a real one never."""
    steady = [(0, 0, float(t), 1.0) for t in range(10, 110)]
    rising = [(0, 1, 109.5, 1.0)] * 8
    model = Trending.fit(table(*steady, *rising), now_s=110, window_s=10, before_s=90)
    # Item 0: 9 seen (101 … 109), 90 before = 10 expected. Item 1: 8 seen, 0 expected, prior 1.
    assert model.item_scores[1] == 8
    assert model.item_scores[0] == pytest.approx(-1 / np.sqrt(11))
    assert model.item_scores[2] == 0


def test_trending_refuses_an_empty_window() -> None:
    """A division by zero would end the nightly job without a reason."""
    with pytest.raises(Invalid):
        Trending.fit(table(), now_s=0, window_s=0)


def test_repeat_counts_frequency_by_half_life() -> None:
    """The weekly milk would rank below something bought once yesterday."""
    settings = RepeatSettings(half_life_s=10 * DAY, timing=0)
    model = RepeatPurchase.fit(table(), settings)
    bought = History.of([(0, 1, 0), (0, 1, 10 * DAY), (1, 1, 20 * DAY)])
    assert model.scores(bought, now_s=20 * DAY) == pytest.approx([0.75, 1, 0])
    assert model.contributions(bought, 0, now_s=20 * DAY)[1] == pytest.approx([0.25, 0.5, 0])


def test_repeat_waits_until_an_item_is_due() -> None:
    """A shopper would be offered the washing powder bought an hour ago."""
    events = table(*[(u, 0, t * DAY, 1) for u in range(5) for t in (0, 10, 20, 30)])
    model = RepeatPurchase.fit(events, RepeatSettings(half_life_s=1e9, timing=1))
    bought = History.of([(0, 1, 0)])
    soon, later = (model.scores(bought, now_s=t * DAY)[0] for t in (1, 10))
    assert later == pytest.approx(1 - np.exp(-1), abs=0.01)
    assert soon < later / 5
    assert model.due_in_s(bought, 0, now_s=4 * DAY) == pytest.approx(6 * DAY, rel=0.01)
    assert model.due_in_s(bought, 1, now_s=0) == float("inf")


def test_lines_of_one_basket_are_no_return() -> None:
    """Two packs on one receipt would make an item look needed every second."""
    model = RepeatPurchase.fit(table((0, 0, 5, 1), (0, 0, 5, 1)))
    assert model.gaps_s[0] == pytest.approx(30 * DAY)


def test_item_knn_is_the_shrunk_cosine() -> None:
    """The baseline that every other model is compared with would be wrong."""
    events = table((0, 0, 0, 1), (0, 1, 1, 1), (1, 0, 0, 1), (2, 2, 0, 1))
    model = ItemKnn.fit(events, ItemKnnSettings(shrinkage=1, neighbours=2))
    # One common user of 2 and 1: cosine 1/sqrt(2), shrunk by 1/(1+1).
    expected = np.zeros((3, 3))
    expected[0, 1] = expected[1, 0] = 0.5 / np.sqrt(2)
    assert model.weights.scipy().toarray() == pytest.approx(expected)


def test_pure_svd_projects_on_the_leading_directions() -> None:
    """The factors would be some subspace, not the best one."""
    rows = [(u, i, 0, 1) for u in range(3) for i in (0, 1)] + [(3, 2, 0, 1)]
    model = PureSvd.fit(table(*rows), rank=1)
    # The strongest direction is items 0 and 1 together.
    assert model.scores(History.of([(0, 1, 0)])) == pytest.approx([0.5, 0.5, 0], abs=1e-5)


def test_pure_svd_finds_the_subspace_of_an_exact_decomposition() -> None:
    """The random start would show in the lists of a shop whose directions are close together."""
    rng = np.random.default_rng(4)
    pairs = {
        (int(u), int(i))
        for u, i in zip(rng.integers(0, 40, 300), rng.integers(0, 20, 300), strict=True)
    }
    users, items = np.array(sorted(pairs)).T
    events = Interactions(users, items, np.zeros(len(users)), np.ones(len(users)), 40, 20)
    dense = np.zeros((40, 20))
    dense[users, items] = 1
    exact = np.linalg.svd(dense)[2][:5].T
    found = PureSvd.fit(events, rank=5).item_factors
    assert found @ found.T == pytest.approx(exact @ exact.T, abs=1e-2)
    assert found.T @ found == pytest.approx(np.eye(5), abs=1e-5)


def test_pure_svd_of_no_users_has_no_directions() -> None:
    """A job on an empty lake would end in a message of a library."""
    nothing = np.zeros(0, dtype=int)
    model = PureSvd.fit(Interactions(nothing, nothing, nothing, nothing, 0, 3))
    assert model.scores(History.of([(0, 1, 0)])).tolist() == [0, 0, 0]

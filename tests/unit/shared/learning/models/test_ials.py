"""iALS: the solver, fold-in and what it learns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.learning.features.history import History
from shared.learning.features.interactions import Interactions
from shared.learning.models.ials import Ials, IalsSettings, _blocks, _few, _many


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 1000))
def test_both_ways_to_solve_agree(n: int, d: int, seed: int) -> None:
    """Users with short and with long histories would be scored by different models."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(3, n, d)).astype(np.float32)
    weights = rng.uniform(0.5, 2, (3, n)).astype(np.float32)
    present = rng.random((3, n)) < 0.8
    factors *= present[..., None]
    ridge = rng.uniform(0.5, 1, (3, d)).astype(np.float32)
    few, many = (solve(factors, weights, present, ridge) for solve in (_few, _many))
    assert few == pytest.approx(many, abs=1e-3)


@given(st.lists(st.integers(0, 50), max_size=40))
def test_blocks_hold_every_row_with_events_once(lengths: list[int]) -> None:
    """Some shoppers or items would never be learnt."""
    blocks = list(_blocks(np.array(lengths, dtype=int), 8))
    rows = sorted(row for block in blocks for row in block.tolist())
    assert rows == [row for row, length in enumerate(lengths) if length]


def test_fold_in_by_hand() -> None:
    """A live history would be read differently from the training events."""
    settings = IalsSettings(
        factors=1, unobserved=0.5, regularisation=0.1, frequency_exponent=1, recency=1
    )
    model = Ials(np.array([[1.0], [2.0]], dtype=np.float32), settings, weight_scale=2.0)
    # Confidence 4/2 = 2 in item 1: left = .5*(1+4) + 2*4 + .1*(1 + .5*2) = 10.7; right = 2*2.
    assert model.fold_in(History.of([(1, 4.0, 0.0)])) == pytest.approx([4 / 10.7])


def test_two_groups_are_told_apart() -> None:
    """Shoppers would be recommended what only strangers to their taste like."""
    rows = [np.array([0, 1, 2])] * 10 + [np.array([3, 4, 5])] * 10 + [np.array([0, 1])]
    settings = IalsSettings(factors=2, iterations=10, unobserved=0.1, regularisation=0.01)
    model = Ials.fit(Interactions.of_sequences(rows, 6), settings)
    scores = model.scores(History.sequence(np.array([0, 1])))
    assert scores[2] > 5 * np.abs(scores[3:]).max()


def test_workers_do_not_change_the_model() -> None:
    """A release made on another machine could not be compared with this one."""
    rng = np.random.default_rng(0)
    data = Interactions.of_sequences([rng.integers(0, 50, 9) for _ in range(80)], 50)
    one, three = (Ials.fit(data, IalsSettings(factors=4), workers=n) for n in (1, 3))
    assert np.array_equal(one.item_factors, three.item_factors)


def test_a_dislike_is_not_folded_in_as_a_wish() -> None:
    """Hiding an item would bring more of its kind."""
    model = Ials(np.eye(2, dtype=np.float32), IalsSettings(factors=2), weight_scale=1.0)
    assert model.fold_in(History.of([(0, -5.0, 0.0)])).tolist() == [0, 0]

"""The ordered local ridge-SLIM against worked-out values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.errors import Invalid
from shared.learning.features.history import History
from shared.learning.features.interactions import Interactions
from shared.learning.models.slim import LocalSlim, SlimSettings, transitions

sequences = st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=6), min_size=1, max_size=8)


def of(rows: list[list[int]], n_items: int = 7) -> Interactions:
    return Interactions.of_sequences([np.array(row) for row in rows], n_items)


def dense(model: LocalSlim) -> np.ndarray:
    return model.weights.scipy().toarray()


def test_two_items_by_hand() -> None:
    """Every weight of the product's main model would be off."""
    # Both had by 3 users, one more had item 0 alone: w = G01 / (G00 + ridge) = 3 / (4 + 2).
    model = LocalSlim.fit(
        of([[0, 1], [0, 1], [1, 0], [0]], 2), SlimSettings(neighbours=1, ridge=2.0, order=0)
    )
    assert dense(model) == pytest.approx(np.array([[0, 3 / 6], [3 / 5, 0]]))


def test_the_next_item_by_hand() -> None:
    """The order of events would teach nothing, and 'what comes next' would be lost."""
    # Always 0, then 1: the past of 1 is item 0 with strength 1, twice; w = 2 / (2 + ridge).
    model = LocalSlim.fit(of([[0, 1], [0, 1]], 2), SlimSettings(neighbours=1, ridge=2.0, order=1))
    assert dense(model) == pytest.approx(np.array([[0, 0.5], [0, 0]]))


def test_a_baskets_items_share_one_age() -> None:
    """The order of lines on a receipt would be taken for a shopper's intention."""
    basket = Interactions(
        np.zeros(4, int), np.arange(4), np.array([1.0, 1, 1, 2]), np.ones(4), 1, 4
    )
    past, following = transitions(basket, window=3, recency=0.5)
    last = past.toarray()[following.toarray()[:, 3] == 1]
    assert last.tolist() == [[1, 1, 1, 0]]


def test_recency_weights_the_history() -> None:
    """Last month's browsing would count as much as this minute's."""
    model = LocalSlim.fit(of([[0, 2], [1, 2]], 3), SlimSettings(neighbours=2, order=0, recency=0.5))
    newest, older = (
        model.contributions(History.sequence(np.array(order)), 2)[1] for order in ([1, 0], [0, 1])
    )
    assert newest[1] == pytest.approx(2 * older[0])


@given(sequences, st.sampled_from([0.0, 0.4, 1.0]))
def test_all_neighbours_at_once_equals_item_by_item(rows: list[list[int]], order: float) -> None:
    """A small shop's model would differ from a large one's on the same events."""
    # Two users with everything, so that each item has all others as neighbours.
    data = of([*rows, [*range(7)], [*range(6, -1, -1)]])
    settings = SlimSettings(neighbours=6, ridge=3.0, order=order, window=6)
    at_once = dense(LocalSlim.fit(data, settings))
    # An item that nobody touches makes 8 items, so that 6 neighbours are no longer all of them.
    wider = Interactions(data.user, data.item, data.time_s, data.weight, data.n_users, 8)
    by_item = dense(LocalSlim.fit(wider, settings))[:7, :7]
    assert at_once == pytest.approx(by_item, abs=1e-4)


@given(sequences, st.permutations(range(7)))
def test_numbering_does_not_matter(rows: list[list[int]], numbering: list[int]) -> None:
    """Scores would depend on the order in which a catalog was loaded."""
    settings = SlimSettings(neighbours=6, ridge=3.0)
    there = dense(LocalSlim.fit(of(rows), settings))
    renamed = [[numbering[item] for item in row] for row in rows]
    back = dense(LocalSlim.fit(of(renamed), settings))[np.ix_(numbering, numbering)]
    assert back == pytest.approx(there, abs=1e-4)


@given(sequences)
def test_no_item_predicts_itself(rows: list[list[int]]) -> None:
    """Lists would repeat what the shopper is looking at."""
    assert not np.diag(dense(LocalSlim.fit(of(rows), SlimSettings(neighbours=3)))).any()


def test_workers_do_not_change_the_model() -> None:
    """A release made on another machine could not be compared with this one."""
    rng = np.random.default_rng(0)
    data = Interactions.of_sequences([rng.integers(0, 700, 9) for _ in range(300)], 700)
    one, three = (LocalSlim.fit(data, SlimSettings(neighbours=5), workers=n) for n in (1, 3))
    assert np.array_equal(one.weights.values, three.weights.values)


def test_related_items_are_positive_and_not_the_item_itself() -> None:
    """A product page would advertise the product itself, or something disliked beside it."""
    model = LocalSlim.fit(of([[0, 1], [0, 1], [2, 3]], 4), SlimSettings(neighbours=3))
    assert model.related(0, 3).items.tolist() == [1]


@pytest.mark.parametrize("wrong", [{"ridge": 0}, {"order": 1.5}, {"recency": 0}, {"neighbours": 0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    """A wrong setting would show up only as strange lists."""
    with pytest.raises(Invalid):
        SlimSettings(**wrong)

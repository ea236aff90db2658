"""Events as columns and as one shopper's history."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.errors import Invalid
from shared.learning.features.history import History
from shared.learning.features.interactions import Interactions

events = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 8), st.integers(-3, 3)),
    max_size=30,
)


def table(rows: list[tuple[int, int, int, int]]) -> Interactions:
    columns = np.array(rows, dtype=float).reshape(-1, 4).T
    return Interactions(
        columns[0].astype(int), columns[1].astype(int), columns[2], columns[3], 4, 6
    )


def live(rows: list[tuple[int, int, int, int]], user: int) -> History:
    return History.of([(i, float(w), float(t)) for u, i, t, w in rows if u == user])


@given(events, st.integers(1, 10))
def test_batch_equals_stream(rows: list[tuple[int, int, int, int]], cap: int) -> None:
    """Models would be served other histories than those that they learnt from."""
    kept = table(rows).newest(cap)
    ranks = kept.time_rank()
    for user in range(4):
        history = live(rows, user).newest(cap)
        mine = kept.user == user
        assert kept.item[mine].tolist() == history.items.tolist()
        assert kept.weight[mine].tolist() == history.weights.tolist()
        rank = ranks[mine]
        assert (rank.max(initial=0) - rank).tolist() == history.age_rank.tolist()


@given(events)
def test_distinct_keeps_each_item_once_at_its_newest(rows: list[tuple[int, int, int, int]]) -> None:
    """An item viewed again and again would push everything else out of the history."""
    history = live([(0, *row[1:]) for row in rows], 0)
    once = history.distinct()
    assert sorted(once.items.tolist()) == sorted(set(history.items.tolist()))
    for item, time in zip(once.items.tolist(), once.times_s.tolist(), strict=True):
        assert time == history.times_s[history.items == item].max()


def test_distinct_by_hand() -> None:
    """A purchase would be forgotten after a view, or a dislike undone by an older purchase."""
    history = History.of([(1, 5, 1), (2, 5, 2), (1, 1, 3), (2, -5, 4), (3, -5, 5), (3, 1, 6)])
    once = history.distinct()
    assert once.items.tolist() == [1, 2, 3]
    assert once.weights.tolist() == [5, -5, 1]
    assert once.age_rank.tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"user": np.array([4])},
        {"item": np.array([-1])},
        {"weight": np.array([np.nan])},
        {"time_s": np.array([np.inf])},
        {"item": np.array([0, 1])},
    ],
)
def test_impossible_events_are_refused(wrong: dict[str, np.ndarray]) -> None:
    """A damaged row of the history would train a model of nonsense."""
    right = {"user": np.array([0]), "item": np.array([0])}
    right |= {"time_s": np.array([0.0]), "weight": np.array([1.0])}
    with pytest.raises(Invalid):
        Interactions(**{**right, **wrong}, n_users=4, n_items=6)

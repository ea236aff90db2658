from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.recommender.core.rerank import reranked

CANDIDATES = st.lists(
    st.tuples(st.floats(0, 1, width=32), st.integers(0, 4)), min_size=0, max_size=40
)


def test_caps_on_paper() -> None:
    """One category would fill the list, or a full one would leave it short."""
    scores = np.array([1.0, 0.9, 0.8, 0.7, 0.6])
    categories = np.array([1, 1, 1, 2, 0])
    assert reranked(scores, categories, 4, cap=2) == [0, 1, 3, 4]
    assert reranked(scores, categories, 5, cap=2) == [0, 1, 3, 4, 2]


def test_diversity_on_paper() -> None:
    """Twins would stand beside each other: 0.9 * 0.8 - 0.1 * 1 < 0.9 * 0.75."""
    scores = np.array([1.0, 0.8, 0.75])
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    categories = np.zeros(3, dtype=np.int64)
    chosen = reranked(scores, categories, 3, cap=3, diversity=0.1, vectors=vectors)
    assert chosen == [0, 2, 1]
    assert reranked(scores, categories, 3, cap=3) == [0, 1, 2]


@given(CANDIDATES, st.integers(1, 12), st.integers(1, 5), st.floats(0, 1))
def test_caps_hold_while_others_are_left(
    candidates: list[tuple[float, int]], k: int, cap: int, diversity: float
) -> None:
    """A list would be all of one kind although there was a choice."""
    scores = np.array([score for score, _ in candidates], dtype=np.float32)
    categories = np.array([category for _, category in candidates], dtype=np.int64)
    vectors = (
        np.eye(5, dtype=np.float32)[categories] if candidates else np.zeros((0, 5), np.float32)
    )
    chosen = reranked(scores, categories, k, cap=cap, diversity=diversity, vectors=vectors)
    assert len(chosen) == len(set(chosen)) == min(k, len(candidates))
    taken = Counter(int(c) for c in categories[chosen] if c)
    left = set(range(len(candidates))) - set(chosen)
    room = [p for p in left if categories[p] == 0 or taken[int(categories[p])] < cap]
    if room:
        assert max(taken.values(), default=0) <= cap


@given(CANDIDATES, st.integers(1, 12))
def test_without_caps_and_diversity_the_order_is_by_score(
    candidates: list[tuple[float, int]], k: int
) -> None:
    """A better item would stand below a worse one for no reason."""
    scores = np.array([score for score, _ in candidates], dtype=np.float32)
    chosen = reranked(scores, np.zeros(len(scores), dtype=np.int64), k, cap=1)
    assert scores[chosen].tolist() == sorted(scores.tolist(), reverse=True)[:k]

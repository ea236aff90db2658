"""Ids, sparse rows and ranking."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.errors import Invalid
from shared.learning.arrays import ragged_range
from shared.learning.models.csr import Csr
from shared.learning.models.ids import IdIndex
from shared.learning.models.ranking import top
from shared.learning.sparse import sparse

no_surrogates = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@given(st.lists(no_surrogates, unique=True))
def test_ids_survive_packing(names: list[str]) -> None:
    """Ids with emoji or of no length would name other products after a release."""
    index = IdIndex(names)
    again = IdIndex.unpack(*index.pack())
    assert again == index
    assert [again.get(name) for name in names] == list(range(len(names)))


def test_unknown_ids_are_none_and_drop_out() -> None:
    """A product made after the release would break the request."""
    index = IdIndex(["a", "b"])
    assert index.get("c") is None
    assert index.numbers(["b", "c", "a"]).tolist() == [1, 0]
    assert (index.name(1), "a" in index, len(index)) == ("b", True, 2)


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ([0, 2], b"a"),
        ([], b""),
        ([1, 1], b"a"),
        ([0, 2, 1, 3], b"abc"),
        ([0, 1], b"\xff"),
        ([0, 1, 2], b"aa"),
    ],
)
def test_damaged_ids_are_refused(bounds: list[int], text: bytes) -> None:
    """A damaged release would be served with shifted names."""
    with pytest.raises(Invalid):
        IdIndex.unpack(np.array(bounds, dtype=int), text)


@pytest.mark.parametrize(
    ("indptr", "indices"),
    [([0, 1], [2]), ([0, 1], [-1]), ([0, 2], [0]), ([1, 1], []), ([0, 2, 1], [0])],
)
def test_damaged_rows_are_refused(indptr: list[int], indices: list[int]) -> None:
    """A damaged release would read memory that is not its own, or crash in a request."""
    with pytest.raises(Invalid):
        Csr(np.array(indptr), np.array(indices, dtype=int), np.ones(len(indices)), 2)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 4)), max_size=6))
def test_ragged_range_is_the_ranges_one_after_the_other(spans: list[tuple[int, int]]) -> None:
    """Scores would be summed over the neighbours of other items."""
    starts, lengths = (np.array([s[k] for s in spans], dtype=int) for k in (0, 1))
    expected = [place for start, n in spans for place in range(start, start + n)]
    assert ragged_range(starts, lengths).tolist() == expected


@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=20), st.integers(0, 25), st.data())
def test_top_is_the_head_of_a_stable_sort(scores: list[float], k: int, data: st.DataObject) -> None:
    """Lists would miss their best items, or change between two equal requests."""
    exclude = data.draw(st.lists(st.integers(0, len(scores) - 1)))
    ranked = top(np.array(scores), k, np.array(exclude, dtype=int))
    allowed = [n for n in range(len(scores)) if n not in exclude]
    assert ranked.items.tolist() == sorted(allowed, key=lambda n: (-scores[n], n))[:k]
    assert ranked.scores.tolist() == [scores[n] for n in ranked.items.tolist()]


def test_csr_sums_rows_and_reads_columns() -> None:
    """Every item-item score would be wrong."""
    matrix = Csr(np.array([0, 2, 2, 3]), np.array([0, 2, 1]), np.array([1.0, 2, 3]), 3)
    assert matrix.weighted_rows(np.array([0, 2]), np.array([10.0, 1])).tolist() == [10, 3, 20]
    assert matrix.column(np.array([0, 1, 2]), 2).tolist() == [2, 0, 0]


@given(st.integers(1, 40), st.floats(0, 1), st.integers(0, 9), st.data())
def test_rows_are_added_alike_however_full_they_are(
    n: int, fullness: float, seed: int, data: st.DataObject
) -> None:
    """The shop's best sellers, whose rows are kept in another form, would be scored wrongly."""
    rng = np.random.default_rng(seed)
    # From empty to full, on both sides of where a row changes its form.
    present = rng.random((n, n)) < np.linspace(0, fullness, n)[:, None]
    table = np.where(present, rng.normal(size=(n, n)), 0).astype(np.float32)
    rows = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=9)), dtype=np.int32)
    weights = rng.normal(size=len(rows))
    sums = Csr.of(sparse(table)).weighted_rows(rows, weights)
    assert sums.dtype == np.float32
    assert sums == pytest.approx(weights @ table[rows], abs=1e-5)

"""The rating matrix of the worked example, by singular value decomposition."""

import numpy as np
import pytest

from shared.contracts.errors import Invalid
from shared.learning.features.interactions import Interactions
from shared.learning.models.filled_svd import FilledSvd, filled

EXAMPLE = np.array(
    [[4, 3, 2, 1, 5], [5, 4, 5, 4, 3], [3, 2, 1, 3, 2], [4, 2, 3, 2, 4], [3, 5, 4, 5, 3]]
)


def table(matrix: np.ndarray) -> Interactions:
    """All entries but NaN, as ratings."""
    user, item = np.nonzero(~np.isnan(matrix.astype(float)))
    ratings = matrix[user, item].astype(float)
    return Interactions(user, item, np.zeros(len(user)), ratings, *matrix.shape)


def test_full_rank_rebuilds_the_matrix() -> None:
    """A predicted rating would differ from the rating that was given."""
    assert FilledSvd.fit(table(EXAMPLE), rank=5).matrix() == pytest.approx(EXAMPLE)


def test_rank_three_of_the_example() -> None:
    """The documented example would not come out of the product."""
    model = FilledSvd.fit(table(EXAMPLE), rank=3)
    # The squares of the singular values are the eigenvalues of AᵀA; rank 3 loses the last two.
    lost = np.linalg.eigvalsh(EXAMPLE.T @ EXAMPLE)[:2].sum()
    assert ((model.matrix() - EXAMPLE) ** 2).sum() == pytest.approx(lost)
    assert np.linalg.matrix_rank(model.matrix()) == 3
    assert model.predict(0, 4) == pytest.approx(model.users[0] @ model.items[4])


def test_a_rank_one_matrix_by_hand() -> None:
    """Users and items would be multiplied in the wrong pairing."""
    matrix = np.outer([1, 2], [2, 1, 1])
    model = FilledSvd.fit(table(matrix), rank=1)
    assert model.matrix() == pytest.approx(matrix)
    assert model.predict(1, 0) == pytest.approx(4)


def test_no_matrix_of_rank_three_is_closer() -> None:
    """Predictions would be worse than the factors allow (Eckart and Young)."""
    best = ((FilledSvd.fit(table(EXAMPLE), rank=3).matrix() - EXAMPLE) ** 2).sum()
    rng = np.random.default_rng(0)
    for _ in range(50):
        basis, _ = np.linalg.qr(rng.normal(size=(5, 3)))
        assert ((basis @ (basis.T @ EXAMPLE) - EXAMPLE) ** 2).sum() >= best - 1e-9


def test_gaps_take_the_items_mean() -> None:
    """An unrated item would count as hated."""
    nan = np.nan
    matrix = np.array([[4.0, nan, nan], [2, 5, nan], [nan, 1, nan]])
    overall = 3.0
    assert filled(table(matrix)) == pytest.approx(
        np.array([[4, 3, overall], [2, 5, overall], [3, 1, overall]])
    )


def test_centring_keeps_the_full_rank_exact() -> None:
    """Asking for centring would shift every prediction."""
    assert FilledSvd.fit(table(EXAMPLE), rank=5, centre=True).matrix() == pytest.approx(EXAMPLE)


@pytest.mark.parametrize("rank", [0, 6])
def test_an_impossible_rank_is_refused(rank: int) -> None:
    """The job would fail in the middle with a message about arrays."""
    with pytest.raises(Invalid, match="rank"):
        FilledSvd.fit(table(EXAMPLE), rank=rank)

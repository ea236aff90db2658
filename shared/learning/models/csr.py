"""Sparse item-item weights in plain numpy arrays."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from shared.contracts.errors import Invalid
from shared.learning.arrays import Floats, Ints, ragged_range
from shared.learning.sparse import Sparse

_NEARLY_FULL = 1 / 8
"""Share of the columns from which on a row is added up faster with its zeros than without."""


@dataclass(frozen=True)
class Csr:
    """Compressed sparse rows; within a row the columns rise.

    Parameters
    ----------
    indptr : (n_rows + 1,) int64
    indices : (nnz,) int32
    values : (nnz,) float32
    n_columns : int

    Raises
    ------
    Invalid
        The arrays do not describe a matrix (so that a damaged artifact cannot read elsewhere).
    """

    indptr: Ints
    indices: Ints
    values: Floats
    n_columns: int

    def __post_init__(self) -> None:
        ends = self.indptr
        if ends.ndim != 1 or len(ends) == 0 or ends[0] != 0 or np.any(np.diff(ends) < 0):
            raise Invalid("indptr must rise from 0")
        if not ends[-1] == len(self.indices) == len(self.values):
            raise Invalid("indptr, indices and values do not fit")
        if len(self.indices) and not (
            0 <= self.indices.min() <= self.indices.max() < self.n_columns
        ):
            raise Invalid(f"columns must lie in 0 … {self.n_columns - 1}")

    @classmethod
    def of(cls, matrix: Sparse) -> Self:
        """Take over a scipy CSR matrix, without its explicit zeros."""
        matrix = matrix.tocsr()
        matrix.eliminate_zeros()
        matrix.sort_indices()
        return cls(
            matrix.indptr.astype(np.int64),
            matrix.indices.astype(np.int32),
            matrix.data.astype(np.float32),
            matrix.shape[1],
        )

    def scipy(self) -> Sparse:
        """Return the scipy CSR matrix (training and evaluation only)."""
        from scipy.sparse import csr_matrix

        shape = (len(self.indptr) - 1, self.n_columns)
        return csr_matrix((self.values, self.indices, self.indptr), shape=shape)

    def weighted_rows(self, rows: Ints, weights: Floats) -> Floats:
        """Return ``weights @ matrix[rows]`` as a dense (n_columns,) float32 vector."""
        place, dense = self._nearly_full
        at = place[rows]
        full = at >= 0
        total = weights[full].astype(np.float32) @ dense[at[full]]
        if not full.all():
            total += self._sparse_rows(rows[~full], weights[~full])
        return np.asarray(total)

    def _sparse_rows(self, rows: Ints, weights: Floats) -> Floats:
        starts, ends = self.indptr[rows], self.indptr[rows + 1]
        # Copying whole rows is several times faster than picking their entries by number.
        spans = [slice(a, b) for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
        parts = np.concatenate([self.values[span] for span in spans])
        parts *= np.repeat(weights.astype(np.float32), ends - starts)
        columns = np.concatenate([self.indices[span] for span in spans])
        total = np.bincount(columns, weights=parts, minlength=self.n_columns)
        return total.astype(np.float32)

    @cached_property
    def _nearly_full(self) -> tuple[Ints, Floats]:
        """Return each row's place in a dense matrix of some, -1 where it is not in it; and that.

        What everybody buys goes with nearly everything: a few rows hold most of what is added up.
        """
        lengths = np.diff(self.indptr)
        rows = np.flatnonzero((lengths > 0) & (lengths >= _NEARLY_FULL * self.n_columns))
        place = np.full(len(lengths), -1)
        place[rows] = np.arange(len(rows))
        entries = ragged_range(self.indptr[rows], lengths[rows])
        dense = np.zeros((len(rows), self.n_columns), dtype=np.float32)
        dense[np.repeat(place[rows], lengths[rows]), self.indices[entries]] = self.values[entries]
        return place, dense

    def column(self, rows: Ints, column: int) -> Floats:
        """Return ``matrix[rows, column]``, one value a row."""
        out = np.zeros(len(rows), dtype=np.float32)
        for place, row in enumerate(rows.tolist()):
            start, end = self.indptr[row], self.indptr[row + 1]
            at = start + np.searchsorted(self.indices[start:end], column)
            if at < end and self.indices[at] == column:
                out[place] = self.values[at]
        return out

"""Sparse item-item weights in plain numpy arrays."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from shared.contracts.errors import Invalid
from shared.learning.arrays import Floats, Ints, ragged_range
from shared.learning.sparse import Sparse


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
        starts = self.indptr[rows]
        lengths = self.indptr[rows + 1] - starts
        places = ragged_range(starts, lengths)
        parts = self.values[places] * np.repeat(weights, lengths)
        total = np.bincount(self.indices[places], weights=parts, minlength=self.n_columns)
        return total.astype(np.float32)

    def column(self, rows: Ints, column: int) -> Floats:
        """Return ``matrix[rows, column]``, one value a row."""
        out = np.zeros(len(rows), dtype=np.float32)
        for place, row in enumerate(rows.tolist()):
            start, end = self.indptr[row], self.indptr[row + 1]
            at = start + np.searchsorted(self.indices[start:end], column)
            if at < end and self.indices[at] == column:
                out[place] = self.values[at]
        return out

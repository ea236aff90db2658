"""scipy.sparse behind one door: used in training and evaluation only, imported when called."""

from typing import Any

import numpy as np

from shared.learning.arrays import Floats, Ints

Sparse = Any
"""A scipy CSR matrix; scipy has no types."""


def csr(rows: Ints, columns: Ints, values: Floats, shape: tuple[int, int]) -> Sparse:
    """Return the float32 CSR matrix of these entries; entries at one place are added."""
    from scipy.sparse import csr_matrix

    matrix = csr_matrix((values.astype(np.float32), (rows, columns)), shape=shape)
    matrix.sum_duplicates()
    return matrix


def gram(left: Sparse, right: Sparse) -> Sparse:
    """Return ``left.T @ right``, its columns in no order within a row."""
    return left.T.tocsr() @ right


def entry_rows(matrix: Sparse) -> Ints:
    """Return the row of every stored entry, in storage order."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def column_norms(matrix: Sparse) -> Floats:
    """Return the Euclidean length of every column."""
    return np.asarray(np.sqrt(matrix.multiply(matrix).sum(axis=0))).ravel()


def cosine(products: Sparse, rows: Floats, columns: Floats) -> Sparse:
    """Divide inner products by the lengths of their two vectors; a zero length gives zero."""
    across, down = (np.float32(1) / np.maximum(n, 1e-6).astype(np.float32) for n in (rows, columns))
    scaled = products.copy()
    scaled.data *= np.repeat(across, np.diff(products.indptr))
    scaled.data *= down[products.indices]
    return scaled


def hollow(matrix: Sparse) -> Sparse:
    """Take the diagonal out of the matrix itself and return it, its columns rising within a row."""
    matrix.data[entry_rows(matrix) == matrix.indices] = 0
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def strongest(matrix: Sparse, count: int) -> Sparse:
    """Return the matrix with the `count` largest entries of each row."""
    from scipy.sparse import csr_matrix

    kept = np.ones(matrix.nnz, dtype=bool)
    for row in np.flatnonzero(np.diff(matrix.indptr) > count):
        start, end = matrix.indptr[row], matrix.indptr[row + 1]
        surplus = end - start - count
        kept[start + np.argpartition(matrix.data[start:end], surplus)[:surplus]] = False
    indptr = np.r_[0, np.cumsum(kept)][matrix.indptr]
    return csr_matrix((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)


def columns_of(matrix: Sparse, width: int) -> Ints:
    """Return (n_rows, width) columns of the stored entries, in storage order; -1 fills up."""
    rows = entry_rows(matrix)
    columns = np.full((matrix.shape[0], width), -1, dtype=np.int32)
    columns[rows, np.arange(matrix.nnz) - matrix.indptr[rows]] = matrix.indices
    return columns


def sparse(matrix: Floats) -> Sparse:
    """Return a dense matrix as float32 CSR."""
    from scipy.sparse import csr_matrix

    return csr_matrix(matrix.astype(np.float32))


def picked(matrix: Sparse, rows: Ints, columns: Ints) -> Floats:
    """Return the entries at these places; scipy refuses to pick none."""
    if len(rows) == 0:
        return np.zeros(0, dtype=np.float32)
    return np.asarray(matrix[rows, columns]).ravel()

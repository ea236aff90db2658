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


def diagonal(values: Floats) -> Sparse:
    """Return the diagonal matrix of `values`."""
    from scipy.sparse import diags

    return diags(values.astype(np.float32), format="csr")


def entry_rows(matrix: Sparse) -> Ints:
    """Return the row of every stored entry, in storage order."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def column_norms(matrix: Sparse) -> Floats:
    """Return the Euclidean length of every column."""
    return np.asarray(np.sqrt(matrix.multiply(matrix).sum(axis=0))).ravel()


def cosine(products: Sparse, rows: Floats, columns: Floats) -> Sparse:
    """Divide inner products by the lengths of their two vectors; a zero length gives zero."""
    scaled = diagonal(1 / np.maximum(rows, 1e-6)) @ products
    return (scaled @ diagonal(1 / np.maximum(columns, 1e-6))).tocsr()


def hollow(matrix: Sparse) -> Sparse:
    """Return the matrix without its diagonal, its columns rising within a row."""
    rest = matrix.tocsr(copy=True)
    rest.data[entry_rows(rest) == rest.indices] = 0
    rest.eliminate_zeros()
    rest.sort_indices()
    return rest


def largest_in_rows(matrix: Sparse, count: int) -> Ints:
    """Return (n_rows, count) columns of the largest entries, rising; -1 fills up short rows."""
    chosen = np.full((matrix.shape[0], count), -1, dtype=np.int32)
    for row in range(matrix.shape[0]):
        span = slice(matrix.indptr[row], matrix.indptr[row + 1])
        columns, values = matrix.indices[span], matrix.data[span]
        if len(columns) > count:
            columns = columns[np.argpartition(-values, count - 1)[:count]]
        chosen[row, : len(columns)] = np.sort(columns)
    return chosen


def stacked(upper: Sparse, lower: Sparse) -> Sparse:
    """Return the rows of both, without those that hold nothing but zeros."""
    from scipy.sparse import vstack

    whole = vstack([upper, lower], format="csr", dtype=np.float32)
    whole.eliminate_zeros()
    return whole


def sparse(matrix: Floats) -> Sparse:
    """Return a dense matrix as float32 CSR."""
    from scipy.sparse import csr_matrix

    return csr_matrix(matrix.astype(np.float32))


def picked(matrix: Sparse, rows: Ints, columns: Ints) -> Floats:
    """Return the entries at these places; scipy refuses to pick none."""
    if len(rows) == 0:
        return np.zeros(0, dtype=np.float32)
    return np.asarray(matrix[rows, columns]).ravel()

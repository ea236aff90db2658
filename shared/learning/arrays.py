"""Array types, and the few operations on ragged rows that models share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Bools = NDArray[np.bool_]


def offsets(lengths: Ints) -> Ints:
    """Return where each of consecutive segments starts, and at the end where the last one stops."""
    starts = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def ragged_range(starts: Ints, lengths: Ints) -> Ints:
    """Return ``[starts[0], starts[0]+1, …, starts[1], …]``: the positions in all segments."""
    total = int(lengths.sum())
    if total == 0:
        return np.zeros(0, dtype=np.int64)
    shift = starts - offsets(lengths)[:-1]
    return np.arange(total, dtype=np.int64) + np.repeat(shift, lengths)

"""Outside ids (strings) and the dense integers that models count with."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import pairwise
from typing import Self

import numpy as np

from shared.contracts.errors import Invalid
from shared.learning.arrays import Ints, offsets


class IdIndex:
    """A bijection between distinct strings and ``0 … len-1``, in the order given.

    Parameters
    ----------
    ids : iterable of str
        Distinct ids of items, users, …

    Raises
    ------
    Invalid
        An id occurs twice.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids: tuple[str, ...] = tuple(ids)
        if len(self._number) != len(self.ids):
            raise Invalid("ids must be distinct")

    @cached_property
    def _number(self) -> Mapping[str, int]:
        return {name: number for number, name in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, name: object) -> bool:
        return name in self._number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdIndex) and self.ids == other.ids

    def __hash__(self) -> int:
        return hash(self.ids)

    def get(self, name: str) -> int | None:
        """Return the number of `name`, or None when the model has never seen it."""
        return self._number.get(name)

    def name(self, number: int) -> str:
        """Return the id of `number`; IndexError when out of range."""
        return self.ids[number]

    def numbers(self, names: Iterable[str]) -> Ints:
        """Return the numbers of the known among `names`, in their order; unknown ones drop out."""
        found = (self._number.get(name) for name in names)
        return np.fromiter((n for n in found if n is not None), dtype=np.int32)

    def pack(self) -> tuple[Ints, bytes]:
        """Return (offsets, utf-8 bytes): id ``i`` is ``bytes[offsets[i]:offsets[i+1]]``."""
        encoded = [name.encode() for name in self.ids]
        return offsets(np.fromiter(map(len, encoded), np.int64, len(encoded))), b"".join(encoded)

    @classmethod
    def unpack(cls, bounds: Ints, text: bytes) -> Self:
        """Rebuild what `pack` gave; Invalid when the two parts do not belong together."""
        if bounds.ndim != 1 or len(bounds) == 0 or bounds[0] != 0 or bounds[-1] != len(text):
            raise Invalid("the id offsets do not fit the id bytes")
        if np.any(np.diff(bounds) < 0):
            raise Invalid("the id offsets must not fall")
        edges = bounds.tolist()
        try:
            return cls(text[a:b].decode() for a, b in pairwise(edges))
        except UnicodeDecodeError as error:
            raise Invalid("the id bytes are not utf-8") from error

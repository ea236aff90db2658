"""A Faust table seen partition by partition: what each fold reads, and what it writes to the log."""

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Generic

from services.collector.core.keyed import Fold, In, Out, Partition, S


class Rows(Mapping[bytes, bytes]):
    """The rows of one partition in a store that holds those of all.

    Parameters
    ----------
    store : mutable mapping
        The table's data.
    partition : int
        Comes before each row key, so that no two partitions meet.
    """

    def __init__(self, store: MutableMapping[bytes, bytes], partition: int) -> None:
        self._store = store
        self._prefix = b"%d/" % partition

    def __getitem__(self, row: bytes) -> bytes:
        return self._store[self._prefix + row]

    def __iter__(self) -> Iterator[bytes]:
        prefix = self._prefix
        return (row[len(prefix) :] for row in self._store if row.startswith(prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def stored_as(self, row: bytes) -> bytes:
        """Return the key of `row` in the store and in the changelog."""
        return self._prefix + row

    def apply(self, row: bytes, value: bytes | None) -> None:
        """Write one row; None removes it."""
        if value is None:
            self._store.pop(self._prefix + row, None)
        else:
            self._store[self._prefix + row] = value

    def clear(self) -> None:
        """Remove all rows from the store, not from the changelog."""
        for row in list(self):
            self.apply(row, None)


class Partitions(Generic[In, S, Out]):
    """The partitions of one table that this process owns, each loaded when it is first needed."""

    def __init__(self, fold: Fold[In, S, Out], store: MutableMapping[bytes, bytes]) -> None:
        self._fold = fold
        self._store = store
        self._loaded: dict[int, tuple[Partition[In, S, Out], Rows]] = {}

    def __getitem__(self, partition: int) -> tuple[Partition[In, S, Out], Rows]:
        if partition not in self._loaded:
            rows = Rows(self._store, partition)
            self._loaded[partition] = Partition(self._fold, rows), rows
        return self._loaded[partition]

    def keys(self) -> int:
        """Return how many keys are held."""
        return sum(len(partition) for partition, _ in self._loaded.values())

    def reload(self) -> None:
        """Forget what was loaded: the table has been recovered."""
        self._loaded.clear()

    def give_up(self, partition: int) -> None:
        """Remove a partition that another process owns from now on."""
        self._loaded.pop(partition, None)
        Rows(self._store, partition).clear()

"""Where records lie that Kafka has while others before them are still on their way."""

from collections.abc import Sequence

import numpy as np

from services.collector.wal.format import Record
from services.collector.wal.index import ENTRY_DTYPE, Published


class Ahead:
    """Entries of the records from `first` on, told in order, without a gap, when all before are there.

    Takes 25 bytes a record, from the oldest that is on its way.
    """

    def __init__(self) -> None:
        self._entries = np.empty(4096, ENTRY_DTYPE)
        self._there = np.zeros(4096, bool)
        self.first = 0
        self.size = 0

    def expect(self, group: Sequence[Record]) -> None:
        """Make room for records that follow those expected, or any when there are none."""
        if not self.size:
            self.first = group[0].seq
        begin, self.size = self.size, self.size + len(group)
        while self.size > len(self._there):
            self._entries = np.concatenate((self._entries, np.empty_like(self._entries)))
            self._there = np.concatenate((self._there, np.zeros_like(self._there)))
        digests = np.array([record.digest for record in group], np.uint64)
        self._entries["digest"][begin : self.size] = digests

    def enter(
        self, seqs: Sequence[int], offsets: Sequence[int], *, topic: int, partition: int
    ) -> None:
        """Note where these records lie."""
        at = np.array(seqs) - self.first
        entries = self._entries
        entries["offset"][at] = offsets
        entries["topic"][at] = topic
        entries["partition"][at] = partition
        self._there[at] = True

    def whole(self) -> Published | None:
        """Return the records up to the first that is on its way, None if there are none."""
        there = self._there[: self.size]
        n = self.size if there.all() else int(there.argmin())
        return Published(self.first, self._entries[:n].copy()) if n else None

    def told(self, published: Published) -> None:
        """Forget what `whole` returned."""
        n = len(published.entries)
        rest = self.size - n
        self._entries[:rest] = self._entries[n : self.size].copy()
        self._there[:rest] = self._there[n : self.size].copy()
        self._there[rest : self.size] = False
        self.first += n
        self.size = rest

    def clear(self) -> None:
        """Expect nothing."""
        self._there[: self.size] = False
        self.size = 0

"""Which ids were seen in the last day, in bounded memory.

An id is known by 64 bits of its BLAKE2b hash. The chance that a new id is taken for one of n known
ones is n / 2**64: 5e-13 at ten million.
"""

from array import array
from collections.abc import Iterable
from hashlib import blake2b
from struct import Struct

_FIRST_SLOTS = 1 << 18
_LOAD = 0.6
"""At this share of used slots an unsuccessful search looks at 3.6 of them on average (Knuth, TAOCP
vol. 3, section 6.4, linear probing)."""
_GONE = 1


_fresh = blake2b(digest_size=8).copy
"""A copy of a hash that was set up once costs a third of a new one."""
_number = Struct("<Q").unpack


def digest(event_id: bytes) -> int:
    """Return the 64-bit hash of an id; never 0 or 1, which mark free and vacated slots."""
    hashed = _fresh()
    hashed.update(event_id)
    return int(_number(hashed.digest())[0]) | 2


class _Generation:
    """An open-addressing table from digest to sequence number; never rehashed."""

    def __init__(self, slots: int, base: int, now: float) -> None:
        self.keys = array("Q", bytes(8 * slots))
        self.seqs = array("I", bytes(4 * slots))
        self.mask = slots - 1
        self.room = int(slots * _LOAD)
        self.base = base
        self.began = self.ended = now

    def find(self, key: int) -> int:
        """Return the slot of `key`, or -1."""
        keys, mask = self.keys, self.mask
        # The low bit of a digest is not random.
        slot = (key >> 3) & mask
        while held := keys[slot]:
            if held == key:
                return slot
            slot = (slot + 1) & mask
        return -1

    def claim(self, key: int, seq: int) -> bool:
        """Put `key` in with its number; False if it is there already."""
        keys, mask = self.keys, self.mask
        slot = (key >> 3) & mask
        while held := keys[slot]:
            if held == key:
                return False
            slot = (slot + 1) & mask
        keys[slot] = key
        self.seqs[slot] = seq - self.base
        self.room -= 1
        return True


class Seen:
    """Digests of the last `horizon_s` seconds with the sequence number each was given.

    Tables are never enlarged, so that no request waits for a rehash: a full one is followed by a
    new one, four times larger if it filled within an hour. When all tables together exceed
    `max_ids`, the oldest goes early and `since` says how far back the memory still reaches.
    Costs 20 bytes an id at full tables, and 0.3 to 1 µs a lookup.
    """

    def __init__(self, *, horizon_s: float = 86_400, max_ids: int = 4_000_000) -> None:
        self._horizon_s = horizon_s
        self._max_ids = max_ids
        self._largest = 1 << max(16, (int(max_ids / _LOAD / 2)).bit_length() - 1)
        self._tables: list[_Generation] = []
        """Newest first."""
        self.since = float("-inf")
        """Ids older than this may have been forgotten."""

    def get(self, key: int) -> int | None:
        """Return the sequence number given to `key`, None if it is not known."""
        for table in self._tables:
            slot = table.find(key)
            if slot >= 0:
                return table.base + table.seqs[slot]
        return None

    def claim(self, key: int, seq: int, now: float) -> bool:
        """Remember `key` under `seq` and return True, or return False if it is known already.

        `seq` never decreases from call to call.
        """
        tables = self._tables
        newest = tables[0] if tables else self._next(seq, now)
        if newest.room <= 0 or seq - newest.base >= 1 << 32:
            newest = self._next(seq, now)
        if len(tables) > 1:
            for table in tables[1:]:
                if table.find(key) >= 0:
                    return False
        if not newest.claim(key, seq):
            return False
        newest.ended = now
        return True

    def forget(self, keys: Iterable[int]) -> None:
        """Take back keys that were claimed for records that were then refused."""
        for key in keys:
            for table in self._tables:
                slot = table.find(key)
                if slot >= 0:
                    table.keys[slot] = _GONE
                    break

    def expire(self, now: float) -> None:
        """Drop what is older than the horizon."""
        while self._tables and self._tables[-1].ended < now - self._horizon_s:
            self.since = max(self.since, self._tables.pop().ended)

    def __len__(self) -> int:
        """Return the number of ids known, vacated slots included."""
        return sum(int((t.mask + 1) * _LOAD) - t.room for t in self._tables)

    def _next(self, seq: int, now: float) -> _Generation:
        slots = min(_FIRST_SLOTS, self._largest)
        if self._tables:
            newest = self._tables[0]
            filled_fast = now - newest.began < 3600
            slots = newest.mask + 1
            slots = min(slots * 4, self._largest) if filled_fast else slots
        table = _Generation(slots, seq, now)
        self._tables.insert(0, table)
        while sum(int((t.mask + 1) * _LOAD) for t in self._tables) > self._max_ids:
            if len(self._tables) == 1:
                break
            self.since = max(self.since, self._tables.pop().ended)
        return table

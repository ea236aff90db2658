"""What a home knows of earlier demos, so that the same year is not loaded twice."""

from datetime import datetime
from pathlib import Path
from typing import Self

import msgspec

FILE = "demo.json"


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Which year is in the home, and whom it has met.

    `ends` is when the year ends there: it stays, so that a basket has one time. `kafka` is the
    address of one that was given, empty for the home's own. `households` of `seed` are loaded
    whole, 0 if a load was cut short. `met` are households that went shopping already.
    """

    ends: datetime
    kafka: str = ""
    seed: int = 0
    households: int = 0
    met: tuple[int, ...] = ()

    @classmethod
    def read(cls, home: Path, *, kafka: str, now: datetime) -> Self:
        """Return what the home knows; a beginning if there is nothing, or it is another Kafka's."""
        try:
            found = msgspec.json.decode((home / FILE).read_bytes(), type=cls)
        except (FileNotFoundError, msgspec.DecodeError):
            return cls(ends=now, kafka=kafka)
        return found if found.kafka == kafka else cls(ends=now, kafka=kafka)

    def write(self, home: Path) -> None:
        """Replace the file."""
        fresh = home / f"{FILE}.new"
        fresh.write_bytes(msgspec.json.encode(self))
        fresh.replace(home / FILE)

    def holds(self, *, seed: int, households: int) -> bool:
        """Whether all baskets of these households were loaded: fewer are the first of more."""
        return self.seed == seed and self.households >= households

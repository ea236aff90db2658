"""Why events were lately not taken."""

from collections import OrderedDict


class Rejections:
    """Why the last `most` rejected events with an id were not taken."""

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._why: OrderedDict[int, tuple[int, str, str | None]] = OrderedDict()

    def add(self, key: int, seq: int, reason: str, field: str | None) -> None:
        """Remember the rejection under the id's digest."""
        self._why[key] = (seq, reason, field)
        self._why.move_to_end(key)
        if len(self._why) > self._most:
            self._why.popitem(last=False)

    def get(self, key: int) -> tuple[int, str, str | None] | None:
        """Return the record's number, the reason and the field."""
        return self._why.get(key)

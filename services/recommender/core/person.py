"""What is known of one shopper, read from the rows that the worker keeps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.learning.features.weights import BY_ACTION

Row = tuple[bytes, float]
"""Member of a sorted set, and the time in seconds that is its score."""

CODES: Mapping[str, str] = {
    "view_item": "v",
    "select_item": "s",
    "add_to_wishlist": "w",
    "add_to_cart": "c",
    "begin_checkout": "b",
    "purchase": "p",
    "remove_from_cart": "r",
    "refund": "f",
    "hide_item": "h",
    "unhide_item": "u",
}
"""Action to the letter that stands before the item in a member; a rating is its digit."""
ACTIONS: Mapping[str, str] = {code: action for action, code in CODES.items()}
_BY_CODE: Mapping[str, float] = {
    **{code: BY_ACTION.get(action, 0.0) for action, code in CODES.items()},
    **{str(stars): stars - 3.0 for stars in range(1, 6)},
}
WEIGHT: Sequence[float] = [_BY_CODE.get(chr(code), 0.0) for code in range(256)]
"""First byte of a member to the weight of the event."""


class Rows(NamedTuple):
    """A person's rows as they come from the store, newest first.

    `history`: what they did, ``<code><item>``. `marks`: cart and hidden items, by the same codes.
    `bought`: ``+<order>|<item>`` for a bought line, ``-<order>|<item>`` for one that was given
    back, ``-<order>|`` for a whole order.
    """

    history: Sequence[Row] = ()
    marks: Sequence[Row] = ()
    bought: Sequence[Row] = ()
    opted_out: bool = False


@dataclass(frozen=True)
class Person:
    """One shopper at one moment.

    Attributes
    ----------
    events : sequence of (member, time in seconds), newest first
        What models read; see `CODES`.
    cart, hidden : frozenset of item ids
        In the cart now; hidden by the shopper now.
    bought : mapping
        Item id to the times in seconds at which it was bought and kept.
    personalised : bool
        False when the shopper does not want their history to be used.
    """

    events: Sequence[Row] = ()
    cart: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    bought: Mapping[str, Sequence[float]] = field(default_factory=dict)
    personalised: bool = True

    @classmethod
    def of(cls, *kept: Rows, personalised: bool = True) -> "Person":
        """Put together what was kept under the person's ids.

        Hidden items and the cart are the shopper's own wish and stay in force for a shopper who
        is not personalised; their history and purchases do not.
        """
        marks = _newest([part.marks for part in kept])
        wanted = personalised and not any(part.opted_out for part in kept)
        if not wanted:
            return cls(cart=_cart(marks), hidden=_hidden(marks), personalised=False)
        return cls(
            events=merged([part.history for part in kept]),
            cart=_cart(marks),
            hidden=_hidden(marks),
            bought=_bought([part.bought for part in kept]),
        )


def merged(parts: Sequence[Sequence[Row]]) -> Sequence[Row]:
    """Return all rows newest first; a member that occurs twice counts at its newest time."""
    filled = [part for part in parts if part]
    if len(filled) <= 1:
        return filled[0] if filled else ()
    return sorted(_newest(filled).items(), key=lambda row: -row[1])


def _newest(parts: Iterable[Sequence[Row]]) -> dict[bytes, float]:
    newest: dict[bytes, float] = {}
    for rows in parts:
        for member, time_s in rows:
            if newest.get(member, -1.0) < time_s:
                newest[member] = time_s
    return newest


def _cart(marks: Mapping[bytes, float]) -> frozenset[str]:
    return _standing(marks, b"c", (b"r", b"p"))


def _hidden(marks: Mapping[bytes, float]) -> frozenset[str]:
    return _standing(marks, b"h", (b"u",))


def _standing(marks: Mapping[bytes, float], on: bytes, offs: tuple[bytes, ...]) -> frozenset[str]:
    """Return the items whose newest `on` is newer than every one of `offs`."""
    standing = [
        member[1:].decode()
        for member, time_s in marks.items()
        if member[:1] == on and max([marks.get(off + member[1:], -1.0) for off in offs]) < time_s
    ]
    return frozenset(standing)


def _bought(parts: Iterable[Sequence[Row]]) -> dict[str, list[float]]:
    lines = _newest(parts)
    bought: dict[str, list[float]] = {}
    for member, time_s in lines.items():
        # The order's id is escaped, so the first bar ends it whatever the item's id holds.
        order, bar, item = member[1:].partition(b"|")
        given_back = (b"-" + member[1:], b"-" + order + bar)
        if member[:1] == b"+" and not any(line in lines for line in given_back):
            bought.setdefault(item.decode(), []).append(time_s)
    return bought

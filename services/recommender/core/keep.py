"""What is kept of an event, as members of sorted sets scored by time."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from services.recommender.core.person import CODES
from shared.contracts.consent import allows
from shared.contracts.envelope import Envelope
from shared.contracts.events import Behaviour, Order

Members = dict[str, float]
BOT = 0.8
"""From this estimated probability on an event is nobody's wish."""
_MARKS = frozenset("crhup")
_BUYS = frozenset({"placed", "paid"})
_BOUGHT = frozenset({"placed", "paid", "shipped", "delivered"})
"""A shop may tell of its older orders how they ended only; that is no deed of the shopper's."""
_UNDOES = frozenset({"cancelled", "returned"})
WHOLE_ORDER = ""


def _sets() -> dict[str, Members]:
    return defaultdict(dict)


@dataclass(frozen=True)
class Kept:
    """Person to members to add; a member that is there keeps its newest time.

    Adding the same again changes nothing, and order does not matter, so that events may come
    twice and late.
    """

    history: dict[str, Members] = field(default_factory=_sets)
    marks: dict[str, Members] = field(default_factory=_sets)
    bought: dict[str, Members] = field(default_factory=_sets)

    def behave(self, envelope: Envelope[Behaviour], latest_s: float) -> None:
        """Keep what one shopper did; a time after `latest_s` counts as that.

        Nothing is kept of bots, of actions without items, and of a shopper who does not allow
        personalisation.
        """
        event = envelope.data
        code = _code(event)
        person = envelope.userid or envelope.anonid
        if code is None or person is None or event.bot >= BOT:
            return
        if envelope.consent is not None and not allows(envelope.consent, "personalisation"):
            return
        time_s = min(envelope.time.timestamp(), latest_s)
        # A rating is of the first item alone.
        for item in event.items[:1] if event.action == "rate_item" else event.items:
            _newer(self.history[person], code + item.id, time_s)
            if code in _MARKS:
                _newer(self.marks[person], code + item.id, time_s)
            if code == "p":
                order = event.order_id or envelope.id
                _newer(self.bought[person], line("+", order, item.id), time_s)

    def order(self, envelope: Envelope[Order], latest_s: float) -> None:
        """Keep what was ordered, or that it was given back."""
        event = envelope.data
        person = envelope.userid or envelope.anonid
        if person is None or not allows(envelope.consent, "personalisation"):
            return
        time_s = min(envelope.time.timestamp(), latest_s)
        if event.status in _BOUGHT:
            for bought in event.lines:
                if event.status in _BUYS:
                    _newer(self.history[person], "p" + bought.item_id, time_s)
                    _newer(self.marks[person], "p" + bought.item_id, time_s)
                _newer(self.bought[person], line("+", event.order_id, bought.item_id), time_s)
        elif event.status in _UNDOES:
            items = [given_back.item_id for given_back in event.lines] or [WHOLE_ORDER]
            for item in items:
                _newer(self.bought[person], line("-", event.order_id, item), time_s)


def kept_of(envelopes: Iterable[Envelope[Any]], latest_s: float) -> Kept:
    """Return what is kept of these events of behaviour or orders."""
    kept = Kept()
    for envelope in envelopes:
        if isinstance(envelope.data, Behaviour):
            kept.behave(envelope, latest_s)
        else:
            kept.order(envelope, latest_s)
    return kept


def line(sign: str, order: str, item: str) -> str:
    """Return the member for an order line; the order's id is escaped to end at the first bar."""
    return f"{sign}{order.replace('%', '%25').replace('|', '%7C')}|{item}"


def _code(event: Behaviour) -> str | None:
    if event.rating is not None and event.action == "rate_item":
        return str(round(event.rating))
    return CODES.get(event.action)


def _newer(members: Members, member: str, time_s: float) -> None:
    if members.get(member, -1.0) < time_s:
        members[member] = time_s

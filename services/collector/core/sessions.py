"""Behaviour folded into sessions: one visitor's actions with no pause of 30 minutes between them.

A visitor is a device: the anonymous id where there is one, else the user. An action joins the
session whose span, widened by the pause, holds its time (session windows as in Akidau et al., The
Dataflow Model, 2015, section 2.2), so that late and reordered actions find theirs; one that bridges
two sessions makes them one. Every action lands in exactly one session.
"""

from dataclasses import dataclass
from uuid import UUID, uuid5

from msgspec import Struct
from msgspec.json import Encoder

from services.collector.core.keyed import Advanced, Offsets
from shared.contracts.consent import PURPOSES, spelled
from shared.contracts.envelope import Envelope, utc
from shared.contracts.events import Session, Step
from shared.contracts.events.behaviour import Action
from shared.contracts.events.fields import MOST_CENTS
from shared.contracts.topics import SESSIONS, wrap

SOURCE = "shoploop/collector/stream"
_encoded = Encoder().encode
_IDS = UUID("6f2d5a0e-2f0c-5b58-9c1b-0b1a4c7e9d10")


class Visit(Struct, frozen=True, array_like=True, tag=True):
    """One action of `visitor`; times are milliseconds since 1970.

    `at_ms` is when it happened, never later than `seen_ms`, when it reached the log.
    """

    visitor: str
    offset: int
    at_ms: int
    seen_ms: int
    event_id: str
    action: Action
    user: str | None = None
    consent: str | None = None
    items: tuple[str, ...] = ()
    query: str | None = None
    request_id: str | None = None
    value_cents: int = 0

    @property
    def key(self) -> str:
        """The visitor."""
        return self.visitor


class Link(Struct, frozen=True, array_like=True, tag=True):
    """The visitor is this user."""

    visitor: str
    offset: int
    user: str
    seen_ms: int

    @property
    def key(self) -> str:
        """The visitor."""
        return self.visitor


class Open(Struct, array_like=True):
    """A session that may still grow; steps in the order in which they came, `at` since 1970."""

    began_ms: int
    ended_ms: int
    seen_ms: int
    steps: list[Step]
    user: str | None = None
    user_ms: int = -1
    purposes: tuple[str, ...] | None = None
    """Granted by every action so far; None while nobody was asked."""
    dropped: int = 0
    value_cents: int = 0
    size: int = 0
    """Of the steps, in bytes as they are published."""


class Visitor(Struct, array_like=True):
    """What is kept of a visitor: sessions that are open, and who it is once that is known."""

    applied: Offsets = {}
    seen_ms: int = 0
    user: str | None = None
    open: list[Open] = []


@dataclass(frozen=True)
class Sessions:
    """The fold from visits to sessions.

    Parameters
    ----------
    pause_ms : int
        A session is over when this long passes without an action.
    quiet_ms : int
        And nothing may have come in for it during this time, so that a history that is loaded late
        is not cut where the loader took a breath.
    remember_ms : int
        How long an idle visitor's user is remembered.
    max_steps : int
        Steps kept of one session; the others are counted.
    max_open, max_size : int
        Open sessions, and bytes in them, that are kept of one visitor, who otherwise could fill
        more than a record with wrong clocks and long lists. Beyond either an action that fits
        no session joins the last one; beyond `max_size` it is only counted.
    limit : int
        Visitors that one partition may hold; the longest idle are forgotten first.
    """

    pause_ms: int = 30 * 60_000
    quiet_ms: int = 10_000
    remember_ms: int = 30 * 86_400_000
    max_steps: int = 500
    max_open: int = 50
    max_size: int = 400_000
    limit: int = 50_000
    state: type[Visitor] = Visitor

    def add(self, state: Visitor | None, item: Visit | Link) -> Visitor:
        """Return the visitor after an action, or after it became known who it is."""
        visitor = state or Visitor()
        visitor.seen_ms = max(visitor.seen_ms, item.seen_ms)
        visitor.user = item.user or visitor.user
        if isinstance(item, Visit):
            visitor.open = self._joined(visitor.open, _opened(item))
        return visitor

    def due_ms(self, state: Visitor) -> int:
        """Return when the next session closes, or when the idle visitor may be forgotten."""
        if state.open:
            return min(map(self._closes, state.open))
        return state.seen_ms + (0 if state.user is None else self.remember_ms)

    def advance(
        self, key: str, state: Visitor, now_ms: int, *, leave: bool
    ) -> Advanced[Visitor, Envelope[Session]]:
        """Close what is over at `now_ms`; everything when the visitor must leave."""
        over = [s for s in state.open if leave or self._closes(s) <= now_ms]
        state.open = [s for s in state.open if s not in over]
        told = [_closed(key, session, state.user) for session in over]
        idle = not state.open and (leave or self.due_ms(state) <= now_ms)
        return Advanced(state, told, idle)

    def concerns(self, key: str, state: Visitor, ids: frozenset[str]) -> bool:
        """Whether the visitor, or the user it is known to be, is one of `ids`."""
        return key in ids or state.user in ids or any(s.user in ids for s in state.open)

    def _closes(self, session: Open) -> int:
        return max(session.ended_ms + self.pause_ms, session.seen_ms + self.quiet_ms)

    def _joined(self, sessions: list[Open], new: Open) -> list[Open]:
        full = bool(sessions) and sum(s.size for s in sessions) + new.size > self.max_size
        if full:
            new.steps, new.size, new.dropped = [], 0, 1
        near = [s for s in sessions if self._touch(s, new)]
        if not near and (full or len(sessions) >= self.max_open):
            near = sessions[-1:]
        apart = [s for s in sessions if s not in near]
        for session in near:
            new = self._merged(session, new)
        return [*apart, new]

    def _touch(self, a: Open, b: Open) -> bool:
        return a.began_ms - self.pause_ms < b.ended_ms and b.began_ms < a.ended_ms + self.pause_ms

    def _merged(self, a: Open, b: Open) -> Open:
        steps = a.steps + b.steps
        newer = max(a, b, key=lambda session: session.user_ms)
        return Open(
            began_ms=min(a.began_ms, b.began_ms),
            ended_ms=max(a.ended_ms, b.ended_ms),
            seen_ms=max(a.seen_ms, b.seen_ms),
            steps=steps[: self.max_steps],
            user=newer.user,
            user_ms=newer.user_ms,
            purposes=_granted_by_both(a.purposes, b.purposes),
            dropped=a.dropped + b.dropped + max(0, len(steps) - self.max_steps),
            value_cents=min(a.value_cents + b.value_cents, MOST_CENTS),
            size=a.size + b.size,
        )


def session_id(visitor: str, first_event_id: str) -> str:
    """Return the id of the visitor's session that begins with this event, always the same."""
    return str(uuid5(_IDS, f"{first_event_id}\n{visitor}"))


def _opened(visit: Visit) -> Open:
    step = Step(
        visit.event_id, visit.at_ms, visit.action, visit.items, visit.query, visit.request_id
    )
    return Open(
        began_ms=visit.at_ms,
        ended_ms=visit.at_ms,
        seen_ms=visit.seen_ms,
        steps=[step],
        user=visit.user,
        user_ms=-1 if visit.user is None else visit.at_ms,
        purposes=None if visit.consent is None else tuple(visit.consent.split()),
        value_cents=visit.value_cents,
        size=len(_encoded(step)),
    )


def _granted_by_both(
    a: tuple[str, ...] | None, b: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    if a is None or b is None:
        return b if a is None else a
    return tuple(p for p in PURPOSES if p in a and p in b)


def _closed(visitor: str, session: Open, known: str | None) -> Envelope[Session]:
    steps = sorted(session.steps, key=lambda step: (step.at, step.event_id))
    user = session.user or known
    ident = session_id(visitor, steps[0].event_id)
    event = Session(
        session_id=ident,
        person=user or visitor,
        known=user is not None,
        began=utc(session.began_ms / 1000),
        ended=utc(session.ended_ms / 1000),
        steps=tuple(_since(session.began_ms, step) for step in steps),
        dropped=session.dropped,
        value_cents=session.value_cents,
    )
    return wrap(
        SESSIONS,
        event,
        id=ident,
        source=SOURCE,
        time=event.ended,
        userid=user,
        anonid=None if visitor == user else visitor,
        sessionid=ident,
        consent=None if session.purposes is None else spelled(session.purposes),
    )


def _since(began_ms: int, step: Step) -> Step:
    return Step(
        step.event_id, step.at - began_ms, step.action, step.items, step.query, step.request_id
    )

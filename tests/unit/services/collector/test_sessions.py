from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.collector.core.keyed import Forget, Mark, Partition, apply
from services.collector.core.sessions import Link, Sessions, Visit, session_id
from shared.contracts.envelope import Envelope, decode, encode
from shared.contracts.events import Session
from shared.contracts.events.fields import MOST_CENTS
from shared.contracts.topics import SESSIONS

MINUTE = 60_000
HALF_HOUR = 30 * MINUTE
START = 1_700_000_000_000
FOREVER = START + 10**12


def visit(offset: int, at_min: float, visitor: str = "a1", **more: Any) -> Visit:
    at_ms = START + int(at_min * MINUTE)
    given_ = {"at_ms": at_ms, "seen_ms": at_ms, "event_id": f"e{offset}", "action": "view_item"}
    return Visit(visitor=visitor, offset=offset, **(given_ | more))


class Log:
    """One partition with its rows; what it publishes and stores happens at once."""

    def __init__(self, fold: Sessions | None = None) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.fold = fold or Sessions()
        self.told: list[Envelope[Session]] = []
        self.open()

    def open(self) -> None:
        self.partition = Partition(self.fold, self.rows)

    def add(self, *visits: Visit | Link, source: int = 0) -> None:
        apply(self.rows, self.partition.add(source, visits).rows)

    def mark(self, at_min: float) -> list[Session]:
        changes = self.partition.mark(Mark(0, 1, START + int(at_min * MINUTE)))
        apply(self.rows, changes.rows)
        self.told += changes.publish
        return [envelope.data for envelope in changes.publish]


@pytest.mark.parametrize(
    ("minutes", "ids"),
    [
        ([0, 10, 39], ["e0 e1 e2"]),
        ([0, 30], ["e0", "e1"]),  # a pause of exactly 30 minutes ends it
        ([0, 29.9, 59.8], ["e0 e1 e2"]),
        ([0, 50, 20], ["e0 e2", "e1"]),  # late, and 30 minutes before the second
        ([0, 50, 25], ["e0 e2 e1"]),  # late, and the bridge between two
        ([10, 0], ["e1 e0"]),  # reordered
    ],
)
def test_a_pause_of_half_an_hour_separates_sessions(minutes: list[float], ids: list[str]) -> None:
    """If this fails, the trainer learns from sessions that were two visits, or half of one."""
    log = Log()
    log.add(*(visit(n, at) for n, at in enumerate(minutes)))
    told = sorted(log.mark(10_000), key=lambda s: s.began)
    assert [" ".join(step.event_id for step in s.steps) for s in told] == ids


def test_a_session_closes_half_an_hour_after_its_last_action() -> None:
    """If this fails, consumers get sessions that are still going on, or wait for ever."""
    log = Log()
    log.add(visit(0, 0), visit(1, 12))
    assert log.mark(41.9) == []
    (session,) = log.mark(42)
    assert (session.ended - session.began).total_seconds() == 12 * 60
    assert [step.at for step in session.steps] == [0, 12 * MINUTE]
    assert not log.partition


def test_what_is_loaded_late_is_not_cut_while_it_still_comes_in() -> None:
    """If this fails, an imported history falls into as many sessions as the loader took pauses."""
    log = Log()
    log.add(visit(0, 0, seen_ms=START + 600 * MINUTE))
    assert log.mark(600) == []
    log.add(visit(1, 5, seen_ms=START + 600 * MINUTE + 5_000))
    assert log.mark(600 + 14 / 60) == []
    (session,) = log.mark(600 + 15 / 60)
    assert len(session.steps) == 2


def test_nothing_closes_before_every_source_partition_was_read_so_far() -> None:
    """If this fails, a partition that lags behind loses the end of its shoppers' sessions."""
    log = Log()
    log.add(visit(0, 0))
    after = START + HALF_HOUR
    for source in (0, 1):
        assert not log.partition.mark(Mark(source, 3, after)).publish
    assert not log.partition.mark(Mark(2, 3, after - 1)).publish
    assert len(log.partition.mark(Mark(2, 3, after)).publish) == 1


def test_the_session_of_who_logs_in_is_the_users() -> None:
    """If this fails, what a shopper looked at before the login is lost to their recommendations."""
    log = Log()
    log.add(visit(0, 0), visit(1, 5, user="u1"), visit(2, 6))
    (session,) = log.mark(60)
    assert (session.person, session.known, len(session.steps)) == ("u1", True, 3)
    assert (log.told[0].userid, log.told[0].anonid) == ("u1", "a1")


def test_a_visitor_who_was_identified_is_known_later_too() -> None:
    """If this fails, a returning shopper who has not logged in is a stranger."""
    log = Log()
    log.add(visit(0, 0))
    log.add(Link("a1", 0, "u1", START), source=100_000)
    assert log.mark(60)[0].person == "u1"
    log.add(visit(1, 100))
    (session,) = log.mark(200)
    assert (session.person, session.known) == ("u1", True)
    assert log.partition
    log.mark(100 + 31 * 24 * 60)
    assert not log.partition


def test_who_never_logs_in_stays_anonymous() -> None:
    """If this fails, sessions claim to know people that nobody knows."""
    log = Log()
    log.add(visit(0, 0))
    (session,) = log.mark(60)
    assert (session.person, session.known, log.told[0].userid) == ("a1", False, None)


def test_a_session_grants_what_every_action_granted() -> None:
    """If this fails, data is used for a purpose to which the shopper said no on the way."""
    log = Log()
    both, one = "analytics personalisation", "analytics"
    log.add(visit(0, 0, consent=both), visit(1, 1, consent=one), visit(2, 2, consent=both))
    log.mark(60)
    assert log.told[0].consent == "analytics"


def test_beyond_500_steps_only_the_number_is_kept() -> None:
    """If this fails, one robot's session outgrows a record and stops the stream."""
    log = Log()
    log.add(*(visit(n, n / 1000) for n in range(503)), visit(503, 1, value_cents=700))
    (session,) = log.mark(60)
    assert (len(session.steps), session.dropped, session.value_cents) == (500, 4, 700)


def test_what_a_session_is_worth_stays_within_its_contract() -> None:
    """If this fails, two absurd purchases make a session that no reader takes."""
    log = Log()
    log.add(visit(0, 0, value_cents=MOST_CENTS), visit(1, 1, value_cents=MOST_CENTS))
    log.mark(60)
    (told,) = log.told
    assert decode(encode(told), Session).data.value_cents == MOST_CENTS


@pytest.mark.parametrize("letter", ["x", "牛", "\x01"])
def test_long_lists_and_wrong_clocks_fit_a_record(letter: str) -> None:
    """If this fails, a hostile visitor makes state that the changelog refuses, for ever."""
    log = Log()
    items = tuple(letter * 250 + str(n) for n in range(200))
    visits = [visit(n, 40 * n, seen_ms=START, items=items) for n in range(60)]
    log.add(*visits)
    assert max(map(len, log.rows.values())) < 500_000
    sessions = log.mark(10_000)
    assert sum(len(s.steps) + s.dropped for s in sessions) == 60
    assert all(len(encode(e)) < 500_000 for e in log.told)


def test_above_the_limit_the_longest_idle_leave() -> None:
    """If this fails, memory grows with every visitor who ever came."""
    log = Log(Sessions(limit=2))
    log.add(*(visit(n, n, visitor=f"a{n}") for n in range(4)))
    assert [s.person for s in log.mark(5)] == ["a0", "a1"]
    assert len(log.partition) == 2


def test_a_forgotten_person_leaves_nothing_and_comes_back_as_new() -> None:
    """If this fails, an erased shopper's steps are published after the erasure."""
    log = Log()
    log.add(visit(0, 0, user="u1"), visit(1, 0, visitor="u1", user="u1"), visit(2, 0, visitor="b"))
    forget = Forget(200_000, 7, ("u1", "a9"), "u1", "e")
    apply(log.rows, log.partition.forget(forget).rows)
    assert [s.person for s in log.mark(60)] == ["b"]
    log.add(visit(3, 100, user="u1"))
    assert log.partition.forget(forget).rows == ()
    assert len(log.mark(200)) == 1


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_forgotten_person_stays_forgotten_whenever_the_worker_dies(written: int) -> None:
    """If this fails, a kill at the wrong moment publishes a session of who was erased."""
    log = Log()
    log.add(visit(0, 0, visitor="a1", user="u1"), visit(1, 0, visitor="a2", user="u1"))
    request = Forget(7, 0, ("u1",), "u1", "request")
    apply(log.rows, log.partition.forget(request).rows[:written])
    log.open()
    apply(log.rows, log.partition.forget(request).rows)
    assert log.mark(60) == []
    assert len(log.partition) == 0


def test_sessions_are_valid_events_with_the_same_id_every_time() -> None:
    """If this fails, a session that is published again counts twice."""
    log = Log()
    log.add(visit(4, 0))
    log.mark(60)
    envelope = decode(encode(log.told[0]), SESSIONS.event)
    assert envelope.id == envelope.data.session_id == session_id("a1", "e4")


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """Return a log of steps: visits of few visitors from two source partitions, links, and marks."""
    steps: list[tuple[str, Any]] = []
    now, offsets = 0.0, [0, 0]
    for _ in range(draw(st.integers(1, 14))):
        now += draw(st.sampled_from([0.1, 4, 20, 45]))
        if draw(st.booleans()):
            source = draw(st.integers(0, 1))
            visits: list[Visit | Link] = []
            for _ in range(draw(st.integers(1, 3))):
                visits.append(_any_visit(draw, offsets[source], source, now))
                offsets[source] += 1
            steps.append(("add", (source, tuple(visits))))
        else:
            steps.append(("mark", START + int(now * MINUTE)))
    return [*steps, ("mark", FOREVER)]


def _any_visit(draw: st.DrawFn, offset: int, source: int, now: float) -> Visit | Link:
    visitor = draw(st.sampled_from(["a", "b"]))
    user = draw(st.sampled_from([None, "u", "v"]))
    if user and draw(st.integers(0, 4)) == 0:
        return Link(visitor, offset, user, START + int(now * MINUTE))
    late = draw(st.sampled_from([0, 0, 3, 35, 80]))
    seen_ms = START + int(now * MINUTE)
    return visit(
        offset, now - late, visitor, seen_ms=seen_ms, event_id=f"{source}.{offset}", user=user
    )


Published = dict[str, Session]


class Machine:
    """A worker that may be killed between any two writes, and the log that it reads again.

    It takes in `batch` steps before it writes what they changed; what they tell is told at once.
    """

    def __init__(self, batch: int = 1) -> None:
        self.batch = batch
        self.rows: dict[bytes, bytes] = {}
        self.published: Published = {}
        self.writes = 0

    def run(self, steps: Sequence[tuple[str, Any]], *, dies_after: int | None = None) -> int:
        """Take in the steps; return how many were finished when it died."""
        self.left = 10**9 if dies_after is None else dies_after
        memory = dict(self.rows)
        partition: Partition[Any, Any, Any] = Partition(Sessions(), memory)
        for begin in range(0, len(steps), self.batch):
            unwritten: list[tuple[bytes, bytes | None]] = []
            for kind, what in steps[begin : begin + self.batch]:
                for changes in self._taken_in(partition, kind, what):
                    for envelope in changes.publish:
                        if not self._alive():
                            return begin
                        self._publish(envelope.data)
                    apply(memory, changes.rows)
                    unwritten += changes.rows
            for row in unwritten:
                if not self._alive():
                    return begin
                apply(self.rows, [row])
                self.writes += 1
        return len(steps)

    def _taken_in(self, partition: Partition[Any, Any, Any], kind: str, what: Any) -> Iterator[Any]:
        if kind == "add":
            yield partition.add(*what)
        else:
            yield from (partition.mark(Mark(source, 2, what)) for source in (0, 1))

    def _alive(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def _publish(self, session: Session) -> None:
        again = self.published.setdefault(session.session_id, session)
        assert again == session, "a session was published twice and was not the same"


@settings(max_examples=300)
@given(histories(), st.integers(1, 5), st.data())
def test_dying_anywhere_and_reading_again_changes_nothing(
    steps: list[tuple[str, Any]], batch: int, data: st.DataObject
) -> None:
    """If this fails, kill -9 of the stream loses a shopper's steps or counts them twice."""
    calm, killed = Machine(), Machine(batch)
    calm.run(steps)
    for _ in range(data.draw(st.integers(1, 3))):
        done = killed.run(steps, dies_after=data.draw(st.integers(0, calm.writes + 5)))
        # The committed offset lags behind what is done, by any amount.
        again_from = data.draw(st.integers(0, done))
        remaining = steps[again_from:]
        killed.run(remaining, dies_after=data.draw(st.integers(0, calm.writes + 5)))
    for machine in (calm, killed):
        machine.run([*steps, ("mark", 2 * FOREVER)])
    assert killed.published == calm.published
    assert killed.rows == calm.rows


@given(histories())
def test_every_action_is_in_exactly_one_session(steps: list[tuple[str, Any]]) -> None:
    """If this fails, sessions drop or double what shoppers did."""
    machine = Machine()
    machine.run(steps)
    given_ids = [
        item.event_id
        for kind, what in steps
        if kind == "add"
        for item in what[1]
        if isinstance(item, Visit)
    ]
    told = [step.event_id for s in machine.published.values() for step in s.steps]
    assert Counter(told) == Counter(given_ids)


def test_state_survives_its_encoding() -> None:
    """If this fails, a restart forgets open sessions."""
    log = Log()
    log.add(visit(0, 0, user="u1", query="milk", request_id="r"))
    log.open()
    (session,) = log.mark(60)
    assert msgspec.structs.asdict(session.steps[0]) == {
        "event_id": "e0", "at": 0, "action": "view_item", "items": (), "query": "milk",
        "request_id": "r",
    }  # fmt: skip

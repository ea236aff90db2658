import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.collector.core.activity import DECAY, SLOT_MS, Activity, Touch, growth
from services.collector.core.keyed import Mark, Partition, apply
from shared.contracts.envelope import decode, encode
from shared.contracts.events import ItemActivity
from shared.contracts.topics import ITEM_ACTIVITY

HOUR = 3_600_000
DAY = 24 * HOUR
START = 2_000 * 7 * DAY
VIEW, CART, BUY = range(3)
assert all(START % slot == 0 for slot in SLOT_MS)


class Log:
    """One partition with its rows."""

    def __init__(self, fold: Activity | None = None) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.partition = Partition(fold or Activity(), self.rows)
        self.offset = 0

    def add(self, *touches: tuple[float, int], item: str = "milk", weight: float = 1.0) -> None:
        for at_h, kind in touches:
            at_ms = START + int(at_h * HOUR)
            touch = Touch(item, self.offset, at_ms, kind, weight)
            apply(self.rows, self.partition.add(0, [touch]).rows)
            self.offset += 1

    def mark(self, at_h: float) -> list[Any]:
        changes = self.partition.mark(Mark(0, 1, START + int(at_h * HOUR)))
        apply(self.rows, changes.rows)
        return [e if isinstance(e, str) else e.data for e in changes.publish]


def test_each_window_counts_its_own_span() -> None:
    """If this fails, trending lists and stock alarms are about another time than they say."""
    log = Log()
    log.add((-100, VIEW), (-20, VIEW), (-20, CART), (-0.5, VIEW), (-0.25, BUY), (-200, VIEW))
    (told,) = log.mark(0)
    assert told.item_id == "milk"
    assert told.views == (1, 2, 3)
    assert told.carts == (0, 1, 1)
    assert told.buys == (1, 1, 1)


def test_counts_undo_the_sampling_of_the_collector() -> None:
    """If this fails, popularity sinks whenever the collector sheds load."""
    log = Log()
    log.add((0, VIEW), weight=8.0)
    log.add((0.1, VIEW))
    assert log.mark(0.2)[0].views == (9, 9, 9)


@pytest.mark.parametrize(
    ("count", "past", "exposure", "slots", "z"),
    [
        (20, 480, 240, 12, (20 - 24) / math.sqrt(24)),
        (40, 480, 240, 12, (40 - 24) / math.sqrt(24)),
        (3, 1, 240, 12, (3 - 0.05) / 1.0),  # never divided by less than one event
        (99, 50, 23.9, 12, 0.0),  # too little past
        (24, 480, 240, 12, 0.0),
    ],
)
def test_growth_is_a_z_score_against_the_past_rate(
    count: float, past: float, exposure: float, slots: float, z: float
) -> None:
    """If this fails, quiet items trend, or trending ones do not."""
    assert growth(count, past, exposure, slots) == pytest.approx(z)


def test_a_steady_item_does_not_grow_and_a_sudden_one_does() -> None:
    """If this fails, the trending source shows what sells every day."""
    log = Log()
    log.add(*((h / 10, VIEW) for h in range(600)))
    steady = log.mark(60)[0].growth[0]
    assert abs(steady) < 1
    log.add(*((60, VIEW) for _ in range(40)))
    assert log.mark(60.1)[0].growth[0] > 9


def test_a_change_is_published_at_most_every_ten_seconds() -> None:
    """If this fails, a busy item floods the topic, or a quiet one is published for nothing."""
    log = Log()
    log.add((0, VIEW))
    assert len(log.mark(0)) == 1
    log.add((0.001, VIEW))
    assert log.mark(9 / 3600) == []
    assert log.mark(10 / 3600)[0].views[0] == 2
    assert log.mark(30 / 3600) == []


def test_windows_that_run_dry_are_published_too() -> None:
    """If this fails, an item that nobody looks at any more trends for ever."""
    log = Log()
    log.add((0, VIEW))
    log.mark(0)
    told = [t for h in range(1, 400) for t in log.mark(h / 2)]
    assert [t.views for t in told] == [(0, 1, 1), (0, 0, 1), (0, 0, 0)]
    assert log.mark(28 * 24 - 1) == []
    assert log.mark(28 * 24) == ["milk"]
    assert not log.partition


def test_above_the_limit_items_leave() -> None:
    """If this fails, made-up product ids fill the memory."""
    log = Log(Activity(limit=2))
    for n in range(4):
        log.add((n, VIEW), item=f"i{n}")
    log.mark(4)
    assert len(log.partition) == 2


def test_activity_is_a_valid_event() -> None:
    """If this fails, no consumer can read the topic."""
    log = Log()
    log.add((0, BUY))
    changes = log.partition.mark(Mark(0, 1, START))
    envelope = changes.publish[0]
    assert decode(encode(envelope), ITEM_ACTIVITY.event).data.buys == (1, 1, 1)


touches = st.lists(
    st.tuples(st.integers(0, 60 * DAY), st.sampled_from([VIEW, CART, BUY])), min_size=1, max_size=30
)


@given(touches, st.randoms(use_true_random=False), st.lists(st.integers(0, 60), max_size=4))
def test_counts_do_not_depend_on_order_nor_on_when_they_are_taken(
    events: list[tuple[int, int]], random: Any, marks: list[int]
) -> None:
    """If this fails, a replay that reads partitions in another order changes the counts."""
    shuffled = list(events)
    random.shuffle(shuffled)
    one, other = (Log(Activity(keep_ms=100 * DAY)) for _ in range(2))
    one.add(*((ms / HOUR, kind) for ms, kind in events))
    for day in sorted(marks):
        other.mark(day * 24)
    other.add(*((ms / HOUR, kind) for ms, kind in shuffled))
    (a,), (b,) = one.mark(61 * 24), other.mark(61 * 24)
    assert (a.views, a.carts, a.buys) == (b.views, b.carts, b.buys)
    assert a.growth == pytest.approx(b.growth, abs=1e-9)
    week = [(ms, kind) for ms, kind in events if 61 * DAY - ms < 11 * SLOT_MS[2]]
    assert sum(a.views) + sum(a.carts) + sum(a.buys) >= len(week)


Step = tuple[str, Any]


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    """Return a log of touches and marks of one source partition."""
    steps: list[Step] = []
    now, offset = START, 0
    for _ in range(draw(st.integers(1, 15))):
        now += draw(st.sampled_from([1000, 60_000, HOUR, DAY]))
        if draw(st.booleans()):
            size = draw(st.integers(1, 3))
            items = [draw(st.sampled_from(["x", "y"])) for _ in range(size)]
            late = draw(st.sampled_from([0, 0, HOUR, 8 * DAY]))
            touched = [Touch(i, offset + n, now - late, VIEW) for n, i in enumerate(items)]
            offset += size
            steps.append(("add", tuple(touched)))
        else:
            steps.append(("mark", now))
    return [*steps, ("mark", now + DAY)]


def run(
    rows: dict[bytes, bytes], view: dict[str, ItemActivity], steps: Sequence[Step], dies: int
) -> int:
    """Take in the steps until `dies` writes were made; return how many were finished."""
    partition: Partition[Any, Any, Any] = Partition(Activity(), rows)
    for done, (kind, what) in enumerate(steps):
        changes = partition.add(0, what) if kind == "add" else partition.mark(Mark(0, 1, what))
        for envelope in changes.publish:
            view[envelope.data.item_id] = envelope.data
        for row in changes.rows:
            if dies == 0:
                return done
            apply(rows, [row])
            dies -= 1
    return len(steps)


@settings(max_examples=200)
@given(histories(), st.data())
def test_dying_anywhere_and_reading_again_changes_no_count(
    steps: list[Step], data: st.DataObject
) -> None:
    """If this fails, kill -9 of the stream makes items more popular than they are."""
    rows: dict[bytes, bytes] = {}
    view: dict[str, ItemActivity] = {}
    run(rows, view, steps, -1)
    killed_rows: dict[bytes, bytes] = {}
    killed_view: dict[str, ItemActivity] = {}
    for _ in range(3):
        done = run(killed_rows, killed_view, steps, data.draw(st.integers(0, 40)))
        again_from = data.draw(st.integers(0, done))
        run(killed_rows, killed_view, steps[again_from:], data.draw(st.integers(0, 40)))
    run(killed_rows, killed_view, steps, -1)
    assert killed_rows == rows
    assert killed_view == view


def test_the_past_halves_in_a_day_for_the_hour() -> None:
    """If this fails, the expected rate forgets the time of day, or never forgets."""
    assert DECAY ** (DAY // SLOT_MS[0]) == pytest.approx(0.5)

"""Effects in a process's own memory and files: a replay changes nothing."""

import itertools
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.runtime.bus.port import Position, TopicPartition
from shared.runtime.effects import Applied, Checkpoint, Newest


class Event(NamedTuple):
    position: Position
    item: str


class Write(NamedTuple):
    key: str
    value: int | None
    stamp: tuple[float, str]


writes = st.lists(
    st.builds(
        Write, st.sampled_from("abc"), st.none() | st.integers(0, 9),
        st.tuples(st.integers(0, 5).map(float), st.uuids().map(str)),
    ),
    max_size=12,
)  # fmt: skip


def play(known: Newest[str, int], given: list[Write]) -> dict[str, int]:
    for write in given:
        if write.value is None:
            known.remove(write.key, write.stamp)
        else:
            known.put(write.key, write.value, write.stamp)
    return dict(known)


@given(writes, st.data())
def test_the_newest_wins_in_any_order_and_however_often(given: list[Write], data: st.DataObject):
    """Law: a price that comes late or twice would otherwise undo a newer one."""
    expected = {}
    for write in sorted(given, key=lambda w: w.stamp):
        expected[write.key] = write.value
    shuffled = data.draw(st.permutations(given)) + data.draw(
        st.lists(st.sampled_from(given), max_size=6) if given else st.just([])
    )
    assert play(Newest(), shuffled) == {k: v for k, v in expected.items() if v is not None}


def test_the_newest_of_one_product_by_hand() -> None:
    """A product that was removed must not come back with an old price."""
    known: Newest[str, int] = Newest()
    assert known.put("milk", 100, (1.0, "a"))
    assert not known.put("milk", 100, (1.0, "a")), "the same again"
    assert known.put("milk", 120, (2.0, "b"))
    assert not known.put("milk", 100, (1.0, "a")), "late"
    assert known.remove("milk", (3.0, "c"))
    assert not known.put("milk", 120, (2.0, "b")), "late, after its removal"
    assert dict(known) == {}
    assert known.put("milk", 90, (4.0, "d"))
    assert dict(known) == {"milk": 90}


def test_graves_are_bounded() -> None:
    """A catalogue that changes for years would fill the memory with what is gone."""
    known: Newest[str, int] = Newest(graves=2)
    for i in range(5):
        known.remove(f"{i}", (1.0,))
    assert [known.put(f"{i}", i, (0.5,)) for i in range(5)] == [True, True, True, False, False]


def stream(items: list[str], partitions: int = 2) -> list[Event]:
    places = itertools.count()
    return [
        Event(Position("t", n % partitions, n // partitions), item)
        for n, item in zip(places, items, strict=False)
    ]


items = st.lists(st.sampled_from("abcd"), max_size=20)


@given(items, st.lists(st.integers(0, 20), max_size=6), st.integers(1, 7))
def test_a_fold_counts_each_event_once_whatever_is_replayed(
    items: list[str], restarts: list[int], size: int
) -> None:
    """Law: at least once from the log, once in the count, for a replay from every offset."""
    events, counts, applied = stream(items), Counter[str](), Applied()
    for start in [0, *restarts]:
        replayed = [e for e in events if e.position.offset >= start]
        for at in range(0, len(replayed), size):
            counts.update(e.item for e in applied.take(replayed[at : at + size]))
    assert counts == Counter(items)


def test_offsets_are_of_the_next_record() -> None:
    """A consumer that seeks there would miss or repeat one."""
    applied = Applied()
    applied.take(stream(["a", "b", "c"]))
    assert applied.offsets() == {TopicPartition("t", 0): 2, TopicPartition("t", 1): 1}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    items=items,
    lives=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.booleans()), max_size=6),
)
def test_a_crash_at_any_moment_leaves_a_checkpoint_that_counts_right(
    tmp_path: Path, items: list[str], lives: list[tuple[int, int, bool]]
) -> None:
    """Law: state and offsets go to the disk together, so neither is ever ahead of the other."""
    path, at = tmp_path / "state", TopicPartition("t", 0)
    path.unlink(missing_ok=True)
    checkpoint, events = Checkpoint(path), stream(items, partitions=1)
    for start, end, saved in [*lives, (0, len(items), True)]:
        applied, state = checkpoint.load()
        counts = Counter(state.decode() if state else "")
        # What was committed was saved before, so a life never begins beyond the checkpoint.
        begin = min(start, applied.offsets().get(at, 0))
        counts.update(e.item for e in applied.take(events[begin:end]))
        if saved:
            checkpoint.save(applied, "".join(counts.elements()).encode())
    _, state = checkpoint.load()
    assert Counter((state or b"").decode()) == Counter(items)


def test_a_save_that_fails_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    """A full disk must not cost the state."""
    checkpoint = Checkpoint(tmp_path / "state")
    checkpoint.save(Applied(), b"old")
    (tmp_path / "state.new").mkdir()
    with pytest.raises(OSError, match=r"state\.new"):
        checkpoint.save(Applied(), b"new")
    assert checkpoint.load()[1] == b"old"

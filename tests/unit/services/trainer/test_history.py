"""The lake: nothing lost, nothing doubled, whatever a crash left behind."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.columns import TABLE_OF
from services.trainer.history import MERGE_AT, Lake
from shared.contracts.envelope import utc
from shared.contracts.errors import Retryable
from shared.contracts.events import Behaviour, Product, Touched
from shared.contracts.topics import BEHAVIOUR, CATALOG, wrap
from shared.runtime.bus.port import Position, Received, TopicPartition

P0 = TopicPartition("behaviour", 0)
C0 = TopicPartition("catalog", 0)


def seen(offset: int, user: str = "ann", item: str = "x") -> Received[Behaviour]:
    event = Behaviour(action="view_item", items=(Touched(item),))
    envelope = wrap(BEHAVIOUR, event, id=f"e{offset}", source="t", time=utc(offset), userid=user)
    return Received(envelope, user, Position("behaviour", 0, offset))


def frame(*received: Received[object]) -> pl.DataFrame:
    return TABLE_OF[received[0].position.topic].frame(received)


def product(offset: int, key: str, title: str | None) -> Received[Product]:
    position = Position("catalog", 0, offset)
    if title is None:
        return Received(None, key, position)
    event = wrap(CATALOG, Product(id=key, title=title), id=f"c{offset}", source="t", time=utc(1))
    return Received(event, key, position)


def offsets(lake: Lake, topic: str = "behaviour") -> list[int]:
    return sorted(lake.scan(topic).select("offset").collect()["offset"].to_list())


def fill(lake: Lake, files: int) -> None:
    for n in range(files):
        lake.append(P0, frame(seen(2 * n), seen(2 * n + 1)), 2 * n, 2 * n + 1)


def test_a_lake_says_itself_where_to_read_on(tmp_path: Path) -> None:
    """After a crash records would be read twice or never."""
    lake = Lake(tmp_path)
    assert lake.next_offset(P0) == 0
    lake.append(P0, frame(seen(3), seen(5)), 3, 7)
    assert Lake(tmp_path).next_offset(P0) == 8
    assert lake.ranges() == {"behaviour": {"0": [3, 7]}}


def test_a_full_disk_is_told_and_leaves_all_as_it_was(tmp_path: Path) -> None:
    """The trainer would die at every start, or a half-written file take the room that is missing."""
    lake, folder = Lake(tmp_path), tmp_path / "behaviour" / "0"
    lake.append(P0, frame(seen(0), seen(1, user="bob")), 0, 1)
    for first, last in ((0, 1), (2, 2)):
        (folder / f"{first:020}-{last:020}.draft").symlink_to("/dev/full")
    with pytest.raises(Retryable, match="No space left"):
        lake.append(P0, frame(seen(2)), 2, 2)
    with pytest.raises(Retryable, match="No space left"):
        lake.erase(["ann"])
    assert offsets(lake) == [0, 1]
    assert not list(folder.glob("*.draft"))
    lake.append(P0, frame(seen(2)), 2, 2)
    assert lake.erase(["ann"]) == {"behaviour": 2}
    assert offsets(lake) == [1]


def test_two_erasures_do_not_write_one_file_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebalance amid a long erasure begins it anew, and a torn file would be the history's end."""
    lake, write = Lake(tmp_path), pl.DataFrame.write_parquet
    lake.append(P0, frame(seen(0), seen(1, user="bob"), seen(2, user="cem")), 0, 2)
    writing, second, go_on = (threading.Event() for _ in range(3))

    def slow(*args: Any, **kwargs: Any) -> None:
        (second if writing.is_set() else writing).set()
        assert go_on.wait(20)
        write(*args, **kwargs)

    monkeypatch.setattr(pl.DataFrame, "write_parquet", slow)
    with ThreadPoolExecutor() as threads:
        erased = [threads.submit(lake.erase, ["ann"])]
        assert writing.wait(20)
        erased.append(threads.submit(lake.erase, ["bob"]))
        at_once = second.wait(0.3)
        go_on.set()
        assert [one.result() for one in erased] == [{"behaviour": 1}, {"behaviour": 1}]
    assert not at_once
    assert offsets(lake) == [2]


def test_offsets_that_are_here_are_refused(tmp_path: Path) -> None:
    """A second reader would double the history."""
    lake = Lake(tmp_path)
    lake.append(P0, frame(seen(0), seen(1)), 0, 1)
    with pytest.raises(ValueError, match="here already"):
        lake.append(P0, frame(seen(1)), 1, 1)


def test_a_half_written_file_does_not_count(tmp_path: Path) -> None:
    """A crash while writing would leave rows that cannot be read."""
    lake = Lake(tmp_path)
    fill(lake, 1)
    (tmp_path / "behaviour" / "0" / "00000000000000000002-00000000000000000003.draft").write_bytes(
        b"PAR1 torn"
    )
    assert lake.next_offset(P0) == 2
    assert offsets(lake) == [0, 1]


def test_merging_keeps_every_row_once(tmp_path: Path) -> None:
    """Compaction would change the history."""
    lake = Lake(tmp_path)
    fill(lake, MERGE_AT)
    assert lake.merge() == MERGE_AT
    assert offsets(lake) == list(range(2 * MERGE_AT))
    assert len(list((tmp_path / "behaviour" / "0").iterdir())) == 1
    assert lake.next_offset(P0) == 2 * MERGE_AT


def test_a_crash_between_merging_and_removing_doubles_nothing(tmp_path: Path) -> None:
    """Rows would count twice until somebody cleans up."""
    lake = Lake(tmp_path)
    fill(lake, MERGE_AT)
    folder = tmp_path / "behaviour" / "0"
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    lake.merge()
    for path, content in list(kept.items())[3:9]:
        path.write_bytes(content)
    assert offsets(lake) == list(range(2 * MERGE_AT))
    lake.merge()
    assert len(list(folder.iterdir())) == 1


@given(cuts=st.lists(st.integers(1, 40), unique=True, max_size=8))
def test_any_cutting_into_files_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    """How often the worker was restarted would change what is learnt."""
    lake = Lake(tmp_path_factory.mktemp("lake"))
    bounds = sorted({0, *cuts, 41})
    for first, end in itertools.pairwise(bounds):
        rows = frame(*(seen(n) for n in range(first, end)))
        lake.append(P0, rows, first, end - 1)
    assert offsets(lake) == list(range(41))


def test_a_compacted_topic_shows_the_newest_of_each_key(tmp_path: Path) -> None:
    """A product that is gone, or its old title, would come back."""
    lake = Lake(tmp_path)
    lake.append(C0, frame(product(0, "a", "old"), product(1, "b", "B")), 0, 1)
    lake.append(C0, frame(product(2, "a", "new"), product(3, "b", None)), 2, 3)
    rows = lake.scan("catalog").select("key", "title", "event_id").collect().rows()
    assert rows == [("a", "new", "c2"), ("b", None, None)]


def test_erasing_removes_a_person_everywhere_and_says_how_much(tmp_path: Path) -> None:
    """A person's rows would stay on disk after the shop said that they are gone."""
    lake = Lake(tmp_path)
    lake.append(P0, frame(seen(0, "ann"), seen(1, "bob"), seen(2, "ann")), 0, 2)
    lake.append(P0, frame(seen(3, "bob")), 3, 3)
    assert lake.erase(["ann"]) == {"behaviour": 2}
    assert lake.scan("behaviour").select("user").collect()["user"].to_list() == ["bob", "bob"]
    assert lake.next_offset(P0) == 4
    assert lake.erase(["ann"]) == {}


def test_nothing_is_read_as_no_rows(tmp_path: Path) -> None:
    """A new shop's first job would crash."""
    assert Lake(tmp_path).scan("orders").collect().height == 0


def test_files_of_older_and_newer_code_are_read(tmp_path: Path) -> None:
    """An update of shoploop would make years of history unreadable."""
    lake = Lake(tmp_path)
    lake.append(P0, frame(seen(0)).drop("bot"), 0, 0)
    lake.append(P0, frame(seen(1)).with_columns(mood=pl.lit("good")), 1, 1)
    rows = lake.scan("behaviour").select("offset", "bot").collect().rows()
    assert rows == [(0, None), (1, 0.0)]

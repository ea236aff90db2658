"""The Parquet lake: what the topics said, kept longer than they keep it, exactly once.

A file ``<topic>/<partition>/<first>-<last>.parquet`` holds the rows of the offsets first to last.
It appears whole, by a rename; so the files themselves say what is here, and a crash at any moment
neither loses nor doubles a record. A file whose range lies within another's is what a crash left
of a merge, and does not count.
"""

import os
import re
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from services.trainer.columns import TABLE_OF, Table
from shared.contracts.errors import Retryable
from shared.runtime.bus.port import TopicPartition

REDRIVEN = -1
"""Stands for a topic's partition where its records came back from the dead letters."""
_PARTITION = re.compile(r"-1|\d+")
_FILE = re.compile(r"(\d+)-(\d+)\.parquet")
ROW_GROUP = 250_000
MERGE_AT = 16
"""Files below `MERGED_ROWS` in one partition, from which on they are merged."""
MERGED_ROWS = 2_000_000


class Piece(NamedTuple):
    """One file and the offsets that it covers, both ends included."""

    first: int
    last: int
    path: Path


class Lake:
    """The tables of the lake; every method blocks on the disk.

    One process writes; any number may read. `merge` and `erase` must not run while another
    process reads a table that they change; of the two, one runs at a time.

    Parameters
    ----------
    path : Path
        Created when first written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Not the event loop's: a task that is cancelled leaves its thread at work.
        self._rewriting = threading.Lock()

    def next_offset(self, partition: TopicPartition) -> int:
        """Return the offset behind the last one that is here; 0 for none."""
        return max((piece.last + 1 for piece in self._pieces(self._folder(partition))), default=0)

    def append(self, partition: TopicPartition, rows: pl.DataFrame, first: int, last: int) -> None:
        """Store the rows of the offsets `first` to `last`, durably, whole or not at all.

        Raises
        ------
        ValueError
            The offsets do not follow those that are here.
        Retryable
            The disk does not take them.
        """
        if first < self.next_offset(partition):
            raise ValueError(f"offset {first} of {partition} is here already")
        self._write(rows, self._folder(partition) / f"{first:020}-{last:020}.parquet")

    def scan(self, topic: str) -> pl.LazyFrame:
        """Return the topic's rows, read when collected and no further than asked for.

        For a compacted topic the newest row of each key; tombstones have `event_id` null.
        """
        table = TABLE_OF[topic]
        files = [piece.path for piece in self._all(topic)]
        if not files:
            return pl.LazyFrame(schema=dict(table.schema))
        rows = _rows_of(files, table)
        return _newest(rows) if table.latest else rows

    def ranges(self) -> dict[str, dict[str, list[int]]]:
        """Return topic to partition to the first and last offset here."""
        found: dict[str, dict[str, list[int]]] = {}
        for topic in TABLE_OF:
            for folder in self._partitions(topic):
                if pieces := self._pieces(folder):
                    span = [pieces[0].first, max(piece.last for piece in pieces)]
                    found.setdefault(topic, {})[folder.name] = span
        return found

    def merge(self) -> int:
        """Merge small files and drop what no longer counts; return how many files went.

        Raises `Retryable` when the disk has no room; what is merged by then stays so.
        """
        with self._rewriting:
            return sum(
                self._merge(TABLE_OF[topic], folder)
                for topic in TABLE_OF
                for folder in self._partitions(topic)
            )

    def erase(self, people: Sequence[str]) -> dict[str, int]:
        """Rewrite every file without the rows of `people`; return the rows removed a topic.

        Raises `Retryable` when the disk has no room; the same call again does what is missing.
        """
        removed: dict[str, int] = {}
        with self._rewriting:
            for topic, table in TABLE_OF.items():
                if gone := self._erase(table, people):
                    removed[topic] = gone
        return removed

    def _erase(self, table: Table, people: Sequence[str]) -> int:
        if not table.people:
            return 0
        theirs = pl.any_horizontal(pl.col(table.people).is_in(list(people))).fill_null(False)
        return sum(self._rewrite(piece, theirs) for piece in self._all(table.topic.name))

    def _rewrite(self, piece: Piece, theirs: pl.Expr) -> int:
        gone = int(pl.scan_parquet(piece.path).select(theirs.sum()).collect().item() or 0)
        if gone:
            self._write(pl.read_parquet(piece.path).filter(~theirs), piece.path)
        return gone

    def _merge(self, table: Table, folder: Path) -> int:
        everything = sorted(_found(folder))
        pieces = self._pieces(folder)
        gone = [piece for piece in everything if piece not in pieces]
        small = [p for p in pieces if _rows(p.path) < MERGED_ROWS]
        if len(small) >= MERGE_AT:
            for run in _runs(small, pieces):
                self._write_merged(table, folder, run)
                gone += run
        for piece in gone:
            piece.path.unlink(missing_ok=True)
        return len(gone)

    def _write_merged(self, table: Table, folder: Path, run: Sequence[Piece]) -> None:
        rows = _rows_of([piece.path for piece in run], table)
        merged = (_newest(rows) if table.latest else rows).sort("offset").collect()
        self._write(merged, folder / f"{run[0].first:020}-{run[-1].last:020}.parquet")

    def _write(self, rows: pl.DataFrame, target: Path) -> None:
        draft = target.with_suffix(".draft")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            rows.write_parquet(
                draft, compression="zstd", compression_level=1, row_group_size=ROW_GROUP
            )
            _sync(draft)
            draft.replace(target)
            _sync(target.parent)
        except (OSError, pl.exceptions.ComputeError) as error:
            # Polars says of a full disk that the file is out of specification.
            draft.unlink(missing_ok=True)
            raise Retryable(f"the history cannot be written: {error}") from error

    def _folder(self, partition: TopicPartition) -> Path:
        return self.path / partition.topic / str(partition.partition)

    def _partitions(self, topic: str) -> list[Path]:
        folder = self.path / topic
        if not folder.is_dir():
            return []
        return sorted(p for p in folder.iterdir() if _PARTITION.fullmatch(p.name))

    def _all(self, topic: str) -> Iterable[Piece]:
        return [piece for folder in self._partitions(topic) for piece in self._pieces(folder)]

    def _pieces(self, folder: Path) -> list[Piece]:
        """Return the files that count, by offset."""
        counting: list[Piece] = []
        for piece in sorted(_found(folder), key=lambda p: (p.first, -p.last)):
            if not counting or piece.last > counting[-1].last:
                counting.append(piece)
        return counting


def _found(folder: Path) -> Iterable[Piece]:
    for path in folder.iterdir() if folder.is_dir() else ():
        if named := _FILE.fullmatch(path.name):
            yield Piece(int(named[1]), int(named[2]), path)


def _runs(small: Sequence[Piece], pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Return stretches of two or more small files with no larger one between them."""
    runs: list[list[Piece]] = [[]]
    for piece in pieces:
        if piece in small:
            runs[-1].append(piece)
        else:
            runs.append([])
    return [run for run in runs if len(run) > 1]


def _rows_of(files: Sequence[Path], table: Table) -> pl.LazyFrame:
    """Return the rows of files that older or newer code wrote, in the columns of this one."""
    return pl.scan_parquet(
        list(files), schema=dict(table.schema), missing_columns="insert", extra_columns="ignore"
    )


def _newest(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.sort("offset").unique("key", keep="last", maintain_order=True)


def _rows(path: Path) -> int:
    return int(pl.scan_parquet(path).select(pl.len()).collect().item())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

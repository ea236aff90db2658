"""A whole import: rows → events → batches, rejects on the side, progress kept on disk."""

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from shared.contracts.errors import Invalid
from shared.tools.load.columns import Kind
from shared.tools.load.files import Numbered, Table
from shared.tools.load.rows import Reader
from shared.tools.load.send import Answer

BATCH = 1000
_BATCH_BYTES = 700_000
_ORDER_LINES = 2000
_NATIVE: dict[Kind, tuple[str, ...]] = {
    "behaviour": ("items",),
    "catalog": ("titles", "tags", "attributes"),
    "orders": ("lines",),
    "shoppers": ("identifiers", "traits"),
}
"""What has parts in the collector's own shapes, and in no table."""


class Send(Protocol):
    """Takes a batch to the collector."""

    def send(self, events: Sequence[dict[str, Any]]) -> Answer:
        """Return the collector's answer."""
        ...


class Progress(msgspec.Struct):
    """How far an import has come; in a file of its own, so that it goes on after a stop."""

    done: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0

    @classmethod
    def read(cls, path: Path) -> "Progress":
        """Return what the file says, a beginning if there is none."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (FileNotFoundError, msgspec.DecodeError):
            return cls()

    def write(self, path: Path) -> None:
        """Replace the file."""
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(self))
        fresh.replace(path)


class Made(NamedTuple):
    """A row and what it became: the event, or why it became none.

    `order` is that of which the row may be one line among several.
    """

    row: Numbered
    event: dict[str, Any] | None
    reason: str = ""
    field: str | None = None
    order: tuple[Any, ...] | None = None


class Rejects:
    """A CSV of what was not taken: row number, column or field, reason, the row as JSON."""

    def __init__(self, path: Path, *, after: int) -> None:
        self._path = path
        self._kept = after > 0 and path.exists()

    def add(self, rejected: Sequence[tuple[Numbered, str | None, str]]) -> None:
        """Append; the file is only made when there is something to say."""
        if not rejected:
            return
        with self._path.open("a" if self._kept else "w", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            if not self._kept:
                out.writerow(["row", "field", "reason", "content"])
            self._kept = True
            for row, where, reason in rejected:
                text = row.text or msgspec.json.encode(row.values, enc_hook=str)
                content = text.decode("utf-8", "replace").strip()
                out.writerow([row.number, where or "", reason, content])


@dataclass
class Import:
    """One file on its way to the collector.

    An event without an id of its own gets one from the file's fingerprint and its row, so that a
    repeated import counts once.
    """

    table: Table
    kind: Kind
    reader: Reader
    sender: Send
    rejects: Rejects
    state: Path
    progress: Progress = field(default_factory=Progress)
    stamp: str = ""

    def run(self, on_rows: Callable[[int], None]) -> Progress:
        """Send the rest of the file; `on_rows` is told of every so many finished rows."""
        self.stamp = self.table.fingerprint()
        made = (self._made(row) for row in self.table.rows(self.progress.done))
        for batch in batches(merged(made) if self.kind == "orders" else made):
            self._send(batch)
            on_rows(batch[-1].row.number - self.progress.done)
            self.progress.done = batch[-1].row.number
            self.progress.write(self.state)
        return self.progress

    def _made(self, row: Numbered) -> Made:
        if row.values is None:
            return Made(row, None, row.wrong)
        stamp = f"import-{self.kind}-{self.stamp}-{row.number}"
        if native(row.values, self.kind):
            return Made(row, _stamped(row.values, stamp, self.kind))
        try:
            event = {"id": stamp, **self.reader.event(row.values)}
        except Invalid as error:
            return Made(row, None, error.reason, error.field)
        fact = event["data"]
        return Made(row, event, order=(fact.get("order_id"), fact.get("status")))

    def _send(self, batch: Sequence[Made]) -> None:
        good = [m for m in batch if m.event is not None]
        rejected = [(m.row, m.field, m.reason) for m in batch if m.event is None]
        if good:
            answer = self.sender.send([m.event for m in good if m.event is not None])
            rejected += [(good[e.index].row, e.field, e.reason) for e in answer.errors]
            self.progress.accepted += answer.accepted
            self.progress.duplicates += answer.duplicates
        rejected.sort(key=lambda one: one[0].number)
        self.rejects.add(rejected)
        self.progress.rejected += len(rejected)


def batches(made: Iterator[Made]) -> Iterator[list[Made]]:
    """Cut into batches of at most 1,000 events and 700 kB, which the door takes at once."""
    batch: list[Made] = []
    size = 0
    for whole in made:
        one, weight = _weighed(whole)
        if batch and (len(batch) >= BATCH or size + weight > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += weight
    if batch:
        yield batch


def _weighed(made: Made) -> tuple[Made, int]:
    weight = len(msgspec.json.encode(made.event)) if made.event else 0
    if weight <= _BATCH_BYTES:
        return made, weight or 100
    return Made(made.row, None, f"{weight} bytes; an event has at most {_BATCH_BYTES}"), 100


def merged(made: Iterator[Made]) -> Iterator[Made]:
    """Join neighbouring rows of one order into one order with all their lines."""
    held: Made | None = None
    for one in made:
        if held is not None and _same_order(held, one):
            assert held.event is not None
            assert one.event is not None
            held.event["data"].setdefault("lines", []).extend(one.event["data"].get("lines", []))
            held = held._replace(row=one.row)
            continue
        if held is not None:
            yield held
        held = one
    if held is not None:
        yield held


def _same_order(a: Made, b: Made) -> bool:
    if a.event is None or a.order is None or a.order != b.order:
        return False
    return len(a.event["data"].get("lines", ())) < _ORDER_LINES


def native(values: Mapping[str, Any], kind: Kind) -> bool:
    """Whether a row is an event in the collector's own shape already."""
    return isinstance(values.get("data"), dict) or any(
        isinstance(values.get(part), (dict, list)) for part in _NATIVE[kind]
    )


def _stamped(values: Mapping[str, Any], stamp: str, kind: Kind) -> dict[str, Any]:
    """Return the event with an id; a product's own is not the event's."""
    if kind == "catalog" and "data" not in values:
        return {"id": stamp, "data": values}
    return {"id": stamp, **values}


def state_file(folder: Path, path: Path, kind: Kind, stamp: str) -> Path:
    """Return where the progress of this file as this kind is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{os.path.basename(path)}-{kind}-{stamp}.json"

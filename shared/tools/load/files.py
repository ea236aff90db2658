"""CSV, JSONL and Parquet as rows with their numbers, from any row on, in bounded memory."""

import codecs
import csv
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from shared.contracts.errors import Invalid, NotFound

if TYPE_CHECKING:
    import polars as pl

_CHUNK = 5_000
_JSON = {".jsonl", ".ndjson", ".json"}
_SEPARATED = {".csv": ",", ".tsv": "\t", ".txt": ","}
_LONGEST_LINE = 16 << 20
_LOST = "\ufffd"
"""What stands for bytes that are no UTF-8."""
_NOT_UTF8 = "is not UTF-8 text: save it as UTF-8, or convert it with iconv -f GB18030 -t UTF-8"


class Numbered(NamedTuple):
    """A row with its number, from 1; `values` is None where it could not be read, `wrong` says why."""

    number: int
    values: dict[str, Any] | None
    text: bytes = b""
    wrong: str = ""


class Table:
    """A file of rows.

    Raises
    ------
    NotFound
        There is no such file.
    Invalid
        Its ending is none of .csv .tsv .jsonl .parquet, or it cannot be read as what it says.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise NotFound(f"there is no file {path}")
        self._path = path
        self._ending = path.suffix.lower()
        if self._ending not in {*_JSON, *_SEPARATED, ".parquet"}:
            raise Invalid(f"{path.name}: read are .csv, .tsv, .jsonl and .parquet")

    def columns(self) -> list[str]:
        """Return the columns' names; of JSONL those of the first thousand rows.

        Raises `Invalid` where there are none.
        """
        if self._ending in _JSON:
            names: dict[str, None] = {}
            for row in self.rows():
                names |= dict.fromkeys(row.values or ())
                if row.number >= 1000:
                    break
            if not names:
                raise Invalid(f"{self._path.name} holds no JSON objects; one a line is read")
            return list(names)
        if self._ending in _SEPARATED:
            return self._header(self._records())
        return list(self._told(lambda: self._frame().collect_schema().names()))

    def height(self) -> int:
        """Return the number of rows."""
        if self._ending in _JSON:
            with self._path.open("rb") as file:
                return sum(bool(line.strip()) for line in file)
        if self._ending in _SEPARATED:
            return max(0, sum(1 for _ in self._records()) - 1)
        import polars as pl

        return int(self._told(lambda: self._frame().select(pl.len()).collect().item()))

    def fingerprint(self) -> str:
        """Return 16 hex digits that change with the file's size, beginning or end."""
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            head = file.read(1 << 20)
            file.seek(max(0, size - (1 << 20)))
            tail = file.read()
        return hashlib.blake2b(b"%d" % size + head + tail, digest_size=8).hexdigest()

    def rows(self, after: int = 0) -> Iterator[Numbered]:
        """Yield the rows behind number `after`."""
        if self._ending in _JSON:
            yield from self._lines(after)
            return
        if self._ending in _SEPARATED:
            yield from self._separated(after)
            return
        number = after
        for chunk in self._chunks(after):
            for values in chunk.iter_rows(named=True):
                number += 1
                yield Numbered(number, values)

    def _lines(self, after: int) -> Iterator[Numbered]:
        decoder = msgspec.json.Decoder(dict[str, Any])
        number = 0
        with self._path.open("rb") as file:
            while line := file.readline(_LONGEST_LINE):
                if len(line) == _LONGEST_LINE:
                    raise Invalid(
                        f"{self._path.name} has a line beyond 16 MiB; one row a line is read"
                    )
                line = line.removeprefix(codecs.BOM_UTF8)
                if not line.strip():
                    continue
                number += 1
                if number <= after:
                    continue
                try:
                    yield Numbered(number, decoder.decode(line), line)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    yield Numbered(number, None, line, "no JSON object")

    def _separated(self, after: int) -> Iterator[Numbered]:
        records = self._records()
        names = self._header(records)
        for number, record in enumerate(records, 1):
            if number > after:
                yield _row(number, names, record)

    def _records(self) -> Iterator[list[str] | csv.Error]:
        """Yield the fields of each record, or why it is none; blank lines are no records."""
        # As text: an id such as 007 must stay one.
        with self._path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file, delimiter=_SEPARATED[self._ending])
            while True:
                try:
                    if record := next(reader):
                        yield record
                except csv.Error as error:
                    yield error
                except StopIteration:
                    return

    def _header(self, records: Iterator[list[str] | csv.Error]) -> list[str]:
        names = next(records, None)
        if not isinstance(names, list):
            raise Invalid(f"{self._path.name} has no line with the names of its columns")
        if any(_LOST in name for name in names):
            raise Invalid(f"{self._path.name} {_NOT_UTF8}")
        return [name if name not in names[:n] else f"{name}_{n}" for n, name in enumerate(names)]

    def _chunks(self, after: int) -> "Iterator[pl.DataFrame]":
        frame = self._frame().slice(after)
        chunks = self._told(lambda: iter(frame.collect_batches(chunk_size=_CHUNK)))
        while (chunk := self._told(lambda: next(chunks, None))) is not None:
            yield chunk

    def _frame(self) -> "pl.LazyFrame":
        import polars as pl

        return pl.scan_parquet(self._path)

    def _told(self, step: Any) -> Any:
        import polars as pl

        try:
            return step()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise Invalid(f"{self._path.name} cannot be read: {error}") from error


def _row(number: int, names: Sequence[str], record: list[str] | csv.Error) -> Numbered:
    if isinstance(record, csv.Error):
        return Numbered(number, None, wrong=f"{record}; is a quotation mark left open?")
    text = ",".join(record).encode()
    if any(_LOST in field for field in record):
        return Numbered(number, None, text, _NOT_UTF8)
    if any(record[len(names) :]):
        wrong = f"{len(record)} fields for {len(names)} columns; is a quotation mark missing?"
        return Numbered(number, None, text, wrong)
    return Numbered(
        number, {name: field or None for name, field in zip(names, record, strict=False)}
    )

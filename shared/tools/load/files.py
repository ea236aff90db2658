"""CSV, JSONL and Parquet as rows with their numbers, from any row on, in bounded memory."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from shared.contracts.errors import Invalid, NotFound

if TYPE_CHECKING:
    import polars as pl

_CHUNK = 5_000
_JSON = {".jsonl", ".ndjson", ".json"}
_SEPARATED = {".csv": ",", ".tsv": "\t", ".txt": ","}


class Numbered(NamedTuple):
    """A row with its number, from 1; `values` is None where it could not be read."""

    number: int
    values: dict[str, Any] | None
    text: bytes = b""


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
        """Return the columns' names; of JSONL those of the first thousand rows."""
        if self._ending in _JSON:
            names: dict[str, None] = {}
            for row in self.rows():
                names |= dict.fromkeys(row.values or ())
                if row.number >= 1000:
                    break
            return list(names)
        return list(self._told(lambda: self._frame().collect_schema().names()))

    def height(self) -> int:
        """Return the number of rows."""
        if self._ending in _JSON:
            with self._path.open("rb") as file:
                return sum(bool(line.strip()) for line in file)
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
        number = after
        for chunk in self._chunks(after):
            for values in chunk.iter_rows(named=True):
                number += 1
                yield Numbered(number, values)

    def _lines(self, after: int) -> Iterator[Numbered]:
        decoder = msgspec.json.Decoder(dict[str, Any])
        number = 0
        with self._path.open("rb") as file:
            for line in file:
                if not line.strip():
                    continue
                number += 1
                if number <= after:
                    continue
                try:
                    yield Numbered(number, decoder.decode(line), line)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    yield Numbered(number, None, line)

    def _chunks(self, after: int) -> "Iterator[pl.DataFrame]":
        frame = self._frame().slice(after)
        chunks = self._told(lambda: iter(frame.collect_batches(chunk_size=_CHUNK)))
        while (chunk := self._told(lambda: next(chunks, None))) is not None:
            yield chunk

    def _frame(self) -> "pl.LazyFrame":
        import polars as pl

        if self._ending == ".parquet":
            return pl.scan_parquet(self._path)
        # As text: an id such as 007 must stay one.
        return pl.scan_csv(
            self._path,
            separator=_SEPARATED[self._ending],
            infer_schema=False,
            encoding="utf8-lossy",
        )

    def _told(self, step: Any) -> Any:
        import polars as pl

        try:
            return step()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise Invalid(f"{self._path.name} cannot be read: {error}") from error

"""`shoploop import`: a shop's files through the collector's door."""

from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as Grid

from shared.contracts.errors import Invalid
from shared.tools.cli.access import address, api_key
from shared.tools.load.columns import KINDS, Kind, guessed, kind_of
from shared.tools.load.files import Table
from shared.tools.load.rows import Reader
from shared.tools.load.run import Import, Rejects, native, state_file
from shared.tools.load.run import Progress as Done
from shared.tools.load.send import Sender
from shared.tools.local.paths import default_home

_SAMPLE = 5
_console = Console()


def load(
    file: Annotated[Path, typer.Argument(help="A .csv, .tsv, .jsonl or .parquet file.")],
    to: Annotated[
        str | None, typer.Option(help=f"What it holds: {', '.join(KINDS)}. Guessed if not said.")
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", help="COLUMN=FIELD, where the guess is wrong; repeat it."),
    ] = None,
    action: Annotated[
        str | None, typer.Option(help="The action of behaviour without a column of actions.")
    ] = None,
    rejects: Annotated[
        Path | None, typer.Option(help="Where refused rows go; default FILE.rejects.csv.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the guess and some events; send nothing.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin at the first row, whatever was sent before.")
    ] = False,
) -> None:
    """Send a file's rows to the collector; stopped or broken off, it goes on where it was.

    Ends with 1 if rows were refused; they are in the reject file with number and reason.
    """
    table = Table(file)
    names = table.columns()
    kind = _kind(to, names)
    fields = guessed(names, kind, _named(columns or []))
    reader = Reader(kind, fields, action=action)
    _show(kind, fields, names)
    if dry_run:
        _sample(table, reader, kind)
        return
    state = state_file(default_home().root / "imports", file, kind, table.fingerprint())
    progress = Done() if restart else Done.read(state)
    where = rejects or file.with_name(f"{file.name}.rejects.csv")
    key = api_key("admin" if kind in ("catalog", "shoppers") else "events")
    with httpx.Client(
        base_url=address("collector"), headers={"Authorization": f"Bearer {key}"}, timeout=60
    ) as client:
        job = Import(
            table=table,
            kind=kind,
            reader=reader,
            sender=Sender(client, kind),
            rejects=Rejects(where, after=progress.done),
            state=state,
            progress=progress,
        )
        done = _run(job, file.name, table.height())
    _console.print(
        f"{done.accepted} accepted, {done.duplicates} known already, {done.rejected} refused"
        + (f"; see {where}" if done.rejected else "")
    )
    if done.rejected:
        raise typer.Exit(1)


def _run(job: Import, name: str, height: int) -> Done:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=height, completed=job.progress.done)
        return job.run(lambda rows: bar.advance(task, rows))


def _kind(to: str | None, names: list[str]) -> Kind:
    if to is None:
        return kind_of(names)
    for kind in KINDS:
        if kind == to:
            return kind
    raise Invalid(f"--to is one of {', '.join(KINDS)}, not {to!r}")


def _named(pairs: list[str]) -> dict[str, str]:
    named = {}
    for pair in pairs:
        column, sign, field = pair.rpartition("=")
        if not sign or not column or not field:
            raise Invalid(f"--map takes COLUMN=FIELD, not {pair!r}")
        named[column] = field
    return named


def _show(kind: Kind, fields: dict[str, str], names: list[str]) -> None:
    grid = Grid("column", f"field of {kind}", box=None, header_style="bold")
    by_column = {column: field for field, column in fields.items()}
    rest = "[dim]kept as attribute[/]" if kind in ("catalog", "shoppers") else "[dim]not used[/]"
    for name in names:
        grid.add_row(name, by_column.get(name, rest))
    _console.print(grid)


def _sample(table: Table, reader: Reader, kind: Kind) -> None:
    for row in table.rows():
        if row.number > _SAMPLE:
            break
        if row.values is None:
            _console.print(f"row {row.number}: [red]{row.wrong}[/]")
            continue
        try:
            event = row.values if native(row.values, kind) else reader.event(row.values)
            _console.print(f"row {row.number}:", event)
        except Invalid as error:
            _console.print(f"row {row.number}: [red]{error}[/]")

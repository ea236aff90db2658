"""Files that are made from declarations: written, or compared with what is there."""

from collections.abc import Mapping
from pathlib import Path

import typer
from rich.console import Console

STALE = 1


def write_or_check(files: Mapping[Path, str], *, check: bool, command: str) -> None:
    """Write the files that differ; with `check` name them instead and end with status 1."""
    console = Console(stderr=True, highlight=False)
    differing = [path for path, text in files.items() if _text(path) != text]
    for path in differing:
        if check:
            console.print(f"[red]✗[/] {path.name} is stale: run `shoploop {command}`")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path])
            console.print(f"[green]✓[/] {path.name} written")
    if check and differing:
        raise typer.Exit(STALE)
    if not differing:
        console.print(f"[green]✓[/] {len(files)} files are up to date")


def _text(path: Path) -> str | None:
    return path.read_text() if path.exists() else None

"""`shoploop chaos`: faults under load, and the proof that nothing was lost or took effect twice."""

import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from shared.tools.chaos.faults import Fault
from shared.tools.chaos.run import run


def chaos(
    seeds: Annotated[int, typer.Option(min=1, help="How many faults; each seed is one.")] = 200,
    first: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    home: Annotated[
        Path | None, typer.Option(help="An empty folder to keep; a temporary one else.")
    ] = None,
) -> None:
    """Kill programs at random moments under load; count lost events and doubled effects.

    Ends with one JSON line, and with status 1 if the promise was broken.
    """
    console = Console(stderr=True)

    def tell(seed: int, fault: Fault, took_s: float) -> None:
        console.print(f"seed {seed}: {fault.victim} killed, ready again after {took_s:.1f} s")

    with tempfile.TemporaryDirectory(prefix="shoploop-chaos-") as folder:
        verdict = run(home or Path(folder), range(first, first + seeds), tell=tell)
    print(msgspec.json.encode(verdict).decode())
    raise typer.Exit(0 if verdict.kept else 1)

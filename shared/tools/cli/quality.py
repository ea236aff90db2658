"""`shoploop test`, `check` and `bench`: what CI runs."""

import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import typer
from rich.console import Console

from shared.tools.local.paths import CHECKOUT

_RAW = {"allow_extra_args": True, "ignore_unknown_options": True}
_COMMAND = "from shared.tools.cli.main import main; main()"


class Step(NamedTuple):
    """One static check, run as a program of its own."""

    name: str
    command: tuple[str, ...]


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name, *arguments)


STEPS = (
    Step("format", _module("ruff", "format", "--check", ".")),
    Step("lint", _module("ruff", "check", ".")),
    Step("types", _module("mypy")),
    Step("imports", (sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()")),
    Step("map", (sys.executable, "-c", _COMMAND, "map", "--check")),
    Step("schemas", (sys.executable, "-c", _COMMAND, "schemas", "--check")),
)  # fmt: skip

test = typer.Typer(add_completion=False)
bench = typer.Typer(add_completion=False)


def check() -> None:
    """Check format, lint, types, imports and generated files; ends with 1 if anything is wrong."""
    if not checked(STEPS):
        raise typer.Exit(1)


def checked(steps: Sequence[Step]) -> bool:
    """Run every step, show the output of those that fail, and tell whether none did."""
    console = Console(stderr=True)
    well = True
    for step in steps:
        start = time.monotonic()
        done = subprocess.run(
            step.command, check=False, cwd=CHECKOUT, capture_output=True, text=True
        )
        mark = "[green]✓[/]" if done.returncode == 0 else "[red]✗[/]"
        console.print(f"{mark} {step.name:<8} {time.monotonic() - start:5.1f} s", highlight=False)
        if done.returncode:
            well = False
            console.print((done.stdout + done.stderr).strip(), markup=False, highlight=False)
    return well


@test.command(context_settings=_RAW)
def _test(
    context: typer.Context,
    containers: Annotated[
        bool, typer.Option("--containers", help="Also build the images and run the loop in them.")
    ] = False,
) -> None:
    """Run the checks and all tests; with arguments, pytest alone with these arguments."""
    well = bool(context.args) or checked(STEPS)
    chosen = () if containers else ("-m", "not containers")
    done = subprocess.run(_module("pytest", *chosen, *context.args), check=False, cwd=CHECKOUT)
    raise typer.Exit(done.returncode or (0 if well else 1))


@bench.command(context_settings=_RAW, add_help_option=False)
def _bench(context: typer.Context) -> None:
    """Run benchmarks by name, all if none is named; each prints one JSON line."""
    raise typer.Exit(
        subprocess.run(
            _module("tests.benchmarks", *context.args), check=False, cwd=CHECKOUT
        ).returncode
    )

"""`shoploop`: finds the command's module, and imports nothing else."""

import difflib
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from shared.contracts.errors import Invalid, NotFound, Retryable

MODULES = "shared.tools.cli"


class Command(NamedTuple):
    """A command: ``module:name`` of a typer app or function below `MODULES`, and what it is for."""

    target: str
    about: str


GROUPS: dict[str, dict[str, Command]] = {
    "Try it": {
        "demo": Command("demo:demo", "start everything, load a grocer's year, watch the loop turn"),
        "up": Command("stack:up", "start what is missing of Kafka, Redis and the services"),
        "down": Command("stack:down", "stop what runs"),
        "status": Command("stack:status", "show what runs, where, and how large it is"),
        "doctor": Command("doctor:doctor", "look for what is missing or wrong on this machine"),
    },
    "Feed and ask": {
        "import": Command("load:load", "read CSV, JSONL or Parquet files through the collector"),
        "evaluate": Command("evaluate:app", "measure the models on a file of your own"),
        "release": Command("releases:app", "list, promote and roll back releases of models"),
    },
    "Operate": {
        "topics": Command("topics:topics", "create, list and check the topics"),
        "lag": Command("topics:lag", "how far each group is behind"),
        "replay": Command("topics:replay", "let a group read again from a moment or an offset"),
        "dlq": Command("topics:dlq", "look at dead letters, and send them again"),
        "keys": Command("keys:app", "make, list and revoke API keys"),
        "forget": Command("forget:forget", "erase a person, and show what each service removed"),
    },
    "Develop": {
        "test": Command("quality:test", "all that CI runs; with arguments, pytest alone"),
        "check": Command("quality:check", "format, lint, types, imports, generated files"),
        "bench": Command("quality:bench", "run benchmarks by name, one JSON line each"),
        "chaos": Command("chaos:chaos", "kill programs under load, and count what was lost"),
        "map": Command("map:draw", "draw docs/map.md from the manifests"),
        "schemas": Command("schemas:schemas", "write the events' JSON Schemas and AsyncAPI"),
        "new": Command("new:new", "write the rooms of a new service"),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the interpreter with its exit code.

    0 is success, 1 a complaint, 2 a wrong command line.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        print(overview())
        raise SystemExit(0)
    name, *rest = given
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"; did you mean `shoploop {near[0]}`?" if near else ""
        print(f"shoploop has no command {name!r}{hint}\n\n{overview()}", file=sys.stderr)
        raise SystemExit(2)
    try:
        run(name, rest)
    except (Invalid, NotFound, Retryable) as complaint:
        print(f"✗ {complaint}", file=sys.stderr)
        raise SystemExit(1) from None


def overview() -> str:
    """Return the list of commands."""
    lines = ["usage: shoploop COMMAND [ARGUMENTS…]     shoploop COMMAND --help"]
    for title, commands in GROUPS.items():
        lines += ["", title]
        lines += [f"  {name:<10} {command.about}" for name, command in commands.items()]
    return "\n".join(lines)


def run(name: str, arguments: Sequence[str]) -> None:
    """Run a command as typer does, exit included."""
    import logging

    import typer

    # Kafka's client tells of each try to connect; the command says what came of it.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    module, _, attribute = COMMANDS[name].target.partition(":")
    target = getattr(importlib.import_module(f"{MODULES}.{module}"), attribute)
    if not isinstance(target, typer.Typer):
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command()(target)
        target = app
    target(args=list(arguments), prog_name=f"shoploop {name}")

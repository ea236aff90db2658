"""`shoploop topics`, `lag`, `replay`, `dlq`: what lies in Kafka, and how far it is read."""

import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, ParamSpec, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from shared.contracts.errors import Invalid, NotFound, Retryable
from shared.contracts.topics import TOPICS
from shared.runtime.bus import admin, dead_letters, groups
from shared.tools.cli.access import kafka_connection
from shared.tools.local import state
from shared.tools.local.paths import default_home
from shared.tools.local.services import manifests, names

P = ParamSpec("P")
R = TypeVar("R")

DIFFERS = 1
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

topics = typer.Typer(
    help="The topics as they are declared, and as the broker has them.", add_completion=False
)
dlq = typer.Typer(
    help="Dead letters: records that a service could not take.",
    no_args_is_help=True,
    add_completion=False,
)

KafkaOption = Annotated[
    str | None,
    typer.Option(
        "--kafka",
        envvar="SHOPLOOP_KAFKA",
        help="host:port,… of the brokers; default: those of the running stack.",
    ),
]
ProductionOption = Annotated[
    bool, typer.Option("--production", help="Replicas and partitions as in production.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]


def mount(root: typer.Typer) -> None:
    """Add the commands of this module to the root of the command line."""
    root.add_typer(topics, name="topics")
    root.add_typer(dlq, name="dlq")
    root.command()(lag)
    root.command()(replay)


def plainly(command: Callable[P, R]) -> Callable[P, R]:
    """Let a command end with status 1 and a plain message where the broker or the wish is wrong."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (Invalid, NotFound, Retryable) as complaint:
            _tell(f"✗ {complaint}", style="red")
            raise typer.Exit(1) from None

    return run


@topics.callback(invoke_without_command=True)
def topics_default(context: typer.Context) -> None:
    """List the topics unless a command is named."""
    if context.invoked_subcommand is None:
        list_topics()


@topics.command("list")
def list_topics(as_json: JsonOption = False) -> None:
    """List the declared topics: key, retention, partitions, who writes and who reads."""
    declared = manifests(names())
    rows = [
        {
            "topic": t.name,
            "about": t.about,
            "key": t.key,
            "kept": "newest of each key" if t.keep is None else f"{t.keep.days} d",
            "partitions": t.partitions.local,
            "in production": t.partitions.production,
            "written by": [s.name for s in declared if t in s.writes],
            "read by": [s.name for s in declared if t in (*s.reads, *s.views)],
        }
        for t in TOPICS.values()
    ]
    if as_json:
        _print_json(rows)
        return
    table = _table("topic", "key", "kept", "partitions", "written by → read by", "about")
    for row in rows:
        flow = f"{', '.join(row['written by'])} → {', '.join(row['read by'])}"  # type: ignore[arg-type]
        about = (row["topic"], row["key"], row["kept"], f"{row['partitions']}", flow, row["about"])
        table.add_row(*map(str, about))
    Console().print(table)


@topics.command("create")
@plainly
def create(kafka: KafkaOption = None, production: ProductionOption = False) -> None:
    """Create what is missing: every declared topic, and each service's own."""
    wanted = admin.wanted_by(names(), production=production)
    made = admin.ensure_topics(_address(kafka), wanted, **kafka_connection())
    _tell(f"created: {', '.join(made)}" if made else "nothing was missing", style="green")


@topics.command("check")
@plainly
def check(
    kafka: KafkaOption = None, production: ProductionOption = False, as_json: JsonOption = False
) -> None:
    """Compare the broker's topics with what is declared; ends with 1 when something differs."""
    wanted = admin.wanted_by(names(), production=production)
    drifts = admin.check_topics(_address(kafka), wanted, **kafka_connection())
    if as_json:
        _print_json([d._asdict() for d in drifts])
    else:
        for drift in drifts:
            _tell(f"✗ {drift}", style="red")
    if drifts:
        raise typer.Exit(DIFFERS)
    _tell(f"all {len(wanted)} topics are as declared", style="green")


@plainly
def lag(
    group: Annotated[
        list[str] | None, typer.Argument(help="Groups; those of all services if none is named.")
    ] = None,
    kafka: KafkaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far behind the services are, in seconds and in records, the furthest first."""
    address, how = _address(kafka), kafka_connection()
    reads = {s.name: [t.name for t in s.reads] for s in manifests(names()) if s.reads}
    known = sorted({*reads, *groups.groups_of(address, names(), **how)})
    for unknown in set(group or ()) - set(known):
        raise NotFound(f"there is no group {unknown!r}; there are: {', '.join(known)}")
    every = groups.lag(address, {g: reads.get(g, []) for g in known}, now=time.time(), **how)
    found = [item for item in _of_readers(every) if not group or item.group in group]
    if as_json:
        _print_json([{**item._asdict(), "records": item.records} for item in found])
        return
    table = _table("group", "topic", "partition", "behind s", "records", "next", "end")
    for item in found:
        seconds = "?" if item.seconds is None else f"{item.seconds:.1f}"
        row = (item.group, item.topic, item.partition, seconds, item.records, item.next, item.end)
        table.add_row(*map(str, row), style="" if item.records else "dim")
    Console().print(table)


@plainly
def replay(
    group: Annotated[str, typer.Argument(help="The consumer group; mostly the service's name.")],
    topic: Annotated[str, typer.Argument(help="The topic to read again.")],
    since: Annotated[
        str | None,
        typer.Option(help="A time (2026-01-31T08:00, UTC), or how long ago: 90s, 15m, 6h, 2d."),
    ] = None,
    offset: Annotated[int | None, typer.Option(min=0, help="An offset, with --partition.")] = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="All that is kept.")] = False,
    to_end: Annotated[bool, typer.Option("--to-end", help="Skip what is there.")] = False,
    partition: Annotated[int | None, typer.Option(help="Only this partition.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    kafka: KafkaOption = None,
) -> None:
    """Let a group read a topic again. Its processes must be stopped; effects are not repeated."""
    target = _target(since=since, offset=offset, start=from_start, end=to_end)
    if target.kind == "offset" and partition is None:
        raise typer.BadParameter("--offset needs --partition: each counts from 0")
    _check_reader(group, topic)
    moved = groups.replay(
        _address(kafka),
        group,
        topic,
        target,
        partition=partition,
        dry=dry_run,
        **kafka_connection(),
    )
    for move in moved:
        before = "its start" if move.before is None else str(move.before)
        _tell(f"{move.topic}/{move.partition}: {before} → {move.after}")
    _tell("nothing was changed" if dry_run else f"start {group} again, and it reads from there")


@dlq.command("list")
@plainly
def list_letters(
    service: Annotated[str, typer.Argument(help="Whose dead letters.")],
    kafka: KafkaOption = None,
    as_json: JsonOption = False,
    limit: Annotated[int, typer.Option(help="Show at most the newest so many.")] = 50,
) -> None:
    """List dead letters with their reasons; never their contents."""
    found = dead_letters.letters(_address(kafka), service, **kafka_connection())
    shown = found[-limit:] if limit else []
    if as_json:
        _print_json([{**x._asdict(), "record": None, "origin": str(x.origin)} for x in shown])
        return
    if not found:
        _tell(f"{service} has no dead letters", style="green")
        return
    table = _table("offset", "from", "time", "tries", "release", "sent back", "reason")
    for x in shown:
        back = "yes" if x.redriven else ""
        row = (x.offset, x.origin, x.time, x.attempt, x.release, back, x.reason)
        table.add_row(*map(str, row))
    Console().print(table)
    for reason, count in dead_letters.reasons(found):
        _tell(f"{count:>6} × {reason}")


@dlq.command("redrive")
@plainly
def redrive(
    service: Annotated[str, typer.Argument(help="Whose dead letters.")],
    offset: Annotated[
        list[int] | None, typer.Option(help="Only these, by their offset in the list.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Only those whose reason holds this.")] = None,
    kafka: KafkaOption = None,
) -> None:
    """Send dead letters back to the service; without options, all that were not sent before."""
    chosen: Callable[[dead_letters.Letter], bool] | None = None
    if offset or reason:

        def chosen(letter: dead_letters.Letter) -> bool:
            return (not offset or letter.offset in offset) and (reason or "") in letter.reason

    sent = dead_letters.redrive(_address(kafka), service, chosen=chosen, **kafka_connection())
    _tell(f"{len(sent)} sent back to {service}", style="green")


def _address(named: str | None) -> str:
    if named:
        return named
    recorded = state.read(default_home(os.environ))
    if recorded is not None and recorded.is_alive():
        return recorded.kafka
    raise NotFound("no stack runs here: start one with `shoploop up`, or name one with --kafka")


def _of_readers(every: Sequence[groups.Lag]) -> Iterator[groups.Lag]:
    """Leave out what a service reads in another group than the one of its own name."""
    committed = {(item.group, item.topic) for item in every if item.committed is not None}
    readers: dict[tuple[str, str], set[str]] = {}
    for group, topic in committed:
        readers.setdefault((group.partition("-")[0], topic), set()).add(group)
    for item in every:
        others = readers.get((item.group.partition("-")[0], item.topic))
        if others is None or item.group in others:
            yield item


def _check_reader(group: str, topic: str) -> None:
    """Refuse a group of no service, and a topic that its service does not read in groups."""
    service = group.partition("-")[0]
    if service not in names():
        raise NotFound(f"{group!r} is no service's group; services: {', '.join(names())}")
    (declared,) = manifests([service])
    own = topic.startswith(f"{service}-")
    if topic in TOPICS and not own and topic not in {t.name for t in declared.reads}:
        reads = ", ".join(t.name for t in declared.reads)
        raise NotFound(
            f"{service} does not read {topic!r} in a group, but {reads}; topics that it follows "
            "whole are read again at every start"
        )


def _table(*columns: str) -> Table:
    """Return an empty table that cuts nothing off."""
    table = Table(box=None, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _target(*, since: str | None, offset: int | None, start: bool, end: bool) -> groups.Target:
    chosen = [
        groups.Target("start") if start else None,
        groups.Target("end") if end else None,
        None if offset is None else groups.Target("offset", offset),
        None if since is None else groups.Target("time", _moment(since).timestamp()),
    ]
    targets = [t for t in chosen if t is not None]
    if len(targets) != 1:
        raise typer.BadParameter("choose one of --since, --offset, --from-start, --to-end")
    return targets[0]


def _moment(text: str) -> datetime:
    """Read a time (UTC unless it says otherwise) or an age such as ``15m``."""
    number, unit = text[:-1], text[-1:]
    if unit in _UNITS and number.isdigit():
        return datetime.now(UTC) - timedelta(seconds=int(number) * _UNITS[unit])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time and no age such as 90s, 15m, 6h, 2d"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _print_json(rows: object) -> None:
    print(msgspec.json.format(msgspec.json.encode(rows)).decode())


def _tell(text: str, style: str = "") -> None:
    Console(stderr=True).print(text, style=style, markup=False, highlight=False, soft_wrap=True)

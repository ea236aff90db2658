"""`shoploop map`: docs/map.md, drawn from the manifests."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Annotated, Any

import typer

from shared.contracts.service import Key, Service
from shared.contracts.topics import TOPICS, Topic, dead_letters
from shared.tools.cli.generated import write_or_check
from shared.tools.local import services
from shared.tools.local.paths import CHECKOUT

_HEAD = """# The map

Generated from the manifests by `shoploop map`; change them, not this page. How it all works is
told in the [README](../README.md); what each record holds in [asyncapi.json](asyncapi.json).
"""


def draw(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; end with 1 if the map is stale.")
    ] = False,
) -> None:
    """Draw docs/map.md from the manifests."""
    declared = services.manifests(services.names())
    files = {CHECKOUT / "docs" / "map.md": drawn(declared)}
    write_or_check(files, check=check, command="map")


def drawn(declared: Sequence[Service]) -> str:
    """Return the map of these services."""
    sections = (
        _HEAD,
        _picture(declared),
        _services(declared),
        _processes(declared),
        _routes(declared),
        _topics(declared),
        _keys(declared),
        _models(declared),
    )
    return "\n".join(sections).rstrip() + "\n"


def _picture(declared: Sequence[Service]) -> str:
    return "\n".join(["```mermaid", "flowchart LR", *_arrows(declared), "```", ""])


def _arrows(declared: Sequence[Service]) -> Iterator[str]:
    """Yield the loop as mermaid's lines: services are boxes, topics are rounded."""
    for service in declared:
        yield f'  {_node(service.name)}["{service.name}"]'
    for topic in _used(declared):
        node = f"t_{_node(topic.name)}"
        yield f'  {node}(["{topic.name}"])'
        yield from (f"  {_node(name)} --> {node}" for name in _writers(topic, declared))
        yield from (f"  {node} --> {_node(name)}" for name in _readers(topic, declared))
    for maker, model, user, _ in _served(declared):
        yield f"  {_node(maker.name)} -. release {model} .-> {_node(user.name)}"


def _served(declared: Sequence[Service]) -> Iterator[tuple[Service, str, Service, str]]:
    """Yield who releases which model to whom, and what that one does without."""
    for maker in declared:
        for model in maker.releases:
            for user in declared:
                for use in user.models:
                    if use.name == model:
                        yield maker, model, user, use.fallback


def _services(declared: Sequence[Service]) -> str:
    rows = (
        (f"[{s.name}](../services/{s.name}/)", s.about, ", ".join(p.name for p in s.processes))
        for s in declared
    )
    return _section("Services", ("service", "what it does", "processes"), rows)


def _processes(declared: Sequence[Service]) -> str:
    rows = (
        (f"{s.name}/{p.name}", p.about, p.port or p.probes or "none", f"{p.memory_mib} MiB")
        for s in declared
        for p in s.processes
    )
    return _section("Processes", ("process", "what it does", "port", "memory"), rows)


def _routes(declared: Sequence[Service]) -> str:
    rows = (
        (s.name, f"`{r.method} {r.path}`", r.scope, r.about) for s in declared for r in s.routes
    )
    return _section("Routes", ("service", "route", "key's scope", "what it does"), rows)


def _topics(declared: Sequence[Service]) -> str:
    rows = (
        (
            f"`{topic.name}`",
            topic.about,
            topic.key,
            _kept(topic),
            f"{topic.partitions.local} / {topic.partitions.production}",
            f"{_listed(_writers(topic, declared))} → {_listed(_readers(topic, declared))}",
        )
        for topic in TOPICS.values()
    )
    columns = ("topic", "what it carries", "key", "kept", "partitions local / production", "flow")
    letters = ", ".join(f"`{dead_letters(s.name)}`" for s in declared)
    note = f"Beside them, records that a service could not take: {letters}.\n"
    return _section("Topics", columns, rows) + "\n" + note


def _keys(declared: Sequence[Service]) -> str:
    rows = (
        (
            f"`{_shape(key)}`",
            s.name,
            key.kind,
            key.about,
            _span(key.ttl) if key.ttl else "as long as its owner",
            key.bound or "one a name",
            "yes" if key.view else "no",
        )
        for s in declared
        for key in s.keys
    )
    columns = ("key", "service", "kind", "what it holds", "kept", "bound", "rebuilt from the log")
    return _section("Redis keys", columns, rows)


def _models(declared: Sequence[Service]) -> str:
    rows = (
        (model, maker.name, user.name, fallback)
        for maker, model, user, fallback in _served(declared)
    )
    columns = ("model", "released by", "served by", "without a release")
    return _section("Models", columns, rows)


def _section(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [f"## {title}", "", _row(columns), _row(["---"] * len(columns)), *map(_row, rows), ""]
    return "\n".join(lines)


def _row(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(value: Any) -> str:
    """Return text that cannot end its cell, nor be taken for a tag."""
    text = str(value).replace("|", "\\|").replace("\n", " ")
    return text if "`" in text else text.replace("<", "&lt;")


def _used(declared: Sequence[Service]) -> Iterator[Topic[Any]]:
    for topic in TOPICS.values():
        if _writers(topic, declared) or _readers(topic, declared):
            yield topic


def _writers(topic: Topic[Any], declared: Sequence[Service]) -> list[str]:
    return [s.name for s in declared if topic in s.writes]


def _readers(topic: Topic[Any], declared: Sequence[Service]) -> list[str]:
    return [s.name for s in declared if topic in (*s.reads, *s.views)]


def _kept(topic: Topic[Any]) -> str:
    return "the newest of each key" if topic.keep is None else _span(topic.keep)


def _span(span: timedelta) -> str:
    return f"{span.days} d" if span.days else f"{span.seconds} s"


def _shape(key: Key) -> str:
    if not key.params:
        return key.name
    first, *rest = key.params
    return ":".join((key.name, f"{{<{first}>}}", *(f"<{name}>" for name in rest)))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nobody yet"


def _node(name: str) -> str:
    return name.replace("-", "_")

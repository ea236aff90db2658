"""The house rules that only the source itself can show; each returns what breaks it, by place."""

import ast
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from shared.contracts.topics import TOPICS


class Source(NamedTuple):
    """A parsed module and its path from the root."""

    path: str
    tree: ast.Module


def sources(root: Path, *folders: str) -> Iterator[Source]:
    """Yield the modules below the folders."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            yield Source(str(path.relative_to(root)), ast.parse(path.read_text(), str(path)))


Rule = Callable[[Source], Iterator[ast.AST]]


def broken(rule: Rule, modules: Iterable[Source]) -> list[str]:
    """Return ``path:line`` of all that breaks the rule."""
    return [f"{m.path}:{node.lineno}" for m in modules for node in rule(m)]  # type: ignore[attr-defined]


def pure(root: Path) -> Iterator[Source]:
    """Yield the modules that decide: every service's core, and what training and serving share."""
    cores = sorted(str(p.relative_to(root)) for p in (root / "services").glob("*/core"))
    yield from sources(root, *cores, "shared/learning")


WAYS_OUT = frozenset(
    {"aiokafka", "kafka", "faust", "redis", "fastapi", "starlette", "uvicorn", "httpx", "requests",
     "urllib.request", "http.client", "socket", "asyncio", "subprocess", "os", "time", "random", "secrets",
     "structlog", "logging", "prometheus_client"}
)  # fmt: skip
OURS = ("shared.contracts", "shared.learning")
KAFKA = frozenset({"aiokafka", "kafka", "faust", "confluent_kafka"})
REDIS = frozenset({"redis", "hiredis", "valkey", "glide"})
PICKLES = frozenset({"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"})
CLOCKS = frozenset(
    {"time.time", "time.monotonic", "time.perf_counter", "time.time_ns", "time.monotonic_ns",
     "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "datetime.datetime.now",
     "os.environ", "os.getenv", "os.urandom", "uuid.uuid1", "uuid.uuid4", "uuid1", "uuid4"}
)  # fmt: skip
SEEDED = frozenset({"Generator", "default_rng", "SeedSequence", "PCG64", "BitGenerator"})
ADDRESSED = frozenset(
    {"Topic", "TopicPartition", "Position", "NewTopic", "publish", "publish_all", "tombstone",
     "send", "send_and_wait", "send_batch", "subscribe", "topic", "work", "view"}
)  # fmt: skip


def ways_out(source: Source) -> Iterator[ast.AST]:
    """Imports of sockets, clocks and other ways out in what must be pure, or of other layers."""
    own = ".".join(source.path.split("/")[:3]).removesuffix(".py")
    for node, module in _imports(source.tree):
        ours = module.split(".")[0] in {"shared", "services"}
        leads_out = any(f"{module}.".startswith(f"{way}.") for way in WAYS_OUT)
        if leads_out or (ours and not module.startswith((*OURS, own))):
            yield node


def kafka_clients(source: Source) -> Iterator[ast.AST]:
    """Imports of a Kafka client."""
    yield from (node for node, module in _imports(source.tree) if module.split(".")[0] in KAFKA)


def redis_clients(source: Source) -> Iterator[ast.AST]:
    """Imports of a Redis client."""
    yield from (node for node, module in _imports(source.tree) if module.split(".")[0] in REDIS)


def caught_everything(source: Source) -> Iterator[ast.AST]:
    """Handlers that would hide any error; one that raises it again in the end hides none."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and not isinstance(node.body[-1], ast.Raise):
            caught = [] if node.type is None else _names(node.type)
            if node.type is None or {"Exception", "BaseException"} & set(caught):
                yield node
        elif isinstance(node, ast.Call) and _dotted(node.func).endswith("suppress"):
            suppressed = {name for value in node.args for name in _names(value)}
            if {"Exception", "BaseException"} & suppressed:
                yield node


def pickles(source: Source) -> Iterator[ast.AST]:
    """Anything that unpickles, numpy's object arrays included."""
    for node, module in _imports(source.tree):
        if module.split(".")[0] in PICKLES:
            yield node
    for node in ast.walk(source.tree):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            refused = isinstance(node.value, ast.Constant) and node.value.value is False
            if not refused:
                yield node.value


def clocks_and_chance(source: Source) -> Iterator[ast.AST]:
    """Readings of clock, environment or unseeded chance, also by functions of numpy."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute | ast.Name):
            dotted = _dotted(node)
            if dotted in CLOCKS or dotted.startswith("random."):
                yield node
            module, _, name = dotted.rpartition(".")
            if module in {"np.random", "numpy.random"} and name not in SEEDED:
                yield node
        elif isinstance(node, ast.Call) and _dotted(node.func).endswith("default_rng"):
            yield from [] if node.args or node.keywords else [node]


def environment(source: Source) -> Iterator[ast.AST]:
    """Readings of the environment; setting a default for a library is none."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and _dotted(node) == "os.getenv":
            yield node
        elif isinstance(node, ast.Subscript) and _dotted(node.value) == "os.environ":
            if isinstance(node.ctx, ast.Load):
                yield node
        elif isinstance(node, ast.Call) and _dotted(node.func) == "os.environ.get":
            yield node


def spelt_topics(source: Source) -> Iterator[ast.AST]:
    """Topic names as text: one with a hyphen anywhere, a plain word where a topic is expected."""
    docs = {id(node) for node in _docstrings(source.tree)}
    plain = {name for name in TOPICS if "-" not in name}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and node.value in TOPICS.keys() - plain:
            if id(node) not in docs:
                yield node
        elif isinstance(node, ast.Call) and _dotted(node.func).rpartition(".")[2] in ADDRESSED:
            named = [*node.args[:1], *(k.value for k in node.keywords if k.arg == "topic")]
            yield from (v for v in named if isinstance(v, ast.Constant) and v.value in plain)


def _imports(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node, node.module


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return ""


def _names(node: ast.AST) -> list[str]:
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    return [_dotted(part).rpartition(".")[2] for part in parts]


def _docstrings(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value

"""What a service declares of itself; the runtime grants nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from shared.contracts.errors import UndeclaredKey, UndeclaredModel, UndeclaredTopic
from shared.contracts.topics import Topic

Scope = Literal["events", "serve", "train", "admin", "open"]
"""What a key may do: events (publish; the publishable keys of browsers), serve (ask a facade),
train (start jobs), admin (catalogue, people, releases); open routes need no key."""
KeyKind = Literal["string", "hash", "set", "zset", "list", "stream"]


@dataclass(frozen=True)
class Process:
    """One operating-system process of a service; `port` is its HTTP port on a local machine.

    `probes` is the port on which a process without a facade tells of itself (``/livez``,
    ``/readyz``, ``/metrics``); stacks and containers hand it over as SHOPLOOP_PORT.

    `shares_port` says that replicas on one machine may answer on that port together: nothing on
    disk or in memory is for one of them alone.
    """

    name: str
    about: str
    port: int | None = None
    memory_mib: int = 512
    shares_port: bool = False
    probes: int | None = None


@dataclass(frozen=True)
class Route:
    """An HTTP route; `path` in FastAPI's spelling."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    scope: Scope
    about: str


@dataclass(frozen=True)
class Key:
    """A space of Redis keys: `<name>:<param>:…`, with the params in braces where they hash.

    `view` says that the log can rebuild it; only a vault or an outbox may say False. `ttl` None
    means kept until rebuilt or erased; its size is then bounded by `bound`, in words.
    """

    name: str
    params: tuple[str, ...]
    kind: KeyKind
    about: str
    ttl: timedelta | None = None
    bound: str = ""
    view: bool = True

    def of(self, *values: str) -> str:
        """Return the Redis key for the params' `values`; a value may hold any character.

        The first param is the cluster's hash tag. Values keep apart because only the last may
        hold a colon: earlier ones have it escaped.
        """
        if len(values) != len(self.params):
            raise TypeError(f"{self.name} takes {self.params}, not {values}")
        if not values:
            return self.name
        escaped = [v.replace("%", "%25").replace(":", "%3A").replace("}", "%7D") for v in values]
        return ":".join((self.name, f"{{{escaped[0]}}}", *escaped[1:]))


@dataclass(frozen=True)
class ModelUse:
    """A model that the service serves from, and what it does when there is no release."""

    name: str
    fallback: str


@dataclass(frozen=True)
class Service:
    """The declaration of one service.

    `reads` are consumed in a group (each event handled by one replica), `views` are followed whole
    by every replica, `writes` are published.
    """

    name: str
    about: str
    processes: tuple[Process, ...]
    reads: tuple[Topic[Any], ...] = ()
    views: tuple[Topic[Any], ...] = ()
    writes: tuple[Topic[Any], ...] = ()
    routes: tuple[Route, ...] = ()
    keys: tuple[Key, ...] = ()
    models: tuple[ModelUse, ...] = ()
    releases: tuple[str, ...] = ()
    """Names of the models that this service publishes."""

    def process(self, name: str) -> Process:
        """Return the process called `name`; LookupError lists the ones there are."""
        for process in self.processes:
            if process.name == name:
                return process
        names = ", ".join(p.name for p in self.processes)
        raise LookupError(f"{self.name} has no process {name!r}; it has: {names}")

    def may_read(self, topic: Topic[Any]) -> None:
        """Raise `UndeclaredTopic` unless `topic` is in `reads` or `views`."""
        _granted(topic, (*self.reads, *self.views), self.name, "reads or views")

    def may_write(self, topic: Topic[Any]) -> None:
        """Raise `UndeclaredTopic` unless `topic` is in `writes`."""
        _granted(topic, self.writes, self.name, "writes")

    def may_use_key(self, key: Key) -> None:
        """Raise `UndeclaredKey` unless `key` is in `keys`."""
        if key not in self.keys:
            raise UndeclaredKey(f"{self.name} does not declare the key space {key.name!r}")

    def may_use_model(self, name: str) -> None:
        """Raise `UndeclaredModel` unless `name` is in `models`."""
        if name not in {m.name for m in self.models}:
            raise UndeclaredModel(f"{self.name} does not declare the model {name!r}")


def _granted(topic: Topic[Any], granted: Sequence[Topic[Any]], service: str, where: str) -> None:
    if topic not in granted:
        raise UndeclaredTopic(f"{service} does not declare {topic.name!r} among its {where}")

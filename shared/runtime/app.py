"""What `build` of a service returns, and what it is given."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fastapi import APIRouter
from numpy.random import Generator
from starlette.routing import BaseRoute

from shared.contracts.topics import Topic
from shared.runtime.bus import Bus
from shared.runtime.bus.port import Handler
from shared.runtime.clock import Clock
from shared.runtime.kv import KeyValue
from shared.runtime.privacy import Pseudonyms, Vault
from shared.runtime.releases import Releases


@dataclass(frozen=True)
class Ports:
    """The ways out of a process; tests hand in the ones that need no network."""

    bus: Bus
    kv: KeyValue
    releases: Releases
    pseudonyms: Pseudonyms
    vault: Vault
    clock: Clock
    rng: Generator


class Check(NamedTuple):
    """A condition of readiness; `test` returns None when met, otherwise what is missing."""

    name: str
    test: Callable[[], Awaitable[str | None]]


@dataclass(frozen=True)
class Described:
    """What a raw route takes and gives, for those who read its OpenAPI document.

    Attributes
    ----------
    takes : sequence of types
        What msgspec may read the body as, the most usual first; empty for no body.
    example : any
        A body, as it would be JSON.
    gives : mapping
        Status to the type of the answer; None for one that is no JSON.
    parameters : sequence of mappings
        OpenAPI's parameters, without those of the path.
    about : str
        What the types do not say.
    """

    takes: Sequence[Any] = ()
    example: Any = None
    gives: Mapping[int, Any] = field(default_factory=lambda: {200: None})
    parameters: Sequence[Mapping[str, Any]] = ()
    about: str = ""


async def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class App:
    """One process of a service, put together but not started.

    Attributes
    ----------
    handlers : mapping
        Topic to handler, consumed in the group ``<service>`` or ``<service>-<group>``.
    views : mapping
        Topic to handler, followed whole; the process is unready until all have caught up.
    router, routes : FastAPI router; raw Starlette routes for paths where every microsecond counts
        Served when the process has a port.
    described : mapping
        (method, path) of a raw route to what it takes and gives.
    tasks : mapping
        Long-running coroutines; one that returns or raises ends the process.
    start, stop : async callables
        Run before the first and after the last of everything else.
    """

    handlers: Mapping[Topic[Any], Handler] = field(default_factory=dict)
    views: Mapping[Topic[Any], Handler] = field(default_factory=dict)
    router: APIRouter | None = None
    routes: Sequence[BaseRoute] = ()
    described: Mapping[tuple[str, str], Described] = field(default_factory=dict)
    tasks: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    checks: Sequence[Check] = ()
    start: Callable[[], Awaitable[None]] = nothing
    stop: Callable[[], Awaitable[None]] = nothing
    group: str | None = None

"""Which route answers which address, and that the manifest declares exactly these."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from prometheus_client import Counter, Histogram
from starlette.convertors import Convertor
from starlette.routing import BaseRoute, compile_path
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp

from shared.contracts.service import Route, Service
from shared.runtime import metrics
from shared.runtime.http.problems import Problem


class UndeclaredRoute(LookupError):
    """Routes and manifest do not match: the service does not start."""


@dataclass(eq=False)
class Door:
    """One route with what it needs to be answered.

    `builtin` doors answer under any load. `states` are the statuses' counters, filled when used.
    """

    declared: Route
    app: ASGIApp
    seconds: Histogram
    endpoint: Any = None
    builtin: bool = False
    pattern: re.Pattern[str] = field(init=False)
    convertors: Mapping[str, Convertor[Any]] = field(init=False)
    states: dict[int, Counter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pattern, _, self.convertors = compile_path(self.declared.path)

    @property
    def for_browsers(self) -> bool:
        """Whether pages of other origins may call it."""
        return self.declared.scope in ("events", "open") and not self.builtin


class Doors:
    """All doors of a process; an address without parameters is found in one look-up."""

    def __init__(self, doors: Sequence[Door]) -> None:
        # The first of two doors at one address wins, with parameters and without.
        self._fixed: dict[tuple[str, str], Door] = {
            (d.declared.method, d.declared.path): d for d in reversed(doors) if not d.convertors
        }
        self._others = [d for d in doors if d.convertors]
        self._all = doors

    def find(self, method: str, path: str, raw_path: bytes = b"") -> tuple[Door, dict[str, Any]]:
        """Return the door and the path's parameters; raises the 404 or 405 that the caller gets.

        `path` is decoded, `raw_path` as it was sent: there a slash within a parameter is ``%2F``.
        """
        fixed = self._fixed.get((method, path))
        if fixed is not None:
            return fixed, {}
        encoded = b"%2f" in raw_path.lower()
        path = raw_path.decode("latin-1") if encoded else path
        for door in self._others:
            found = door.pattern.match(path)
            if found is not None and door.declared.method == method:
                given = {k: unquote(v) if encoded else v for k, v in found.groupdict().items()}
                return door, {k: door.convertors[k].convert(v) for k, v in given.items()}
        allowed = self.methods(path)
        if not allowed:
            raise Problem(404, "There is nothing at this address; /docs shows what there is.")
        detail = f"This address takes {', '.join(allowed)}, not {method}."
        raise Problem(405, detail, headers={"Allow": ", ".join(allowed)})

    def methods(self, path: str) -> list[str]:
        """Return the methods that `path` takes."""
        return sorted({d.declared.method for d in self._all if d.pattern.match(path)})


def declared_doors(
    service: Service, routes: Iterable[BaseRoute], routed: Iterable[BaseRoute], router: ASGIApp
) -> list[Door]:
    """Return the doors for raw `routes` and for those that `router` serves.

    Raises
    ------
    UndeclaredRoute
        A route that the manifest lacks, or a declared one that does not exist; all are named.
    """
    declared: dict[tuple[str, str], Route] = {
        (route.method, route.path): route for route in service.routes
    }
    raw = list(_served(routes))
    behind = list(_served(routed))
    there = {(method, route.path) for method, route in (*raw, *behind)}
    if there != set(declared):
        lines = [f"  {m} {p} is served but not declared" for m, p in sorted(there - set(declared))]
        lines += [f"  {m} {p} is declared but not served" for m, p in sorted(set(declared) - there)]
        raise UndeclaredRoute(
            f"the manifest of {service.name} and its routes differ:\n" + "\n".join(lines)
        )
    served: list[tuple[str, StarletteRoute, ASGIApp]] = [
        *((method, route, route.app) for method, route in raw),
        *((method, route, router) for method, route in behind),
    ]
    return [
        Door(
            declared[method, route.path],
            app,
            metrics.HTTP_SECONDS.labels(service.name, route.path),
            endpoint=route.endpoint,
        )
        for method, route, app in served
    ]


def _served(routes: Iterable[BaseRoute]) -> Iterator[tuple[str, StarletteRoute]]:
    for route in routes:
        if not isinstance(route, StarletteRoute):
            raise UndeclaredRoute(f"{route!r} is not a plain HTTP route")
        methods = route.methods or {"GET"}
        yield from (
            (method, route) for method in methods - ({"HEAD"} if "GET" in methods else set())
        )

"""The doors that every process has: alive, ready, metrics, and what else there is."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.contracts.errors import Retryable
from shared.contracts.service import Route, Service
from shared.runtime import metrics
from shared.runtime.app import Check
from shared.runtime.http.docs import page
from shared.runtime.http.doors import Door
from shared.runtime.http.problems import Problem

CHECK_TIMEOUT_S = 2.0
JSON = "application/json"
_encode = msgspec.json.encode


class Readiness:
    """Whether a process can do its job now; a balancer sends no requests while it cannot.

    `hold` says why not yet, or not any more; `checks` are asked each time.
    """

    def __init__(self, checks: Sequence[Check] = ()) -> None:
        self.checks = list(checks)
        self.hold: str | None = None

    async def missing(self) -> dict[str, str]:
        """Return what is missing by the check's name; empty when ready. Takes two seconds at most."""
        found = await asyncio.gather(*(_asked(check) for check in self.checks))
        missing = {c.name: said for c, said in zip(self.checks, found, strict=True) if said}
        return missing if self.hold is None else {"process": self.hold, **missing}


async def _asked(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check.test()
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT_S:g} s"
    except Retryable as error:
        return str(error)


def builtin_doors(service: Service, readiness: Readiness, api: FastAPI) -> list[Door]:
    """Return the doors for livez, readyz, metrics, openapi.json and docs; they need no key."""

    async def livez(scope: Scope) -> Response:
        return Response(b'{"alive":true}', media_type=JSON)

    async def readyz(scope: Scope) -> Response:
        missing = await readiness.missing()
        content = _encode({"ready": not missing, "missing": missing})
        return Response(content, 503 if missing else 200, media_type=JSON)

    async def prometheus(scope: Scope) -> Response:
        # Whoever comes through the proxy that publishes the facades is not the monitoring.
        if any(name == b"x-forwarded-for" for name, _ in scope["headers"]):
            raise Problem(404, "Metrics are read from inside the network.")
        return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})

    described: list[bytes] = []

    async def openapi(scope: Scope) -> Response:
        if not described:
            described.append(_encode(description(service, api)))
        return Response(described[0], media_type=JSON)

    async def docs(scope: Scope) -> Response:
        return Response(page(description(service, api)), media_type="text/html")

    answers = {
        "/livez": livez,
        "/readyz": readyz,
        "/metrics": prometheus,
        "/openapi.json": openapi,
        "/docs": docs,
    }
    return [_door(service, path, answer) for path, answer in answers.items()]


def _door(service: Service, path: str, answer: Callable[[Scope], Awaitable[Response]]) -> Door:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (await answer(scope))(scope, receive, send)

    asgi: ASGIApp = app
    seconds = metrics.HTTP_SECONDS.labels(service.name, path)
    return Door(Route("GET", path, "open", path[1:]), asgi, seconds, builtin=True)


def description(service: Service, api: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document: FastAPI's, with the manifest's scopes and its raw routes."""
    document: dict[str, Any] = dict(api.openapi())
    paths: dict[str, Any] = document.setdefault("paths", {})
    for route in service.routes:
        path = _CONVERTER.sub("", route.path)
        operations = paths.setdefault(path, {})
        operation = operations.setdefault(route.method.lower(), _raw(path))
        operation["summary"] = route.about
        answers = operation.setdefault("responses", {})
        answers.pop("422", None)  # FastAPI's own form of it, which a service never gives
        answers["default"] = _PROBLEM
        if route.scope != "open":
            operation["security"] = [{"key": [route.scope]}, {"header": [route.scope]}]
    components = document.setdefault("components", {})
    components["securitySchemes"] = _SCHEMES
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = _PROBLEM_SCHEMA
    return document


def _raw(path: str) -> dict[str, Any]:
    named = re.findall(r"{(\w+)}", path)
    parameters = [{"name": n, "in": "path", "required": True, "schema": _TEXT} for n in named]
    return {"parameters": parameters, "responses": {"200": _OK}}


_CONVERTER = re.compile(r":\w+(?=})")
"""What Starlette wants to know of a path's parameter, as ``:path`` in ``{id:path}``."""

_OK = {"description": "Done"}
_PROBLEM: Mapping[str, Any] = {
    "description": "What is wrong, and what to do (RFC 9457)",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}
_TEXT = {"type": "string"}
_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "instance": _TEXT,
        "errors": {
            "type": "array",
            "items": {"type": "object", "properties": {"field": _TEXT, "reason": _TEXT}},
        },
    },
}

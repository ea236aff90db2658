"""The doors that every process has: alive, ready, metrics, and what else there is."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
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


def builtin_doors(
    service: Service, readiness: Readiness, describe: Callable[[], Mapping[str, Any]]
) -> list[Door]:
    """Return the doors for livez, readyz, metrics, openapi.json and docs; they need no key.

    `describe` returns the OpenAPI document.
    """

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
            described.append(_encode(describe()))
        return Response(described[0], media_type=JSON)

    async def docs(scope: Scope) -> Response:
        return Response(page(describe()), media_type="text/html")

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

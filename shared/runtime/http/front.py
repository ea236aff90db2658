"""In front of every route: admission, limits, errors, headers, metrics. Plain ASGI, some 10 µs."""

import asyncio
import re
import time
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from shared.contracts.errors import Retryable
from shared.contracts.service import Service
from shared.runtime import metrics, trace
from shared.runtime.http.docs import POLICY
from shared.runtime.http.doors import Door, Doors
from shared.runtime.http.gate import Gate, Headers
from shared.runtime.http.problems import CONTENT_TYPE, Problem, problem_of
from shared.runtime.settings import Settings
from shared.runtime.telemetry import log

_log = log(__name__)
_READ = frozenset(
    {b"authorization", b"x-api-key", b"origin", b"content-length", b"transfer-encoding",
     b"traceparent", b"x-request-id", b"x-forwarded-for", b"access-control-request-method"}
)  # fmt: skip
_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", POLICY),
    (b"cross-origin-resource-policy", b"cross-origin"),
]
_NOT_CACHED = [(b"cache-control", b"no-store")]
_PREFLIGHT = [
    (b"access-control-allow-headers", b"authorization, content-type, x-api-key, traceparent, x-request-id"),
    (b"access-control-max-age", b"86400"),
]  # fmt: skip
_SWEEP_S = 1.0
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_GONE = 499
"""What is counted when the caller left before the answer (as nginx does)."""


class Front:
    """The ASGI app of a process.

    A route finds in its request's `state`: `key` (the caller's `ApiKey`, None on open routes),
    `request_id` and `trace`; `shared.runtime.trace.current` is set as well.
    """

    def __init__(self, service: Service, doors: Doors, gate: Gate, settings: Settings) -> None:
        self._service = service.name
        self._doors = doors
        self._gate = gate
        self._settings = settings
        self._in_flight = 0
        self._timed: dict[_Exchange, float] = {}
        self._sweeping = False
        metrics.HTTP_IN_FLIGHT.labels(service.name).set_function(lambda: self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection's request."""
        if scope["type"] == "http":
            await _Exchange(self, scope, receive, send).run()
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    def enter(self, door: Door, exchange: "_Exchange") -> None:
        """Count a request in; raises 503 when there are too many at once."""
        if self._in_flight >= self._settings.max_in_flight and not door.builtin:
            metrics.HTTP_REFUSED.labels(self._service, "busy").inc()
            raise Problem(
                503, "Too many requests are under way. Try again.", headers={"Retry-After": "1"}
            )
        self._in_flight += 1
        self._timed[exchange] = time.monotonic()
        if not self._sweeping:
            self._sweeping = True
            self._sweep_soon()

    def leave(self, exchange: "_Exchange") -> None:
        """Count a request out."""
        self._in_flight -= 1
        del self._timed[exchange]

    def _sweep_soon(self) -> None:
        # One timer for all: a timer for each request would cost more than everything else here.
        seconds = min(_SWEEP_S, self._settings.request_timeout_s / 2)
        asyncio.get_running_loop().call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        latest = time.monotonic() - self._settings.request_timeout_s
        for exchange in [e for e, began in self._timed.items() if began < latest]:
            exchange.expire()
        self._sweeping = bool(self._timed)
        if self._sweeping:
            self._sweep_soon()

    def count(self, door: Door | None, method: str, status: int, seconds: float) -> None:
        """Count an answer."""
        if door is None:
            metrics.HTTP_REQUESTS.labels(self._service, "-", "-", status).inc()
            return
        counter = door.states.get(status)
        if counter is None:
            counter = metrics.HTTP_REQUESTS.labels(
                self._service, door.declared.path, method, status
            )
            door.states[status] = counter
        counter.inc()
        door.seconds.observe(seconds)
        if (status >= 500 or self._settings.access_log) and not door.builtin:
            _log.info(
                "request", route=door.declared.path, method=method, status=status,
                ms=round(seconds * 1000, 1),
            )  # fmt: skip


class _Exchange:
    """One request and its answer."""

    __slots__ = (
        "_cors",
        "_door",
        "_expired",
        "_front",
        "_headers",
        "_id",
        "_receive",
        "_received",
        "_scope",
        "_send",
        "_status",
        "_task",
        "_trace",
    )  # fmt: skip

    def __init__(self, front: Front, scope: Scope, receive: Receive, send: Send) -> None:
        self._front = front
        self._scope = scope
        self._receive = receive
        self._send = send
        self._status = 0
        self._received = 0
        self._expired = False
        self._task: asyncio.Task[Any] | None = asyncio.current_task()
        self._door: Door | None = None
        self._cors: list[tuple[bytes, bytes]] = []
        self._headers: Headers = {k: v for k, v in scope["headers"] if k in _READ}
        self._trace, self._id = _identity(self._headers)

    async def run(self) -> None:
        """Answer; whatever a route raises becomes a problem, and nothing passes but cancellation."""
        start = time.perf_counter()
        before = trace.current.set(self._trace)
        try:
            await self._answer()
        except ClientDisconnect:
            self._status = self._status or _GONE
        except asyncio.CancelledError:
            if not self._expired or self._task is None:
                raise
            self._task.uncancel()
            await self._explain(Problem(503, "This took too long and was given up. Try again."))
        except Exception as error:
            await self._explain(error)
        finally:
            trace.current.reset(before)
            seconds = time.perf_counter() - start
            self._front.count(self._door, self._scope["method"], self._status or _GONE, seconds)

    async def _answer(self) -> None:
        front, scope = self._front, self._scope
        if scope["method"] == "OPTIONS":
            await self._preflight()
            return
        raw_path = scope.get("raw_path") or b""
        self._door, params = front._doors.find(scope["method"], scope["path"], raw_path)
        door = self._door
        front.enter(door, self)
        try:
            self._allow_origin(door)
            key = None if door.builtin else front._gate.admit(door.declared, self._headers, scope)
            receive = self._limited()
            scope["path_params"] = params
            scope["endpoint"] = door.endpoint
            scope["state"] = {"key": key, "request_id": self._id, "trace": self._trace}
            await door.app(scope, receive, self._start)
        finally:
            front.leave(self)

    def expire(self) -> None:
        """Give the request up."""
        if self._task is not None and not self._expired:
            self._expired = True
            self._task.cancel()

    def _allow_origin(self, door: Door) -> None:
        origin = self._headers.get(b"origin")
        if origin is not None and door.for_browsers:
            self._cors = [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]

    async def _preflight(self) -> None:
        wanted = self._headers.get(b"access-control-request-method", b"").decode("latin-1")
        door, _ = self._front._doors.find(wanted or "OPTIONS", self._scope["path"])
        if not door.for_browsers:
            raise Problem(403, "Pages of other origins may not call this address.")
        self._allow_origin(door)
        methods = ", ".join(self._front._doors.methods(self._scope["path"])).encode()
        allowed = [*_PREFLIGHT, (b"access-control-allow-methods", methods)]
        await self._start({"type": "http.response.start", "status": 204, "headers": allowed})
        await self._send({"type": "http.response.body", "body": b""})

    def _limited(self) -> Receive:
        """Return `receive`, refusing bodies above the limit before they are read."""
        length = self._headers.get(b"content-length")
        limit = self._front._settings.max_body_bytes
        if length is not None and b"transfer-encoding" not in self._headers:
            # The server reads no more of a body than its announced length.
            if not length.isdigit() or int(length) > limit:
                raise self._too_large()
            return self._receive
        return self._counted if b"transfer-encoding" in self._headers else self._receive

    async def _counted(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > self._front._settings.max_body_bytes:
            raise self._too_large()
        return message

    def _too_large(self) -> Problem:
        metrics.HTTP_REFUSED.labels(self._front._service, "too-large").inc()
        limit = self._front._settings.max_body_bytes
        return Problem(
            413,
            f"At most {limit} bytes are taken at once: send smaller batches.",
            kind="too-large",
            headers={"Connection": "close"},
        )

    async def _start(self, message: Message) -> None:
        """Send on what a route answers, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            given = message.get("headers", ())
            cached = () if b"cache-control" in dict(given) else _NOT_CACHED
            named = (b"x-request-id", self._id.encode())
            message["headers"] = [*given, *cached, *_ALWAYS, named, *self._cors]
        await self._send(message)

    async def _explain(self, error: Exception) -> None:
        problem = problem_of(error)
        if isinstance(error, Retryable):
            _log.warning("something is away", route=self._route(), reason=str(error))
        elif problem.status_code >= 500 and not isinstance(error, Problem):
            _log.error("request failed", route=self._route(), exc_info=error)
        if self._status:
            # A part of the answer is out; the server closes the connection, so that it is seen.
            return
        if problem.status_code in (401, 403, 429):
            metrics.HTTP_REFUSED.labels(self._front._service, problem.kind).inc()
        headers = [(k.lower().encode(), v.encode()) for k, v in (problem.headers or {}).items()]
        headers.append((b"content-type", CONTENT_TYPE))
        body = problem.body(self._id)
        headers.append((b"content-length", str(len(body)).encode()))
        await self._start(
            {"type": "http.response.start", "status": problem.status_code, "headers": headers}
        )
        await self._send({"type": "http.response.body", "body": body})

    def _route(self) -> str:
        return self._door.declared.path if self._door else "-"


def _identity(headers: Headers) -> tuple[trace.Trace, str]:
    """Return the request's own span, and the id that answers and logs name it by."""
    caller = trace.parse(headers.get(b"traceparent"))
    span = trace.new_trace() if caller is None else caller.child()
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return span, given.decode()
    return span, span.trace_id


async def _lifespan(receive: Receive, send: Send) -> None:
    """Agree to everything: the process starts and stops its parts itself."""
    while True:
        message: Any = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return

"""The HTTP servers of a process: uvicorn inside a loop that is not its own."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from shared.runtime import telemetry
from shared.runtime.http.answers import Outbox, Protocol
from shared.runtime.http.heads import Heads
from shared.runtime.http.probes import Readiness
from shared.runtime.settings import Settings

BACKLOG = 2048
_LOOK_S = 0.1

_log = telemetry.log(__name__)


class CannotListen(SystemExit):
    """The port is taken, or may not be used."""


class Listener:
    """Where a process answers: its own port at once, one shared with replicas when it is ready.

    The ports are taken here; raises `CannotListen`.
    """

    def __init__(self, app: ASGIApp, settings: Settings, port: int, readiness: Readiness) -> None:
        self._readiness = readiness
        self._own = _Server(app, settings, listen(settings.host, port))
        self._shared: _Server | None = None
        if settings.shared_port is not None:
            bound = bind_shared(settings.host, settings.shared_port)
            self._shared = _Server(app, settings, bound)
        self._ending = False

    async def serve(self) -> None:
        """Answer until `end`, then finish what is under way; raises if a server ends by itself."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._serve(self._own))
            if self._shared is not None:
                group.create_task(self._join(self._shared))

    def end(self) -> None:
        """Take no more connections."""
        self._ending = True
        for server in (self._own, self._shared):
            if server is not None:
                server.should_exit = True

    async def _join(self, server: "_Server") -> None:
        # A replica that is not ready yet would answer from its fallback while others know better.
        while not self._ending and await self._readiness.missing():
            await asyncio.sleep(_LOOK_S)
        await self._serve(server)

    async def _serve(self, server: "_Server") -> None:
        host, port = server.on.getsockname()[:2]
        _log.info("listening", url=f"http://{host}:{port}")
        await server.serve(sockets=[server.on])
        if not self._ending:
            raise RuntimeError("the HTTP server ended by itself")


class _Server(uvicorn.Server):
    """Serves one socket until `should_exit`, then finishes the requests under way.

    Waits and connections are bounded; signals are left alone.
    """

    def __init__(self, app: ASGIApp, settings: Settings, on: socket.socket) -> None:
        self.on = on
        config = uvicorn.Config(
            app,
            loop="none",
            http=partial(Protocol, outbox=Outbox(), heads=Heads(settings.keep_alive_s)),  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            # The app answers 503 above its own limit; this one ends what even that cannot bound.
            limit_concurrency=2 * settings.max_in_flight + BACKLOG,
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=max(1, int(settings.shutdown_s / 2)),
        )
        super().__init__(config)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process, which has more to end than its server."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises `CannotListen` with what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise _refused(host, port, error, "SHOPLOOP_PORT") from None


def bind_shared(host: str, port: int) -> socket.socket:
    """Return a socket bound to a port that replicas share; the kernel spreads new connections.

    It gets none until something listens on it. Raises `CannotListen` with what to do.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise _refused(host, port, error, "SHOPLOOP_SHARED_PORT") from None
    return bound


def _refused(host: str, port: int, error: OSError, setting: str) -> CannotListen:
    return CannotListen(
        f"cannot listen on {host}:{port}: {error.strerror}. End what uses it, or choose another "
        f"with {setting}."
    )

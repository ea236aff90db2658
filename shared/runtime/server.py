"""The HTTP server of a process: uvicorn inside a loop that is not its own."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from shared.runtime.http.answers import Outbox, Protocol
from shared.runtime.http.heads import Heads
from shared.runtime.settings import Settings

BACKLOG = 2048


class CannotListen(SystemExit):
    """The port is taken, or may not be used."""


class Server(uvicorn.Server):
    """Serves until `should_exit`, then finishes the requests under way; signals are left alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process, which has more to end than its server."""
        yield


def server(app: ASGIApp, settings: Settings) -> Server:
    """Return a server with bounded waits and connections."""
    return Server(
        uvicorn.Config(
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
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises `CannotListen` with what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {host}:{port}: {error.strerror}. End what uses it, or choose another "
            "with SHOPLOOP_PORT."
        ) from None

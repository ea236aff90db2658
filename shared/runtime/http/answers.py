"""How answers leave: whole, and together with others of the same turn of the loop.

uvicorn writes the head of an answer and its body apart, and each answer at once. A write to a caller
that sleeps costs more than everything else of a small request: the kernel has to wake it.
"""

import asyncio
from typing import Any

from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from shared.runtime.http.heads import Heads

_CONTROL = bytes([*range(9), *range(10, 32), 127])
"""What no header may hold: it could end its line."""
_APART = frozenset({b"connection", b"transfer-encoding"})


class Outbox:
    """Answers that go out when the requests at hand have been looked at."""

    def __init__(self) -> None:
        self._answers: list[tuple[asyncio.Transport, bytes]] = []

    def put(self, transport: asyncio.Transport, answer: bytes) -> None:
        """Write soon."""
        if not self._answers:
            asyncio.get_running_loop().call_soon(self.flush)
        self._answers.append((transport, answer))

    def flush(self) -> None:
        """Write now."""
        answers, self._answers = self._answers, []
        for transport, answer in answers:
            if not transport.is_closing():
                transport.write(answer)


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, to which all but common answers are left."""

    def __init__(self, *given: Any, outbox: Outbox, heads: Heads, **named: Any) -> None:
        super().__init__(*given, **named)
        self._outbox = outbox
        self._heads = heads

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._heads.watch(self)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        def answered(scope: Any, receive: Any, send: Any) -> Any:
            return app(scope, receive, _Answer(cycle, self._outbox).send)

        super()._start_asgi_task(cycle, answered)

    def shutdown(self) -> None:
        """Close when the answer under way is out."""
        self._outbox.flush()
        super().shutdown()


class _Answer:
    """Keeps the head until the body comes, as ASGI allows."""

    __slots__ = ("_cycle", "_head", "_outbox")

    def __init__(self, cycle: RequestResponseCycle, outbox: Outbox) -> None:
        self._cycle, self._outbox = cycle, outbox
        self._head: Message | None = None

    async def send(self, message: Message) -> None:
        """Take a part of the answer."""
        if self._head is None and message["type"] == "http.response.start":
            self._head = message
            return
        head, self._head = self._head, None
        if head is not None:
            if self._put(head, message):
                return
            await self._cycle.send(head)  # type: ignore[arg-type]
        await self._cycle.send(message)  # type: ignore[arg-type]

    def _put(self, head: Message, message: Message) -> bool:
        """Send the answer if these two are all of it and nothing about it is uncommon."""
        cycle, body = self._cycle, message.get("body", b"")
        headers = [*cycle.default_headers, *head.get("headers", ())]
        named = dict(headers)
        if (
            message.get("more_body")
            or cycle.disconnected
            or not cycle.keep_alive
            or cycle.flow.write_paused
            or cycle.scope["method"] == "HEAD"
            or named.get(b"content-length") != b"%d" % len(body)
            or not _APART.isdisjoint(named)
        ):
            return False
        lines = [b": ".join(header) for header in headers]
        text = b"".join(lines)
        if len(text.translate(None, _CONTROL)) != len(text):
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        parts = (STATUS_LINE[head["status"]], b"\r\n".join(lines), b"\r\n\r\n", body)
        self._outbox.put(cycle.transport, b"".join(parts))
        cycle.message_event.set()
        cycle.on_response()
        return True

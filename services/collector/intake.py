"""Raw ASGI endpoints for what comes in: body → events → door → acknowledgement.

They stand outside FastAPI because its routing and models cost more than everything done here.
"""

import zlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from services.collector.core.accept import Context
from services.collector.core.bots import agent_score
from services.collector.core.incoming import Parsed
from services.collector.door import Door, Outcome, Wrong
from services.collector.settings import CollectorSettings
from services.collector.spool import Spool
from services.collector.wal.log import LogFull
from shared.contracts.errors import Invalid
from shared.runtime import metrics
from shared.runtime.clock import Clock
from shared.runtime.http import Problem, too_many
from shared.runtime.keys import Ack, ApiKey

Read = Callable[[bytes, Scope], Parsed[Any]]
Seal = Callable[[Parsed[Any], bool], Awaitable[Parsed[Any]]]
_JSON = (b"content-type", b"application/json")
_LEVELS: tuple[Ack, ...] = ("memory", "disk", "kafka")
_AGENT = 512
"""Bytes of a user agent that are looked at, and kept in a cache."""
_OUTCOMES = ("accepted", "duplicate", "rejected", "shed")


class Answer(msgspec.Struct, omit_defaults=True):
    """What became of a request's events.

    `ack` is what the accepted ones have reached: the level asked for, or ``disk`` where Kafka took
    longer than the sender is made to wait. `id` is that of a single event; `assigned` has the ids
    that the collector gave to events without one, by place.
    """

    ack: Ack
    accepted: int
    duplicates: int = 0
    rejected: int = 0
    shed: int = 0
    ignored: int = 0
    id: str | None = None
    assigned: dict[int, str] = {}
    errors: list[Wrong] = []


_encode = msgspec.json.Encoder().encode


class Desk:
    """What all endpoints share: the door, the spool, and how a request's context is found."""

    def __init__(self, door: Door, spool: Spool, settings: CollectorSettings, clock: Clock) -> None:
        self.door, self.settings = door, settings
        self._spool, self._clock = spool, clock
        self._oldest = timedelta(days=settings.browser_oldest_days)

    def context(self, source: str, scope: Scope) -> Context:
        """Return what the request says of all its events."""
        agent = gpc = None
        for name, value in scope["headers"]:
            if name == b"user-agent":
                agent = value
            elif name == b"sec-gpc":
                gpc = value
        now_s = self._clock.now()
        state = scope["state"]
        key: ApiKey | None = state["key"]
        browser = key is None or key.publishable
        trace = state["trace"]
        return Context(
            source=source,
            now=datetime.fromtimestamp(now_s, UTC),
            now_s=now_s,
            browser=browser,
            agent=agent_score(agent and agent[:_AGENT].decode("latin-1")) if browser else 0.0,
            gpc=gpc == b"1",
            oldest=self._oldest if browser else None,
            traceparent=None if trace is None else str(trace),
        )

    def take(self, parsed: Parsed[Any], context: Context) -> Outcome:
        """Pass the door; a full log becomes the 429 that says when to come back."""
        try:
            return self.door.take(parsed, context)
        except LogFull as full:
            raise refusal(full, self._spool) from full

    async def reached(self, seq: int, level: Ack) -> Ack:
        """Wait for `level` and return the level that was reached.

        Raises
        ------
        Problem
            503: the disk refused the write. The records may be written later; sent again, they are
            then known.
        """
        if level == "memory":
            return level
        started = self._clock.monotonic()
        try:
            await self._spool.log.durable(seq)
        except LogFull as full:
            raise refusal(full, self._spool) from full
        reached: Ack = "disk"
        if level == "kafka" and await self._spool.published(
            seq, within_s=self.settings.kafka_ack_s
        ):
            reached = "kafka"
        metrics.COLLECTOR_ACK_SECONDS.labels(reached).observe(self._clock.monotonic() - started)
        return reached


def refusal(full: LogFull, spool: Spool) -> Problem:
    """Return 429 for a full log, and 503 for a disk that refuses writes."""
    if spool.log.fault is not None:
        wait = {"Retry-After": f"{full.after_s or 5:.0f}"}
        return Problem(503, f"Send this again, under the same ids: {full}.", headers=wait)
    return too_many("The log is full until Kafka takes what it holds.", after_s=full.after_s or 5)


class Intake:
    """The endpoint of one door.

    Parameters
    ----------
    path : str
        Names the door in events, metrics and rejected bytes.
    read : callable
        Parses a body; raises `Invalid` where the whole cannot be read.
    secret : bool
        Whether publishable keys are refused.
    seal : callable, optional
        Applied to what was parsed before it passes the door.
    """

    def __init__(
        self,
        path: str,
        desk: Desk,
        read: Read,
        *,
        secret: bool = False,
        seal: Seal | None = None,
    ) -> None:
        self._path, self._desk, self._read = path, desk, read
        self._secret, self._seal = secret, seal
        self._counts = [metrics.COLLECTOR_EVENTS.labels(path, o) for o in _OUTCOMES]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        status, answer = await self.answer(scope, receive)
        body = _encode(answer)
        headers = [_JSON, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def answer(self, scope: Scope, receive: Receive) -> tuple[int, Answer]:
        """Take in what the request holds and wait for the level of acknowledgement of its key."""
        key: ApiKey | None = scope["state"]["key"]
        if self._secret and (key is None or key.publishable):
            raise Problem(403, "This needs a secret key: what it takes must come from the shop.")
        level = _level(key, scope)
        body = await _body(scope, receive, self._desk.settings.max_body_bytes)
        try:
            parsed = self._read(body, scope)
        except Invalid as error:
            raise Problem(
                400,
                f"{error.reason}. Nothing of this request was taken.",
                errors=[{"field": error.field or "", "reason": error.reason}],
            ) from error
        context = self._desk.context(self._path, scope)
        if parsed.sent_at is not None:
            context = msgspec.structs.replace(context, sent_at=parsed.sent_at)
        if self._seal is not None:
            parsed = await self._seal(parsed, context.gpc)
        outcome = self._desk.take(parsed, context)
        reached = await self._desk.reached(outcome.last, level)
        self._count(outcome)
        return _status(outcome), _answer(parsed, outcome, reached)

    def _count(self, outcome: Outcome) -> None:
        numbers = (outcome.accepted, outcome.duplicates, len(outcome.errors), outcome.shed)
        for count, n in zip(self._counts, numbers, strict=True):
            if n:
                count.inc(n)


def _answer(parsed: Parsed[Any], outcome: Outcome, reached: Ack) -> Answer:
    single = None
    if parsed.single and parsed.events:
        single = parsed.events[0][1].id or outcome.assigned.get(0)
    return Answer(
        ack=reached,
        accepted=outcome.accepted,
        duplicates=outcome.duplicates,
        rejected=len(outcome.errors),
        shed=outcome.shed,
        ignored=outcome.ignored,
        id=single,
        assigned={} if parsed.single else outcome.assigned,
        errors=outcome.errors,
    )


def _status(outcome: Outcome) -> int:
    """Return 202, or 422 when every event of the request was refused.

    A tracker that meets a 4xx for one bad event in a batch would send the whole batch for ever.
    """
    refused = outcome.errors and not (outcome.accepted or outcome.duplicates or outcome.shed)
    return 422 if refused else 202


def _level(key: ApiKey | None, scope: Scope) -> Ack:
    """Return the key's level, or the one that the request asks for with ``?ack=``."""
    query: bytes = scope["query_string"]
    asked = _asked(query) if b"ack=" in query else None
    return asked or ("disk" if key is None else key.ack)


@lru_cache(maxsize=256)
def _asked(query: bytes) -> Ack | None:
    asked = parse_qs(query.decode("latin-1")).get("ack", [None])[0]
    if asked is None:
        return None
    for level in _LEVELS:
        if asked == level:
            return level
    raise Problem(400, f"ack is one of {', '.join(_LEVELS)}, not {asked!r}.")


async def _body(scope: Scope, receive: Receive, limit: int) -> bytes:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts = [body]
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            parts.append(message.get("body", b""))
        body = b"".join(parts)
    if body[:2] == b"\x1f\x8b":
        return _unpacked(body, limit)
    return body


def _unpacked(body: bytes, limit: int) -> bytes:
    """Return a gzipped body's content; what unpacks to more than the limit is refused unread."""
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise Problem(400, "The body begins like gzip and is not: send it again.") from error
    if len(plain) > limit:
        raise Problem(
            413, f"At most {limit} bytes are taken at once: send smaller batches.", kind="too-large"
        )
    if not stream.eof:
        raise Problem(400, "The gzipped body is cut short: send it again.")
    if stream.unused_data:
        raise Problem(400, "Behind the gzipped body there is more: pack all of it at once.")
    return plain

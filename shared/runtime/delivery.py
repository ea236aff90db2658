"""From records to a handler: decode, hand over, isolate what is wrong, wait for what is away."""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from structlog.contextvars import bound_contextvars

from shared.contracts.envelope import decode, header
from shared.contracts.errors import Invalid, Retryable
from shared.contracts.topics import NO_KEY, Topic
from shared.runtime import metrics, trace
from shared.runtime.bus.port import Handler, Received, Record
from shared.runtime.clock import Clock
from shared.runtime.telemetry import log

_log = log(__name__)


class Refusal(NamedTuple):
    """Why a record has no effect: its bytes are no event, or the handler did not want it."""

    reason: str
    kind: Literal["unreadable", "refused"]
    attempt: int


Refuse = Callable[[Record, Refusal], Awaitable[None]]
"""Puts a record aside for good."""


class Abandoned(Exception):
    """Waiting was given up because the partition goes to someone else."""


@dataclass(frozen=True)
class BackOff:
    """How long to wait before the next try: exponential with full jitter.

    The n-th wait is drawn evenly from 0 to ``min(longest_s, first_s * 2**(n - 1))``, so that many
    processes that lost the same thing do not return to it in step (Brooker, "Exponential Backoff
    And Jitter", AWS Architecture Blog, 2015). An error that names a time is waited for at least so
    long.
    """

    first_s: float = 0.1
    longest_s: float = 15.0
    chance: Callable[[], float] = random.random
    """Even in 0 to 1."""

    def wait_s(self, attempt: int, error: Retryable) -> float:
        """Return the seconds to wait after the `attempt`-th failure in a row, counted from 1."""
        ceiling = min(self.longest_s, self.first_s * 2.0 ** min(attempt - 1, 30))
        return max(error.after_s or 0.0, ceiling * self.chance())


class Effects(NamedTuple):
    """What every delivery of one loop shares: handlers by topic name, and how to wait."""

    handlers: Mapping[str, tuple[Topic[Any], Handler]]
    service: str
    clock: Clock
    back_off: BackOff


class Delivery:
    """Gives the records of one partition to its handler, in order, a batch at a time."""

    def __init__(self, effects: Effects, refuse: Refuse) -> None:
        self._effects = effects
        self._refuse = refuse
        self._alone = 0
        self.waiting = False
        """Whether it waits for something that is away; it can then be cancelled without a loss."""
        self.leaving = False
        """Set from outside: do not begin to wait any more, raise `Abandoned`."""

    async def some(self, records: Sequence[Record]) -> int:
        """Take records from the front and return how many; 0 if they must come again.

        Blocks until they had their effect or were put aside, however long what they need is away.
        Anything but `Invalid` and `Retryable` from the handler goes through.
        """
        origin = records[0].topic
        if origin not in self._effects.handlers:
            # Re-driven: neighbours may come from other topics, and this group may not read them.
            origin = (header(records[0].headers, "dlq-topic") or b"").decode("utf-8", "replace")
            if origin not in self._effects.handlers:
                return 1
        topic, handler = self._effects.handlers[origin]
        if self._alone or origin != records[0].topic:
            records = records[:1]
        received, wrong = _decoded(records, topic)
        if not received:
            assert wrong is not None
            return await self._put_aside(records[0], Refusal(str(wrong), "unreadable", 1))
        try:
            await self._hand_over(handler, received, records[len(received) - 1])
        except _Refused as refused:
            if len(received) == 1:
                return await self._put_aside(records[0], refused.refusal)
            self._alone = len(received)
            return 0
        self._alone = max(0, self._alone - len(received))
        self._observe(received[0], records[0])
        return len(received)

    async def _hand_over(
        self, handler: Handler, received: Sequence[Received[Any]], last: Record
    ) -> None:
        clock, attempt = self._effects.clock, 0
        where = {"topic": last.topic, "partition": last.partition, "offset": last.offset}
        while True:
            attempt += 1
            began = clock.monotonic()
            try:
                with bound_contextvars(**where, **_identity(received)):
                    await handler(received)
            except Retryable as error:
                metrics.RETRIES.labels(last.topic).inc()
                await self._wait(attempt, error, where)
            except Invalid as error:
                raise _Refused(Refusal(str(error), "refused", attempt)) from error
            else:
                metrics.PROCESS_SECONDS.labels(last.topic).observe(clock.monotonic() - began)
                return

    async def _put_aside(self, record: Record, refusal: Refusal) -> int:
        self._alone = max(0, self._alone - 1)
        tries = 0
        while True:
            tries += 1
            try:
                await self._refuse(record, refusal)
            except Retryable as error:
                await self._wait(tries, error, {"topic": record.topic})
            else:
                return 1

    async def _wait(self, attempt: int, error: Retryable, where: Mapping[str, Any]) -> None:
        if self.leaving:
            raise Abandoned
        effects = self._effects
        seconds = effects.back_off.wait_s(attempt, error)
        _log.warning("will try again", attempt=attempt, reason=str(error), in_s=seconds, **where)
        self.waiting = True
        try:
            await effects.clock.sleep(seconds)
        finally:
            self.waiting = False

    def _observe(self, oldest: Received[Any], record: Record) -> None:
        """One observation a batch, of its oldest event: cheap, and never flattering."""
        envelope = oldest.envelope
        if envelope is not None and envelope.receivedat is not None:
            since = envelope.receivedat.timestamp()
        else:
            since = record.timestamp_ms / 1000
        seconds = max(0.0, self._effects.clock.now() - since)
        metrics.EVENT_TO_EFFECT_SECONDS.labels(self._effects.service).observe(seconds)


class _Refused(Exception):
    """The handler said `Invalid`."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


def _decoded(
    records: Sequence[Record], topic: Topic[Any]
) -> tuple[list[Received[Any]], Invalid | None]:
    """Decode up to the first record that is wrong, and say what is wrong with it."""
    received: list[Received[Any]] = []
    try:
        # What came before an error stays in the list.
        received.extend(received_from(record, topic) for record in records)
    except Invalid as error:
        return received, error
    return received, None


def received_from(record: Record, topic: Topic[Any]) -> Received[Any]:
    """Decode one record of `topic`.

    Raises
    ------
    Invalid
        The bytes are no envelope of the topic's event, or of another version of it.
    """
    try:
        key = NO_KEY if record.key is None else record.key.decode()
    except UnicodeDecodeError as error:
        raise Invalid("the key is not UTF-8") from error
    position = record.position
    if record.value is None:
        return Received(None, key, position)
    envelope = decode(record.value, topic.event)
    if envelope.type != topic.type:
        raise Invalid(f"the type is {envelope.type!r}; this release reads {topic.type!r}")
    return Received(envelope, key, position)


def _identity(received: Sequence[Received[Any]]) -> dict[str, str]:
    """Return the event's id for the log; a batch of several has none, and no trace of its own."""
    envelope = received[0].envelope if len(received) == 1 else None
    found = None if envelope is None else trace.parse(envelope.traceparent)
    trace.current.set(None if found is None else found.child())
    return {} if envelope is None else {"event_id": envelope.id}

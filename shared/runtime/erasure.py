"""Forgetting a person: one key destroyed, tombstones, and every service told."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from shared.contracts.envelope import Envelope, utc
from shared.contracts.errors import Invalid, Retryable
from shared.contracts.events import Erasure, Identity
from shared.contracts.ids import AnonId, UserId, uuid7
from shared.contracts.service import Service
from shared.contracts.topics import ERASURES, IDENTITIES, SHOPPERS, Topic, wrap
from shared.runtime import trace
from shared.runtime.app import Ports, nothing
from shared.runtime.bus.port import Bus, Handler, Received, Record
from shared.runtime.clock import Clock
from shared.runtime.delivery import BackOff, received_from
from shared.runtime.telemetry import log

E = TypeVar("E")
Clear = Callable[[UserId, tuple[AnonId, ...]], Awaitable[Mapping[str, int]]]
"""Removes a person from a service's views; returns how much, by what it was."""

WATCH_S = 10.0
_LOOK_S = 0.02
_log = log(__name__)


async def forget(
    ports: Ports, user: UserId, *, source: str, settled: Callable[[], Awaitable[None]] = nothing
) -> Envelope[Erasure]:
    """Forget `user` and return the event that tells all services to do so.

    Destroys the person's key in the vault, durably; waits for `settled`; publishes the event, with
    the anonymous ids that are known to be this person's; then the tombstones in `identities` and
    `shoppers`. Reads `identities` whole, so it takes as long as that topic is. After an error it is
    called again: each step may happen twice.

    Parameters
    ----------
    ports : Ports
        Of a service that writes `erasures`, `identities` and `shoppers`, reads `identities`, and
        declares the vault.
    user : UserId
        The pseudonym.
    source : str
        Who asks, for the event.
    settled : async callable
        Returns when everything that was accepted of the person by now is in Kafka: what came
        behind the tombstones would stay.

    Raises
    ------
    Retryable
        Kafka or Redis is away; what was done stays done.
    """
    await ports.vault.forget(user)
    await settled()
    anonids = await anonymous_ids(ports.bus, user)
    request = _event(ports.clock, source, Erasure(user=user, anonids=anonids))
    await ports.bus.publish(ERASURES, request)
    # Only now: before, a crash would have lost who the anonymous visitors were.
    for anonid in anonids:
        await ports.bus.tombstone(IDENTITIES, anonid)
    await ports.bus.tombstone(SHOPPERS, user)
    return request


async def anonymous_ids(bus: Bus, user: UserId) -> tuple[AnonId, ...]:
    """Return the anonymous ids that `identities` gives to `user`, in order."""
    found: set[str] = set()

    def note(received: Received[Identity]) -> None:
        if received.envelope is not None and received.envelope.data.user == user:
            found.add(received.key)
        else:
            found.discard(received.key)

    await _read_whole(bus, IDENTITIES, note)
    return tuple(AnonId(one) for one in sorted(found))


def erasure_handler(service: Service, ports: Ports, clear: Clear) -> Handler:
    """Return the handler that a service mounts on `erasures`, which it reads and writes.

    It calls `clear` for each person to be forgotten and answers with what that removed. `clear`
    may be called again for the same person.
    """
    unanswered: dict[str, Counter[str]] = {}

    async def handle(batch: Sequence[Received[Any]]) -> None:
        for received in batch:
            request: Envelope[Erasure] | None = received.envelope
            if request is None or request.data.service is not None:
                continue
            user = UserId(request.data.user)
            # Cleared again after an answer that did not get out, there is nothing left to count.
            removed = unanswered.setdefault(request.id, Counter())
            removed.update(await clear(user, tuple(AnonId(a) for a in request.data.anonids)))
            answer = answered(
                ports.clock, service.name, user, request.id, removed, request.traceparent
            )
            await ports.bus.publish(ERASURES, answer)
            del unanswered[request.id]
            _log.info("forgot a person", **{f"removed_{what}": n for what, n in removed.items()})

    return handle


def answered(
    clock: Clock, service: str, user: UserId, request_id: str, removed: Mapping[str, int],
    traceparent: str | None = None,
) -> Envelope[Erasure]:  # fmt: skip
    """Return the event that says what `service` removed of `user`, as the event `request_id` asked.

    Its id is the same for each time a request is handled, so that the answer counts once.
    """
    return _event(
        clock,
        service,
        Erasure(user=user, service=service, removed=dict(removed)),
        id=f"{request_id}-{service}",
        causedby=request_id,
        traceparent=traceparent,
    )


async def answers(bus: Bus, request_id: str) -> AsyncIterator[tuple[str, dict[str, int]]]:
    """Yield each service's name and what it removed for the event `request_id`, for ever.

    A service whose handler ran twice may be yielded twice.
    """
    view = await bus.view([ERASURES])
    try:
        async for records in view.records():
            for received in _readable(records, ERASURES):
                answer = received.envelope
                if answer is None or answer.causedby != request_id:
                    continue
                if answer.data.service is not None:
                    yield answer.data.service, answer.data.removed
    finally:
        await view.close()


async def keep_forgotten(ports: Ports) -> None:
    """Forget again, for ever, whoever was forgotten by a vault that a lost Redis has emptied.

    A task of one process of a service that reads `erasures` and declares the vault.
    """
    back_off, failures, known = BackOff(), 0, ""
    while True:
        try:
            epoch = await ports.kv.epoch()
            if epoch != known:
                await _forget_again(ports)
            known, failures = epoch, 0
            await ports.clock.sleep(WATCH_S)
        except Retryable as error:
            failures += 1
            await ports.clock.sleep(back_off.wait_s(failures, error))


async def _forget_again(ports: Ports) -> None:
    asked: set[UserId] = set()

    def note(received: Received[Erasure]) -> None:
        if received.envelope is not None and received.envelope.data.service is None:
            asked.add(UserId(received.envelope.data.user))

    await _read_whole(ports.bus, ERASURES, note)
    lost = [user for user in sorted(asked) if not await ports.vault.forgotten(user)]
    for user in lost:
        await ports.vault.forget(user)
    if lost:
        _log.warning("forgot again what a lost Redis had brought back", people=len(lost))


async def _read_whole(bus: Bus, topic: Topic[E], note: Callable[[Received[E]], None]) -> None:
    """Give every event and tombstone that a topic has now to `note`."""
    view = await bus.view([topic])

    async def read() -> None:
        async for records in view.records():
            for received in _readable(records, topic):
                note(received)

    reading = asyncio.create_task(read())
    try:
        while not view.caught_up:
            await asyncio.wait({reading}, timeout=_LOOK_S)
            if reading.done():
                reading.result()
                raise Retryable(f"the view of {topic.name} was closed before its end")
    finally:
        reading.cancel()
        await view.close()


def _readable(records: Sequence[Record], topic: Topic[E]) -> Iterator[Received[E]]:
    """Yield all but what is no event: one wrong record must not keep everybody from being forgotten."""
    for record in records:
        try:
            yield received_from(record, topic)
        except Invalid as reason:
            _log.error("record skipped", position=str(record.position), reason=str(reason))


def _event(clock: Clock, source: str, erasure: Erasure, **attributes: Any) -> Envelope[Erasure]:
    now_s = clock.now()
    attributes.setdefault("id", uuid7(int(now_s * 1000), os.urandom(10)))
    attributes.setdefault("traceparent", trace.traceparent())
    return wrap(
        ERASURES, erasure, source=source, time=utc(now_s), userid=erasure.user, **attributes
    )

"""The one door: whatever came in is checked for repeats, put in order and appended to the log."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from services.collector.core.accept import Context, accepted, marked
from services.collector.core.bots import Paces, either
from services.collector.core.dedup import Seen, digest
from services.collector.core.incoming import Fault, Incoming, Parsed
from services.collector.core.redact import redacted
from services.collector.core.rejections import Rejections
from services.collector.core.shed import keeps, kept_share
from services.collector.wal.format import Record
from services.collector.wal.log import Log, LogFull
from shared.contracts.envelope import Envelope, encode
from shared.contracts.errors import Invalid
from shared.contracts.events import Behaviour, Rejected
from shared.contracts.ids import uuid7
from shared.contracts.topics import BEHAVIOUR_REJECTED, Topic, wrap
from shared.runtime.privacy import Pseudonyms

_SHED_REJECTED = 0.5
_REASON, _FIELD = 1000, 512
"""Characters kept of why an event was not taken, and of where: both may quote what was sent."""


class _Shed(Exception):
    """The event is among those that are left out while the log fills."""


class Wrong(Struct, omit_defaults=True):
    """An item that was not taken: its place in the request and what to change."""

    index: int
    reason: str
    field: str | None = None
    id: str | None = None


class Outcome(Struct):
    """What became of a request's events; `last` is the newest record it must wait for."""

    last: int
    accepted: int = 0
    duplicates: int = 0
    shed: int = 0
    ignored: int = 0
    errors: list[Wrong] = []
    assigned: dict[int, str] = {}
    """Ids that the collector gave, by place."""


class Door:
    """Takes what was parsed; runs on the event loop and never waits.

    Parameters
    ----------
    entropy : callable
        Returns that many random bytes.
    """

    def __init__(
        self,
        log: Log,
        seen: Seen,
        rejections: Rejections,
        pseudonyms: Pseudonyms,
        paces: Paces,
        *,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._log, self._seen, self._rejections = log, seen, rejections
        self._pseudonym = pseudonyms.of
        self._paces = paces
        self._entropy = entropy
        self._newest_ms = 0

    def resume(self, newest_ms: int) -> None:
        """Never stamp a record earlier than this, the time of the log's newest one.

        The relay looks for what Kafka has by time, so that time must not run back in the log.
        """
        self._newest_ms = max(self._newest_ms, newest_ms)

    def take(self, parsed: Parsed[Any], context: Context) -> Outcome:
        """Append the request's events, in their order, and say what became of each.

        Raises
        ------
        LogFull
            None was taken.
        """
        fill = self._log.fill
        if fill >= 1:
            raise LogFull("the log is full; come back later", after_s=5)
        self._newest_ms = max(self._newest_ms, int(context.now_s * 1000))
        outcome = Outcome(last=self._log.last, ignored=parsed.ignored)
        claimed: list[int] = []
        try:
            records = self._records(parsed, context, outcome, fill, claimed)
            for fault in parsed.faults:
                self._reject(fault, context, outcome, records, fill)
            if records:
                self._log.append(records)
            claimed.clear()
        finally:
            # What was not taken, for whatever reason, must be new when it is sent again.
            self._seen.forget(claimed)
        outcome.last = self._log.last
        return outcome

    def gone(self, topic: Topic[Any], key: str, context: Context) -> Outcome:
        """Append a tombstone: `key` is no more. Raises `LogFull`."""
        if self._log.fill >= 1:
            raise LogFull("the log is full; come back later", after_s=5)
        self._newest_ms = max(self._newest_ms, int(context.now_s * 1000))
        event_id = uuid7(self._newest_ms, self._entropy(10))
        named = event_id.encode()
        seq = self._log.last + 1
        record = Record(seq, self._newest_ms, topic.name, key.encode(), None, named, digest(named))
        self._seen.claim(record.digest, seq, context.now_s)
        self._log.append([record])
        return Outcome(last=seq, accepted=1, assigned={0: event_id})

    def _records(
        self,
        parsed: Parsed[Any],
        context: Context,
        outcome: Outcome,
        fill: float,
        claimed: list[int],
    ) -> list[Record]:
        """Return the records of the events that are new and right; the rest becomes faults."""
        records: list[Record] = []
        seen, now_s, seq = self._seen, context.now_s, self._log.last + 1
        for index, incoming in parsed.events:
            event_id = incoming.id
            if event_id is None:
                event_id = uuid7(self._newest_ms, self._entropy(10))
                outcome.assigned[index] = event_id
            named = event_id.encode()
            key = digest(named)
            if not seen.claim(key, seq, now_s):
                outcome.duplicates += 1
                continue
            claimed.append(key)
            try:
                fact = incoming.data
                if type(fact) is Behaviour:
                    fact = self._marked(fact, incoming, key, context, fill)
                topic, envelope = accepted(incoming, fact, event_id, context, self._pseudonym)
                records.append(self._record(topic, envelope, named, key, seq))
            except _Shed:
                seen.forget((key,))
                outcome.shed += 1
            except Invalid as error:
                seen.forget((key,))
                sent = encode_sent(incoming)
                fault = Fault(index, error.reason, error.field, event_id, sent)
                parsed.faults.append(fault)
            else:
                seq += 1
        outcome.accepted = len(records)
        return records

    def _marked(
        self, fact: Behaviour, incoming: Incoming[Any], key: int, context: Context, fill: float
    ) -> Behaviour:
        """Return the event with what the collector says of it; raises `_Shed`."""
        share = kept_share(fact.action, fill)
        if share < 1 and not keeps(key, share):
            raise _Shed
        if not context.browser:
            # A shop's own server may know better; what it says of bots and weights stands.
            return fact if share == 1 else marked(fact, weight=fact.weight / share, bot=fact.bot)
        person = incoming.userid or incoming.anonid or ""
        pace = self._paces.score(person, context.now_s)
        return marked(fact, weight=1 / share, bot=either(context.agent, pace))

    def _record(
        self, topic: Topic[Any], envelope: Envelope[Any], named: bytes, key: int, seq: int
    ) -> Record:
        trace = envelope.traceparent
        return Record(
            seq,
            self._newest_ms,
            topic.name,
            topic.key_of(envelope).encode(),
            encode(envelope),
            named,
            key,
            b"" if trace is None else trace.encode(),
        )

    def _reject(
        self,
        fault: Fault,
        context: Context,
        outcome: Outcome,
        records: list[Record],
        fill: float,
    ) -> None:
        reason, field = fault.reason[:_REASON], fault.field and fault.field[:_FIELD]
        outcome.errors.append(Wrong(fault.index, reason, field, fault.id))
        if fill > _SHED_REJECTED:
            return
        original, cut = redacted(fault.original, self._pseudonym)
        rejected = Rejected(
            door=context.source,
            reason=reason,
            original=original,
            field=field,
            truncated=cut,
        )
        event_id = fault.id or uuid7(self._newest_ms, self._entropy(10))
        envelope = wrap(
            BEHAVIOUR_REJECTED,
            rejected,
            id=event_id,
            source=context.source,
            time=context.now,
            receivedat=context.now,
            traceparent=context.traceparent,
        )
        named = event_id.encode()
        seq = self._log.last + 1 + len(records)
        record = self._record(BEHAVIOUR_REJECTED, envelope, named, digest(named), seq)
        records.append(record)
        if fault.id is not None:
            self._rejections.add(record.digest, record.seq, reason, field)


def encode_sent(incoming: Incoming[Any]) -> bytes:
    """Return what was sent, as JSON, of an event that could be read and was refused all the same."""
    return msgspec.json.encode(incoming)

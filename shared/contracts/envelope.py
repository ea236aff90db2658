"""CloudEvents 1.0 in structured JSON, with shoploop's extension attributes."""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Any, Generic, TypeVar

import msgspec

from shared.contracts.errors import Invalid

CONTENT_TYPE = b"application/cloudevents+json; charset=UTF-8"
MAX_BYTES = 1_000_000
"""Kafka's default limit for a record; larger envelopes are refused before they are sent."""

E = TypeVar("E")
Headers = tuple[tuple[str, bytes], ...]


class Envelope(msgspec.Struct, Generic[E], frozen=True, kw_only=True, omit_defaults=True):
    """One event with its attributes.

    `id` is the producer's idempotency key. `time` is when it happened (UTC, the sender's clock
    after correction), `receivedat` when the collector took it. `userid` is a pseudonym. `seq`
    counts within a session. `causedby` names the event, request or release that led to this one.
    """

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    time: datetime
    data: E
    subject: str | None = None
    datacontenttype: str = "application/json"
    dataschema: str | None = None
    userid: str | None = None
    anonid: str | None = None
    sessionid: str | None = None
    seq: int | None = None
    receivedat: datetime | None = None
    consent: str | None = None
    causedby: str | None = None
    traceparent: str | None = None

    def __post_init__(self) -> None:
        # RFC 3339 demands an offset, and arithmetic with a naive time fails far from its source.
        if self.time.tzinfo is None:
            raise ValueError("time needs a UTC offset")

    @property
    def person(self) -> str | None:
        """The user, or the anonymous id of a shopper who is not logged in."""
        return self.userid or self.anonid

    @property
    def time_s(self) -> float:
        """`time` in seconds since 1970."""
        return self.time.timestamp()


_encoder = msgspec.json.Encoder()


@cache
def _decoder(event: type[Any]) -> msgspec.json.Decoder[Envelope[Any]]:
    return msgspec.json.Decoder(Envelope[event])  # type: ignore[valid-type]


def encode(envelope: Envelope[Any]) -> bytes:
    """Return the record's value; `specversion` and defaults that CloudEvents requires included.

    Raises
    ------
    Invalid
        The result exceeds `MAX_BYTES`.
    """
    body = _encoder.encode(envelope)
    if len(body) > MAX_BYTES:
        raise Invalid(f"the event is {len(body)} bytes; at most {MAX_BYTES} fit a record")
    return b'{"specversion":"1.0","datacontenttype":"application/json",' + body[1:]


def decode(value: bytes, event: type[E]) -> Envelope[E]:
    """Return the envelope in `value`, its data checked against `event`.

    Raises
    ------
    Invalid
        Not UTF-8, not JSON, or not of that shape; the reason names the place.
    """
    try:
        decoder: msgspec.json.Decoder[Envelope[E]] = _decoder(event)  # type: ignore[arg-type]
        return decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise Invalid(str(error)) from error


def headers_of(envelope: Envelope[Any]) -> Headers:
    """Return the record headers that let tools route a record without reading its value."""
    common = (
        ("content-type", CONTENT_TYPE),
        ("ce_id", envelope.id.encode()),
        ("ce_type", envelope.type.encode()),
    )
    if envelope.traceparent is None:
        return common
    return (*common, ("traceparent", envelope.traceparent.encode()))


def header(headers: Iterable[tuple[str, bytes]], name: str) -> bytes | None:
    """Return the last value of the header `name`, or None."""
    found = None
    for key, value in headers:
        if key == name:
            found = value
    return found


def utc(seconds: float) -> datetime:
    """Return the UTC time that is `seconds` after 1970."""
    return datetime.fromtimestamp(seconds, UTC)

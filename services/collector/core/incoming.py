"""What a sender may say of an event, before anything is decided about it."""

from datetime import datetime
from typing import Annotated, Generic, TypeVar

from msgspec import Meta, Struct

from shared.contracts.events.fields import Id, Name

E = TypeVar("E")
Traceparent = Annotated[str, Meta(max_length=55)]
Ident = Id | Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""An id as other shapes send it: some shops' ids are numbers."""


class Attributes(Struct, frozen=True, kw_only=True, gc=False):
    """CloudEvents attributes and shoploop's extensions, all optional.

    `userid` is the shop's own user id; it becomes a pseudonym at the door. `time` is the sender's
    clock. `consent` names the purposes that the shopper granted, separated by blanks.
    """

    id: Id | None = None
    time: datetime | None = None
    type: Name | None = None
    userid: Id | None = None
    anonid: Id | None = None
    sessionid: Id | None = None
    seq: Annotated[int, Meta(ge=0, lt=1 << 53)] | None = None
    consent: Name | None = None
    causedby: Id | None = None
    traceparent: Traceparent | None = None


class Incoming(Attributes, Generic[E], frozen=True, kw_only=True, gc=False):
    """An event as it was sent: its attributes and its data."""

    data: E


class Fault(Struct, frozen=True):
    """Why an event was not taken: place in the request, its id if it had a readable one.

    `original` is what was sent, for `behaviour-rejected`.
    """

    index: int
    reason: str
    field: str | None = None
    id: str | None = None
    original: bytes = b""


class Parsed(Struct, Generic[E]):
    """A request's events by place in the request, and those that could not be read.

    `sent_at` is the sender's clock when it sent the request; `ignored` counts events that the
    collector knows and has no use for.
    """

    events: list[tuple[int, Incoming[E]]]
    faults: list[Fault]
    size: int
    sent_at: datetime | None = None
    ignored: int = 0
    single: bool = False

"""Bytes of a request → events and faults, for shoploop's own shape.

A request holds one event, a list of events, or an object with the list under `events` (and the
sender's clock under `sentat`). An event is a CloudEvent with the fact under `data`, or the fact
with the attributes beside its fields:

    {"userid": "anna", "data": {"action": "view_item", "items": [{"id": "p1"}]}}
    {"userid": "anna", "action": "view_item", "items": [{"id": "p1"}]}
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from services.collector.core.incoming import Attributes, Fault, Incoming, Parsed
from shared.contracts.errors import Invalid
from shared.contracts.events.behaviour import ACTIONS
from shared.contracts.events.fields import Id

E = TypeVar("E")
_WHERE = re.compile(r"^(?P<reason>.*?)(?: - at `\$(?P<field>.*)`)?$", re.DOTALL)


class _Id(msgspec.Struct):
    id: Id | None = None


class _Shape(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw(b"")


class _Wrapped(msgspec.Struct):
    events: list[msgspec.Raw] | None = None
    sentat: datetime | None = None


_attributes = msgspec.json.Decoder(Attributes)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_raw = msgspec.json.Decoder(msgspec.Raw)
_id = msgspec.json.Decoder(_Id)
_shape = msgspec.json.Decoder(_Shape)
_wrapped = msgspec.json.Decoder(_Wrapped)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PERSON = {
    **dict.fromkeys(("user", "userid", "uid", "customer", "customerid"), "userid"),
    **dict.fromkeys(("anon", "anonid", "anonymous", "anonymousid", "visitorid"), "anonid"),
}
"""How others name a person, in small letters alone, to our name."""
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Shape(Generic[E]):
    """The native shape of events of one kind.

    Parameters
    ----------
    event : type
        The fact's struct.
    most : int
        Events in one request.
    flat : bool
        Whether the fields of a fact that has no ``data`` around it are read as attributes too;
        False where the fact has fields of the same names.
    of_person : bool
        Whether an event is at fault that names its person by another name than ours: it would
        count as nobody's, and nobody would notice.
    """

    def __init__(
        self, event: type[E], *, most: int, flat: bool = True, of_person: bool = False
    ) -> None:
        self._most = most
        self._flat = flat
        self._of_person = of_person
        self._fact = msgspec.json.Decoder(event)
        self._one = msgspec.json.Decoder(Incoming[event])  # type: ignore[valid-type]
        self._many = msgspec.json.Decoder(list[Incoming[event]])  # type: ignore[valid-type]

    def parse(self, body: bytes) -> Parsed[E]:
        """Return the events in `body`, and a fault for each that is not of this shape.

        Raises
        ------
        Invalid
            The body as a whole cannot be read: not JSON, or too many events.
        """
        if body.lstrip()[:1] == b"[":
            try:
                events = self._many.decode(body)
            except _UNREADABLE:
                return self._each(_listed(body))
            if any(self._is_nobodys(event) for event in events):
                return self._each(_listed(body))
            self._limit(len(events))
            return Parsed(events=list(enumerate(events)), faults=[], size=len(events))
        try:
            one = self._one.decode(body)
        except _UNREADABLE:
            return self._object(body)
        if self._is_nobodys(one):
            return self._object(body)
        return Parsed(events=[(0, one)], faults=[], size=1, single=True)

    def _object(self, body: bytes) -> Parsed[E]:
        """Read a list under `events`, a flat event, or one that is at fault."""
        try:
            wrapped = _wrapped.decode(body) if b'"events"' in body else _Wrapped()
            raw = _raw.decode(body) if wrapped.events is None else None
        except msgspec.ValidationError as error:
            reason, field = place_of(error)
            raise Invalid(reason, field=field) from error
        except _UNREADABLE as error:
            raise _not_json(error) from error
        if raw is None:
            parsed = self._each(wrapped.events or ())
            parsed.sent_at = wrapped.sentat
            return parsed
        parsed = self._each([raw])
        parsed.single = True
        return parsed

    def _each(self, raws: Sequence[msgspec.Raw]) -> Parsed[E]:
        self._limit(len(raws))
        parsed: Parsed[E] = Parsed(events=[], faults=[], size=len(raws))
        for index, raw in enumerate(raws):
            try:
                event = self._event(raw)
                if self._is_nobodys(event):
                    _complain_of_other_names(raw)
                parsed.events.append((index, event))
            except _UNREADABLE as error:
                reason, field = place_of(error)
                parsed.faults.append(Fault(index, reason, field, known_id(raw), bytes(raw)))
            except Invalid as error:
                fault = Fault(index, error.reason, error.field, known_id(raw), bytes(raw))
                parsed.faults.append(fault)
        return parsed

    def _is_nobodys(self, event: Incoming[E]) -> bool:
        return self._of_person and event.userid is None and event.anonid is None

    def _event(self, raw: msgspec.Raw) -> Incoming[E]:
        if bytes(_shape.decode(raw).data) not in (b"", b"null"):
            return self._one.decode(raw)
        fact = self._fact.decode(raw)
        if not self._flat:
            return Incoming(data=fact)
        attributes = _attributes.decode(raw)
        known = {f: getattr(attributes, f) for f in Attributes.__struct_fields__}
        return Incoming(data=fact, **known)

    def _limit(self, n: int) -> None:
        if n > self._most:
            raise Invalid(f"{n} events in one request; send at most {self._most}")


def place_of(error: Exception) -> tuple[str, str | None]:
    """Return the reason and the path of the wrong value from an error of the decoder."""
    match = _WHERE.match(str(error))
    assert match is not None
    reason = match["reason"]
    field = match["field"].lstrip(".") if match["field"] else None
    if field is not None and field.endswith("action"):
        reason += f"; actions are {', '.join(ACTIONS)}"
    return reason, field


def _complain_of_other_names(raw: msgspec.Raw) -> None:
    for name in _fields.decode(raw):
        ours = _PERSON.get("".join(filter(str.isalpha, name.lower())))
        if ours not in (None, name):
            raise Invalid(f"is not known here: a person's id goes under {ours!r}", field=name)


def _listed(body: bytes) -> list[msgspec.Raw]:
    try:
        return _raws.decode(body)
    except _UNREADABLE as error:
        raise _not_json(error) from error


def _not_json(error: Exception) -> Invalid:
    return Invalid(f"the body is not JSON that can be read: {error}")


def known_id(raw: msgspec.Raw | bytes) -> str | None:
    """Return the id of an event that could not be read, if that can."""
    try:
        return _id.decode(raw).id
    except _UNREADABLE:
        return None

"""The query of the pixel → one event."""

from urllib.parse import parse_qs

import msgspec

from services.collector.core.decode import place_of
from services.collector.core.incoming import Fault, Incoming, Parsed
from shared.contracts.errors import Invalid
from shared.contracts.events import Behaviour

_ATTRIBUTES = ("id", "time", "userid", "anonid", "sessionid", "seq", "consent", "causedby")
_FACTS = ("action", "query", "request_id", "list_id", "promotion_id", "page", "referrer", "locale")


def parse(query: str) -> Parsed[Behaviour]:
    """Return the event that the query describes: attributes and fields by name, `item` repeated.

    Example: ``action=view_item&item=p1&anonid=a1``.

    Raises
    ------
    Invalid
        More parameters than any event has.
    """
    try:
        asked = parse_qs(query, max_num_fields=256)
    except ValueError as error:
        raise Invalid("too many parameters") from error
    first = {name: values[0] for name, values in asked.items()}
    fact: dict[str, object] = {name: first[name] for name in _FACTS if name in first}
    fact["items"] = [{"id": item} for item in asked.get("item", [])]
    event: dict[str, object] = {name: first[name] for name in _ATTRIBUTES if name in first}
    try:
        incoming = msgspec.convert({**event, "data": fact}, Incoming[Behaviour], strict=False)
    except msgspec.ValidationError as error:
        reason, field = place_of(error)
        fault = Fault(0, reason, field, first.get("id"), query.encode())
        return Parsed(events=[], faults=[fault], size=1, single=True)
    return Parsed(events=[(0, incoming)], faults=[], size=1, single=True)

"""The query of the pixel → one event."""

from urllib.parse import parse_qs

import msgspec

from services.collector.core.decode import known_id, place_of
from services.collector.core.incoming import Fault, Incoming, Parsed
from shared.contracts.errors import Invalid
from shared.contracts.events import Behaviour

ATTRIBUTES = ("id", "time", "userid", "anonid", "sessionid", "seq", "consent", "causedby")
FACTS = ("action", "query", "request_id", "list_id", "promotion_id", "page", "referrer", "locale")


def parse(query: bytes) -> Parsed[Behaviour]:
    """Return the event that the query describes: attributes and fields by name, `item` repeated.

    Example: ``action=view_item&item=p1&anonid=a1``.

    Raises
    ------
    Invalid
        More parameters than any event has, or text in another encoding than UTF-8.
    """
    try:
        # Browsers escape what is not ASCII, other senders may not.
        asked = parse_qs(query.decode(), errors="strict", max_num_fields=256)
    except UnicodeDecodeError as error:
        raise Invalid("the address is not UTF-8; encode it with encodeURIComponent") from error
    except ValueError as error:
        raise Invalid("too many parameters") from error
    first = {name: values[0] for name, values in asked.items()}
    fact: dict[str, object] = {name: first[name] for name in FACTS if name in first}
    fact["items"] = [{"id": item} for item in asked.get("item", [])]
    event: dict[str, object] = {name: first[name] for name in ATTRIBUTES if name in first}
    event["data"] = fact
    try:
        incoming = msgspec.convert(event, Incoming[Behaviour], strict=False)
    except msgspec.ValidationError as error:
        reason, field = place_of(error)
        original = msgspec.json.encode(event)
        fault = Fault(0, reason, field, known_id(original), original)
        return Parsed(events=[], faults=[fault], size=1, single=True)
    return Parsed(events=[(0, incoming)], faults=[], size=1, single=True)

"""One event that could be read → the envelope that goes to a topic, or the reason why not."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from services.collector.core.consent import granted
from services.collector.core.incoming import Incoming
from services.collector.core.people import Claim
from services.collector.core.skew import happened
from shared.contracts.envelope import Envelope
from shared.contracts.errors import Invalid
from shared.contracts.events import Behaviour, Identity, Order, Product, Shopper
from shared.contracts.ids import UserId
from shared.contracts.topics import BEHAVIOUR, CATALOG, IDENTITIES, ORDERS, SHOPPERS, Topic

Pseudonym = Callable[[str], UserId]
TOPIC_OF: dict[type[Any], Topic[Any]] = {
    Behaviour: BEHAVIOUR,
    Order: ORDERS,
    Product: CATALOG,
    Shopper: SHOPPERS,
    Identity: IDENTITIES,
}
_TYPES = {fact: (t, t.type, f"/schemas/{t.type}.json") for fact, t in TOPIC_OF.items()}


class Context(Struct, frozen=True, kw_only=True):
    """What a request says of all its events.

    Attributes
    ----------
    source : str
        The door it came through.
    now, now_s : datetime, float
        When it was received, UTC; the same in seconds since 1970.
    browser : bool
        It came with a publishable key, so that anyone may have sent it.
    agent : float
        Probability by its user agent that no human sent it.
    gpc : bool
        It carries Global Privacy Control.
    oldest : timedelta or None
        How old an event may be; None for a sender that loads history.
    """

    source: str
    now: datetime
    now_s: float
    browser: bool = False
    agent: float = 0.0
    gpc: bool = False
    sent_at: datetime | None = None
    oldest: timedelta | None = None
    traceparent: str | None = None


def accepted(
    incoming: Incoming[Any], fact: Any, event_id: str, context: Context, pseudonym: Pseudonym
) -> tuple[Topic[Any], Envelope[Any]]:
    """Return the topic of an event and its envelope around `fact`.

    Raises
    ------
    Invalid
        Something that the decoder cannot see is wrong: nobody did it, the clock is far off, the
        type is another topic's, the consent names what does not exist.
    """
    user = incoming.userid
    if type(fact) is Claim:
        user = fact.user
        fact = Identity(anonid=fact.anonid, user=pseudonym(user))
    topic, type_, schema = _TYPES[type(fact)]
    if incoming.type is not None and incoming.type != type_:
        raise Invalid(f"this door takes {type_}", field="type")
    if topic is BEHAVIOUR and user is None and incoming.anonid is None:
        raise Invalid("who did it? send userid or anonid", field="userid")
    consent = incoming.consent
    if consent is not None or context.gpc:
        consent = granted(consent, context.gpc)
    time = incoming.time
    if time is not None:
        time = happened(time, context.now, sent_at=context.sent_at, oldest=context.oldest)
    return topic, Envelope(
        id=event_id,
        source=context.source,
        type=type_,
        time=time or context.now,
        data=fact,
        dataschema=schema,
        userid=None if user is None else pseudonym(user),
        anonid=incoming.anonid,
        sessionid=incoming.sessionid,
        seq=incoming.seq,
        receivedat=context.now,
        consent=consent,
        causedby=incoming.causedby,
        traceparent=incoming.traceparent or context.traceparent,
    )


def marked(event: Behaviour, *, weight: float, bot: float) -> Behaviour:
    """Return the event with the collector's own weight and bot score, whatever the sender claimed."""
    if event.weight == weight and event.bot == bot:
        return event
    return replace(event, weight=weight, bot=bot)

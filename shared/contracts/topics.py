"""Every topic, declared once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, Literal, TypeVar

from shared.contracts import events as ev
from shared.contracts.envelope import Envelope

E = TypeVar("E")
Cleanup = Literal["delete", "compact"]
NO_KEY = "-"


@dataclass(frozen=True)
class Partitions:
    """How many partitions a topic has; never changed in place, since keys would move."""

    local: int
    production: int


@dataclass(frozen=True, eq=False)
class Topic(Generic[E]):
    """A stream of one event type.

    Attributes
    ----------
    name : str
        Kebab-case.
    event : type
        The struct that the envelope's `data` holds.
    version : int
        Of the event type; a breaking change is a new version published beside the old.
    key : str
        What the key is, in words.
    key_of : callable
        The record key for an envelope.
    keep : timedelta or None
        Retention; None for compacted topics, which keep the newest record of each key.
    """

    name: str
    event: type[E]
    about: str
    key: str
    key_of: Callable[[Envelope[E]], str] = field(repr=False)
    keep: timedelta | None
    partitions: Partitions = Partitions(local=3, production=12)
    version: int = 1

    @property
    def cleanup(self) -> Cleanup:
        """Whether Kafka deletes by age or keeps the newest of each key."""
        return "compact" if self.keep is None else "delete"

    @property
    def type(self) -> str:
        """The CloudEvents type, such as ``shoploop.behaviour.v1``."""
        return f"shoploop.{self.name}.v{self.version}"

    def config(self, *, production: bool) -> dict[str, str]:
        """Return Kafka's settings of the topic."""
        settings = {"cleanup.policy": self.cleanup, "compression.type": "producer"}
        # Else what a machine with a fast clock has accepted could never be published.
        settings["message.timestamp.after.max.ms"] = _ANY_TIME
        if self.keep is not None:
            settings["retention.ms"] = str(int(self.keep.total_seconds() * 1000))
        else:
            # A reader that is away for a day must still see tombstones when it returns.
            settings |= {"delete.retention.ms": "86400000", "segment.ms": "3600000"}
        if production:
            settings |= {"min.insync.replicas": "2", "unclean.leader.election.enable": "false"}
        return settings

    def replication(self, *, production: bool) -> int:
        """Return the number of copies of each partition."""
        return 3 if production else 1


_ANY_TIME = str(2**63 - 1)


def _person(envelope: Envelope[Any]) -> str:
    return envelope.person or NO_KEY


def _release_fact(envelope: Envelope[ev.ReleaseChanged]) -> str:
    told = envelope.data
    return "/".join(filter(None, (told.model, told.change, told.version, told.replica)))


def days(n: int) -> timedelta:
    """Return `n` days."""
    return timedelta(days=n)


BEHAVIOUR = Topic(
    name="behaviour",
    event=ev.Behaviour,
    about="What a shopper did.",
    key="user, or anonymous id",
    key_of=_person,
    keep=days(30),
)
BEHAVIOUR_REJECTED = Topic(
    name="behaviour-rejected",
    event=ev.Rejected,
    about="Bytes that the collector did not take, and the reason.",
    key="source",
    key_of=lambda e: e.source,
    keep=days(30),
)
ORDERS = Topic(
    name="orders",
    event=ev.Order,
    about="The life of an order.",
    key="order id",
    key_of=lambda e: e.data.order_id,
    keep=days(365),
)
CATALOG = Topic(
    name="catalog",
    event=ev.Product,
    about="The product as it is now; a tombstone when it is gone.",
    key="product id",
    key_of=lambda e: e.data.id,
    keep=None,
)
SHOPPERS = Topic(
    name="shoppers",
    event=ev.Shopper,
    about="What the shop knows of a person; a tombstone when erased.",
    key="user",
    key_of=lambda e: e.data.user,
    keep=None,
)
IDENTITIES = Topic(
    name="identities",
    event=ev.Identity,
    about="Who an anonymous visitor is.",
    key="anonymous id",
    key_of=lambda e: e.data.anonid,
    keep=None,
)
SESSIONS = Topic(
    name="sessions",
    event=ev.Session,
    about="A closed session with its steps.",
    key="session id",
    key_of=lambda e: e.data.session_id,
    keep=days(30),
)
ITEM_ACTIVITY = Topic(
    name="item-activity",
    event=ev.ItemActivity,
    about="Counts of an item a window, and their growth.",
    key="product id",
    key_of=lambda e: e.data.item_id,
    keep=None,
)
DECISIONS = Topic(
    name="decisions",
    event=ev.Decision,
    about="What was shown, said, sent or withheld.",
    key="user",
    key_of=_person,
    keep=days(90),
)
MODELS = Topic(
    name="models",
    event=ev.ReleaseChanged,
    about="A release was published, promoted, rolled back, refused; a replica loaded it, or did not.",
    # Compaction keeps every fact: what was loaded must not hide what was promoted.
    key="model, what happened, version, and the replica that says so",
    key_of=_release_fact,
    keep=None,
    partitions=Partitions(local=1, production=3),
)
ERASURES = Topic(
    name="erasures",
    event=ev.Erasure,
    about="Forget this person; each service answers with what it removed.",
    # The services' answers have keys of their own, or compaction would drop the request.
    key="user, and the service that answers",
    key_of=lambda e: e.data.user if e.data.service is None else f"{e.data.user}/{e.data.service}",
    keep=None,
    partitions=Partitions(local=1, production=3),
)
AUDIT_COUNTS = Topic(
    name="audit-counts",
    event=ev.AuditCount,
    about="Count and digest of the ids that passed a stage.",
    key="stage and minute",
    key_of=lambda e: f"{e.data.stage}/{e.data.minute:%Y-%m-%dT%H:%M}",
    keep=days(7),
    partitions=Partitions(local=1, production=3),
)

TOPICS: dict[str, Topic[Any]] = {
    t.name: t
    for t in (
        BEHAVIOUR,
        BEHAVIOUR_REJECTED,
        ORDERS,
        CATALOG,
        SHOPPERS,
        IDENTITIES,
        SESSIONS,
        ITEM_ACTIVITY,
        DECISIONS,
        MODELS,
        ERASURES,
        AUDIT_COUNTS,
    )
}


def dead_letters(service: str) -> str:
    """Return the name of the service's dead-letter topic.

    Its records are the original bytes, key and headers, with what went wrong in headers beside
    them; it holds no envelope of its own and so is no `Topic`.
    """
    return f"{service}-dlq"


DEAD_LETTER_KEEP = days(30)


def wrap(
    topic: Topic[E],
    event: E,
    **attributes: Any,
) -> Envelope[E]:
    """Return `event` in an envelope of the topic's type.

    `attributes` are the envelope's: `id`, `source` and `time` are needed.
    """
    return Envelope(
        type=topic.type, dataschema=f"/schemas/{topic.type}.json", data=event, **attributes
    )

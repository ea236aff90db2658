"""Topics as they are declared: create what is missing, tell what differs.

Synchronous, over kafka-python's admin client; each call opens and closes its own connection.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    InvalidReplicationFactorError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    TopicAlreadyExistsError,
)

from shared.contracts.errors import Invalid, Retryable
from shared.contracts.topics import DEAD_LETTER_KEEP, TOPICS, Topic, dead_letters
from shared.runtime.bus.records import redrives

REQUEST_TIMEOUT_MS = 15_000
CONNECT_TIMEOUT_MS = 10_000


class Wanted(NamedTuple):
    """What a topic should be like."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]


class Drift(NamedTuple):
    """A difference between what is declared and what the broker has, and the cure."""

    topic: str
    problem: str
    cure: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.problem}; {self.cure}"


def wanted(topic: Topic[Any], *, production: bool) -> Wanted:
    """Return what `topic` declares for one machine, or for production."""
    partitions = topic.partitions.production if production else topic.partitions.local
    return Wanted(
        topic.name,
        partitions,
        topic.replication(production=production),
        topic.config(production=production),
    )


def wanted_of(service: str, *, production: bool) -> list[Wanted]:
    """Return the service's own topics: its dead letters, and those re-driven to it.

    One partition each: they are few, and stay in the order in which they failed.
    """
    config = {
        "cleanup.policy": "delete",
        "retention.ms": str(int(DEAD_LETTER_KEEP.total_seconds() * 1000)),
    }
    if production:
        config |= {"min.insync.replicas": "2", "unclean.leader.election.enable": "false"}
    names = (dead_letters(service), redrives(service))
    return [Wanted(name, 1, 3 if production else 1, config) for name in names]


def wanted_by(services: Iterable[str], *, production: bool) -> list[Wanted]:
    """Return every declared topic, and those of each of the `services`."""
    own = [w for s in services for w in wanted_of(s, production=production)]
    return [*(wanted(t, production=production) for t in TOPICS.values()), *own]


@contextmanager
def admin(bootstrap: str, **connection: Any) -> Iterator[KafkaAdminClient]:
    """Connect to the broker; `Retryable` when it does not answer, in and while opening."""
    client = None
    with _overhearing() as overheard:
        try:
            client = KafkaAdminClient(
                bootstrap_servers=bootstrap,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
                bootstrap_timeout_ms=CONNECT_TIMEOUT_MS,
                **connection,
            )
            yield client
        except (KafkaConnectionError, KafkaTimeoutError) as error:
            raise Retryable(overheard.unanswered(bootstrap, connection)) from error
        except KafkaError as error:
            # A broker that is just starting counts as none to replicate to, which looks permanent.
            if error.retriable or isinstance(error, InvalidReplicationFactorError):
                raise Retryable(f"the Kafka broker at {bootstrap} fails: {error}") from error
            raise
        finally:
            if client is not None:
                client.close()


class _Overheard(logging.Handler):
    """Keeps why connections failed, which the client tells its own log alone."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._reasons: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the errors in a log record, but not that there were too many."""
        errors = [a for a in record.args or () if isinstance(a, Exception)]
        self._reasons += [str(e) for e in errors if not isinstance(e, KafkaTimeoutError)]

    def unanswered(self, bootstrap: str, connection: Mapping[str, Any]) -> str:
        """Return what to tell of a broker that does not answer, or lets nobody in."""
        security = connection.get("security_protocol", "PLAINTEXT")
        how = "answers" if security == "PLAINTEXT" else f"lets us in by {security}"
        told = f"no Kafka broker {how} at {bootstrap}"
        # A refused login also looks like a connection that just ends, at every other try.
        telling = [r for r in self._reasons if "Sasl" in r or "SSL" in r]
        if not telling and security.startswith("SASL"):
            told += " (it may be away, or user or password be wrong)"
        reasons = telling or self._reasons
        return f"{told}: {reasons[-1]}" if reasons else told


@contextmanager
def _overhearing() -> Iterator[_Overheard]:
    logger = logging.getLogger("kafka.net.manager")
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    overheard = _Overheard()
    logger.addHandler(overheard)
    try:
        yield overheard
    finally:
        logger.removeHandler(overheard)


def ensure_topics(bootstrap: str, topics: Sequence[Wanted], **connection: Any) -> list[str]:
    """Create the topics that are missing and return their names; safe to call from several at once.

    Waits until every new partition has a leader. Never changes a topic that is there.

    Raises
    ------
    Invalid
        A topic has fewer partitions than wanted; the text says what to do. The others exist then.
    """
    with admin(bootstrap, **connection) as client:
        there = set(client.list_topics())
        missing = [t for t in topics if t.name not in there]
        for topic in missing:
            _create(client, topic)
        client.wait_for_topics([t.name for t in topics])
        have = _partition_counts(client, [t.name for t in topics])
    few = [_partition_drift(t, have[t.name]) for t in topics if have[t.name] < t.partitions]
    if few:
        raise Invalid("; ".join(map(str, few)))
    return [t.name for t in missing]


def check_topics(bootstrap: str, topics: Sequence[Wanted], **connection: Any) -> list[Drift]:
    """Return every difference between `topics` and what the broker has; empty when all is well."""
    with admin(bootstrap, **connection) as client:
        there = set(client.list_topics())
        present = [t for t in topics if t.name in there]
        drifts = [
            Drift(t.name, "does not exist", "run `shoploop topics create`")
            for t in topics
            if t.name not in there
        ]
        if not present:
            return drifts
        described = {
            t["name"]: t["partitions"] for t in client.describe_topics([t.name for t in present])
        }
        config = client.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, t.name) for t in present],
            config_filter="all",
        )["topic"]
    for topic in present:
        drifts += _drifts(topic, described[topic.name], config[topic.name])
    return drifts


def _create(client: KafkaAdminClient, topic: Wanted) -> None:
    options = {
        "num_partitions": topic.partitions,
        "replication_factor": topic.replication,
        "configs": dict(topic.config),
    }
    try:
        client.create_topics({topic.name: options}, timeout_ms=REQUEST_TIMEOUT_MS)
    except TopicAlreadyExistsError:
        return  # another process was faster


def _partition_counts(client: KafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    return {t["name"]: len(t["partitions"]) for t in client.describe_topics(list(names))}


def _drifts(topic: Wanted, partitions: Sequence[Any], config: Mapping[str, Any]) -> Iterator[Drift]:
    if len(partitions) != topic.partitions:
        yield _partition_drift(topic, len(partitions))
    copies = min(len(p["replica_nodes"]) for p in partitions)
    if copies < topic.replication:
        yield Drift(
            topic.name,
            f"has {copies} copies of a partition, {topic.replication} are declared",
            "add replicas with Kafka's kafka-reassign-partitions",
        )
    for key, value in topic.config.items():
        actual = config.get(key, {}).get("value")
        if actual != value:
            yield Drift(
                topic.name,
                f"{key} is {actual}, declared is {value}",
                f"run Kafka's kafka-configs --alter --topic {topic.name} --add-config {key}={value}",
            )


def _partition_drift(topic: Wanted, partitions: int) -> Drift:
    return Drift(
        topic.name,
        f"has {partitions} partitions, {topic.partitions} are declared",
        "a keyed topic is never repartitioned in place, since keys would move: replay it into a new "
        "topic of the right size, or (on an installation without data) delete it and create it anew",
    )

"""Read what the log and its views hold, to be held against what was acknowledged."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from shared.contracts.envelope import Envelope, Headers, decode, header
from shared.contracts.errors import Invalid
from shared.contracts.events import ItemActivity
from shared.contracts.topics import BEHAVIOUR, ITEM_ACTIVITY, Topic

_WEEK = 2


def behaviour_ids(bootstrap: str, run_ids: set[str]) -> Counter[str]:
    """Return how often each id of this run stands in the topic."""
    found: Counter[str] = Counter()
    for headers, _ in _records(bootstrap, BEHAVIOUR):
        event_id = (header(headers, "ce_id") or b"").decode()
        if event_id in run_ids:
            found[event_id] += 1
    return found


def item_views(bootstrap: str, prefix: str) -> dict[str, float]:
    """Return the newest weekly count of views of each item whose id begins with `prefix`."""
    newest: dict[str, float] = {}
    for _, value in _records(bootstrap, ITEM_ACTIVITY):
        activity = _activity(value)
        if activity is not None and activity.data.item_id.startswith(prefix):
            newest[activity.data.item_id] = activity.data.views[_WEEK]
    return newest


def _activity(value: bytes | None) -> Envelope[ItemActivity] | None:
    if value is None:
        return None
    try:
        return decode(value, ItemActivity)
    except Invalid:
        return None


def _records(bootstrap: str, topic: Topic[Any]) -> Iterator[tuple[Headers, bytes | None]]:
    """Yield headers and value of every record that is there now, in order per partition."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        partitions = [
            TopicPartition(topic.name, p) for p in consumer.partitions_for_topic(topic.name)
        ]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        consumer.seek_to_beginning(*partitions)
        while any(consumer.position(p) < ends[p] for p in partitions):
            for records in consumer.poll(timeout_ms=1000).values():
                for record in records:
                    yield tuple(record.headers), record.value
    finally:
        consumer.close()

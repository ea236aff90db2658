import time
import uuid
from collections import defaultdict

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from services.collector.relay.kafka import KafkaSink
from services.collector.relay.sink import Slot
from services.collector.wal.format import Record
from shared.contracts.errors import Retryable
from shared.contracts.topics import BEHAVIOUR
from shared.runtime.bus.partition import partition_of

pytestmark = pytest.mark.kafka


async def created(address, **configs):
    name = f"relay-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.create_topics([NewTopic(name, 3, 1, topic_configs=configs)])
    await admin.close()
    return name


@pytest.fixture
async def topic(kafka_address):
    """A topic of this test's own with three partitions."""
    # Kafka drops what is older than its topic keeps, and the records here are of long ago.
    return await created(kafka_address, **{"retention.ms": "-1"})


def batches(topic, first, last):
    """Records `first` to `last` by partition, as the relay makes them."""
    made = defaultdict(list)
    for seq in range(first, last + 1):
        key = b"user%d" % (seq % 7)
        value = None if seq % 50 == 0 else b"x" * 300
        record = Record(seq, 1_700_000_000_000 + seq, topic, key, value, b"id%d" % seq, seq)
        made[Slot(topic, partition_of(key, 3))].append(record)
    return dict(made)


async def opened(address, topic, log):
    sink = KafkaSink(address, log=log, topics=[(topic, "test.v1")])
    await sink.open()
    return sink


async def test_what_was_written_is_found_again_by_number(kafka_address, topic):
    """After a crash the relay goes on behind exactly what Kafka has."""
    sink = await opened(kafka_address, topic, "log-a")
    other = await opened(kafka_address, topic, "log-b")
    assert await sink.partitions(topic) == 3
    placed = {}
    # Large enough for several batches a partition.
    for first, last in ((1, 10), (11, 8000)):
        sent = batches(topic, first, last)
        offsets = await sink.write(sent)
        for slot, records in sent.items():
            placed |= dict(zip((r.seq for r in records), offsets[slot], strict=True))
        await other.write(batches(topic, first, first + 5))
    assert len(placed) == 8000
    await sink.close()
    again = await opened(kafka_address, topic, "log-a")
    found = await again.written_since([topic], 1_700_000_000_000)
    assert {seq: place.offset for seq, place in found.items()} == placed
    late = await again.written_since([topic], 1_700_000_000_000 + 7990)
    assert set(range(7990, 8001)) <= set(late)
    assert len(late) < 100
    for one in (again, other):
        await one.close()


async def test_offsets_rise_with_the_numbers(kafka_address, topic):
    """Two events of one shopper in the wrong order make a cart of what was taken out of it."""
    sink = await opened(kafka_address, topic, "log-c")
    seen = defaultdict(list)
    for first in range(1, 1001, 100):
        for slot, offsets in (await sink.write(batches(topic, first, first + 99))).items():
            seen[slot] += offsets
    for offsets in seen.values():
        assert offsets == list(range(len(offsets)))
    await sink.close()


async def test_a_fast_clock_stops_nothing(kafka_address):
    """Kafka would refuse for ever what a machine whose clock runs a day ahead has accepted."""
    topic = await created(kafka_address, **BEHAVIOUR.config(production=False))
    sink = await opened(kafka_address, topic, "log-d")
    at_ms = int((time.time() + 86_400) * 1000)
    record = Record(1, at_ms, topic, b"u", b"x", b"id1", 1)
    assert await sink.write({Slot(topic, 0): [record]}) == {Slot(topic, 0): [0]}
    await sink.close()


async def test_no_broker_is_something_to_wait_for():
    """A collector that starts before Kafka must take events in, not end."""
    sink = KafkaSink("127.0.0.1:1", log="x", topics=[])
    with pytest.raises(Retryable):
        await sink.open()
    await sink.close()

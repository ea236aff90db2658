import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import given
from hypothesis import strategies as st

from services.collector.relay.batch import HEADER_BYTES, Batches
from services.collector.relay.sink import Heads
from services.collector.wal.format import Record

TOPICS = [("behaviour", "shoploop.behaviour.v1"), ("catalog", "shoploop.catalog.v1")]


def decoded(batch):
    """Return the records in a batch as aiokafka's own reader sees them, with their offsets."""
    raw = batch._build()
    assert len(raw) == batch.size()
    read = DefaultRecordBatch(raw)
    assert read.validate_crc()
    found = [(r.timestamp, r.key, r.value, list(r.headers)) for r in read]
    assert read.next_offset == batch.record_count() == len(found)
    return found


records = st.lists(
    st.builds(
        Record,
        seq=st.integers(1, 2**63),
        at_ms=st.integers(0, 400),
        topic=st.just("catalog"),
        key=st.binary(max_size=300),
        value=st.none() | st.binary(max_size=300),
        id=st.binary(max_size=300),
        digest=st.just(2),
        trace=st.sampled_from([b"", b"00-a-b-01", b"00-c-d-01"]),
    ),
    min_size=1,
)


@given(records, st.integers(100, 5000))
def test_kafka_reads_what_the_log_holds(given_records, most_bytes):
    """A length that is one byte off would make every reader of the topic stop for good."""
    ordered = sorted(given_records, key=lambda r: r.at_ms)
    heads = Heads("log-1", TOPICS)
    batches = list(Batches("log-1", TOPICS, most_bytes=most_bytes).of("catalog", ordered))
    read = [record for batch in batches for record in decoded(batch)]
    assert read == [(r.at_ms, r.key, r.value, heads.of(r)) for r in ordered]
    assert all(b.size() <= most_bytes or b.record_count() == 1 for b in batches)


def test_a_retried_batch_keeps_its_number():
    """The broker knows a batch that it has already by its producer and number, or stores it twice."""
    record = Record(7, 1000, "behaviour", b"k", b"v", b"e7", 2)
    (batch,) = Batches("log-1", TOPICS, most_bytes=1 << 20).of("behaviour", [record])
    batch._set_producer_state(42, 3, 900)
    read = DefaultRecordBatch(batch._build())
    assert (read.producer_id, read.producer_epoch, read.base_sequence) == (42, 3, 900)
    assert batch._build() == batch._build()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_large_record_gets_a_batch_of_its_own(n):
    """A record above the batch's size must not hold up those behind it for ever."""
    large = [Record(i + 1, 5, "behaviour", b"k", b"v" * 5000, b"e", 2) for i in range(n)]
    batches = list(Batches("log-1", TOPICS, most_bytes=1000).of("behaviour", large))
    assert [b.record_count() for b in batches] == [1] * n
    assert all(b.size() > 5000 + HEADER_BYTES for b in batches)

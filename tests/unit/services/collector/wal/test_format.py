import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector.wal.format import (
    Damaged,
    Header,
    Record,
    decode_frame,
    decode_header,
    encode_frame,
    encode_header,
    salvage,
    scan,
)

TOPICS = [("behaviour", "shoploop.behaviour.v1"), ("catalog", "shoploop.catalog.v1")]
RECORDS = st.builds(
    Record,
    seq=st.integers(1, 2**63),
    at_ms=st.integers(0, 2**48),
    topic=st.sampled_from([name for name, _ in TOPICS]),
    key=st.binary(max_size=40),
    value=st.none() | st.binary(max_size=200),
    id=st.binary(max_size=40),
    digest=st.integers(0, 2**64 - 1),
    trace=st.binary(max_size=55),
)


def frames(records):
    names = [name for name, _ in TOPICS]
    return [encode_frame(r, names.index(r.topic)) for r in records]


@given(RECORDS)
def test_a_record_comes_back_as_it_was(record):
    """A field lost or shifted would reach Kafka wrong after every restart."""
    (frame,) = frames([record])
    assert decode_frame(frame, 0, TOPICS) == (record, len(frame))


def test_a_frame_is_laid_out_as_documented():
    """A log written by one release must be readable by the next, byte for byte."""
    record = Record(7, 1000, "catalog", b"k", None, b"id", 5, b"")
    frame = encode_frame(record, 1)
    assert frame[:4] == b"\xf5\x9aSL"
    assert int.from_bytes(frame[4:8], "little") == len(frame) - 12
    assert frame[12:20] == (7).to_bytes(8, "little")
    assert frame[20:28] == (1000).to_bytes(8, "little")
    assert frame[28:36] == (5).to_bytes(8, "little")
    assert frame[36:38] == b"\x01\x00"
    assert frame[38] == 1
    assert frame[-3:] == b"idk"


@given(st.lists(RECORDS, max_size=4), st.data())
def test_every_crash_prefix_gives_the_whole_records_before_it(records, data):
    """A stop in the middle of a write must cost the unfinished record only."""
    parts = frames(records)
    blob = b"".join(parts)
    cut = data.draw(st.integers(0, len(blob)))
    ends = [sum(map(len, parts[: i + 1])) for i in range(len(parts))]
    whole = sum(end <= cut for end in ends)
    read = []
    try:
        for record, _ in scan(blob[:cut], 0, TOPICS):
            read.append(record)
        damaged = None
    except Damaged as damage:
        damaged = damage.position
    assert read == records[:whole]
    assert damaged == (None if cut in (0, *ends) else ([0, *ends][whole]))


@given(st.lists(RECORDS, min_size=3, max_size=5), st.data())
def test_records_behind_damage_are_found(records, data):
    """One flipped byte must not take the acknowledged records behind it along."""
    parts = frames(records)
    hit = data.draw(st.integers(0, len(parts) - 1))
    offset = data.draw(st.integers(0, len(parts[hit]) - 1))
    broken = bytearray(parts[hit])
    broken[offset] ^= 0xFF
    blob = b"".join([*parts[:hit], bytes(broken), *parts[hit + 1 :]])
    assert list(salvage(blob, 0, TOPICS)) == records[:hit] + records[hit + 1 :]


def test_the_header_says_what_topic_numbers_mean():
    """Without its own list a log of an older release would send records to other topics."""
    header = Header("log", 12, TOPICS)
    blob = encode_header(header)
    assert decode_header(blob + b"rest") == (header, len(blob))


@pytest.mark.parametrize("cut", [0, 5, 15, 40])
def test_a_torn_header_is_damage(cut):
    """A file that was only just created must not be read as a log."""
    with pytest.raises(Damaged):
        decode_header(encode_header(Header("log", 1, TOPICS))[:cut])

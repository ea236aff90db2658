"""A key's partition is the one that every Kafka client computes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner import murmur2

from shared.runtime.bus.partition import partition_of

JAVA = [  # murmur2 as signed integers: UtilsTest.testMurmur2 of Apache Kafka
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


@pytest.mark.parametrize(("key", "hashed"), JAVA)
def test_partitions_are_those_of_the_java_client(key: bytes, hashed: int) -> None:
    """A shop's own Java service would write a shopper's events into another partition."""
    for partitions in (1, 3, 12, 100):
        assert partition_of(key, partitions) == (hashed & 0x7FFFFFFF) % partitions


@given(st.binary(max_size=64), st.integers(1, 200))
def test_partitions_are_those_of_the_admin_tools(key: bytes, partitions: int) -> None:
    """Law: what an operator's tool sends lies where the services' records of that key lie."""
    assert partition_of(key, partitions) == (murmur2(key) & 0x7FFFFFFF) % partitions

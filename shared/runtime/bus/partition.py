"""Which partition a key belongs to, as Kafka's own clients decide it."""

from functools import lru_cache

from aiokafka.partitioner import murmur2


@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of `key` among `partitions`: murmur2 of the bytes, sign bit cleared.

    The same as `BuiltInPartitioner.partitionForKey` of Kafka's Java client, so a record has the same
    place whichever client sends it. Cached, because a shopper acts more than once.
    """
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)

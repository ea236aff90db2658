import asyncio

import pytest

from services.collector.relay.relay import Begin, Relay
from services.collector.wal.format import Record
from services.collector.wal.index import Place
from shared.runtime.clock import FakeClock


def record(seq):
    return Record(seq, 1000 + seq, "behaviour", b"k", b"v", b"id%d" % seq, seq << 2 | 2)


class Log:
    """A log whose numbers may have gaps; an empty end stops the relay."""

    def __init__(self, *seqs):
        self.records = [record(seq) for seq in seqs]

    async def read(self, after):
        left = [r for r in self.records if r.seq > after]
        if not left:
            raise asyncio.CancelledError
        return left


class Broker:
    """Keeps what was written, by number, in order."""

    def __init__(self, *there):
        self.written = [Place("behaviour", 0, n) for n in range(len(there))]
        self.seqs = list(there)

    async def open(self):
        pass

    async def partitions(self, topic):
        return 1

    async def write(self, batches):
        offsets = {}
        for slot, records in batches.items():
            offsets[slot] = list(range(len(self.seqs), len(self.seqs) + len(records)))
            self.seqs += [r.seq for r in records]
        return offsets

    async def written_since(self, topics, at_ms):
        return {seq: Place("behaviour", 0, at) for at, seq in enumerate(self.seqs)}

    async def close(self):
        pass


async def relayed(log, broker, *, doubtful):
    """Run the relay to the log's end; return the digest noted for each number."""
    noted = {}

    def note(published):
        for at, entry in enumerate(published.entries):
            noted[published.first + at] = int(entry["digest"])

    relay = Relay(
        log,
        broker,
        FakeClock(),
        topics=["behaviour"],
        on_published=note,
        begin=Begin(known=0, doubtful=doubtful),
    )
    with pytest.raises(asyncio.CancelledError):
        await relay.run()
    return noted


async def test_a_gap_in_the_numbers_doubles_nothing():
    """Behind a record that damage has cost, each group's last would be sent and counted twice."""
    broker = Broker()
    noted = await relayed(Log(1, 2, 4, 5, 8), broker, doubtful=0)
    assert broker.seqs == [1, 2, 4, 5, 8]
    assert noted == {seq: record(seq).digest for seq in (1, 2, 4, 5, 8)}


async def test_a_number_that_kafka_has_from_a_lost_record_is_not_taken_for_a_new_one():
    """The log's damaged end was in Kafka already; the next event gets its number and must go out."""
    broker = Broker(1, 2, 3)
    await relayed(Log(1, 2, 3), broker, doubtful=2)
    assert broker.seqs == [1, 2, 3, 3]

from hypothesis import given
from hypothesis import strategies as st

from services.collector.relay.ahead import Ahead
from services.collector.wal.format import Record


def record(seq):
    return Record(seq, 1, "behaviour", b"k", b"v", b"e", seq * 7)


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=6), st.integers(1, 10**9), st.randoms())
def test_records_are_told_once_in_order_and_without_a_gap(groups, first, rng):
    """The log is deleted up to what was told: one record too many would be lost in a crash."""
    ahead, told, entered = Ahead(), [], set()
    waiting = []
    expected = first

    def tell():
        while (published := ahead.whole()) is not None:
            assert published.first == first + len(told)
            told.extend(published.entries.tolist())
            ahead.told(published)

    for size in groups:
        group = [record(expected + n) for n in range(size)]
        expected += size
        ahead.expect(group)
        waiting += [r.seq for r in group]
        rng.shuffle(waiting)
        cut = rng.randint(0, len(waiting))
        sent, waiting = waiting[:cut], waiting[cut:]
        if sent:
            ahead.enter(sent, [seq * 3 for seq in sent], topic=2, partition=5)
            entered |= set(sent)
        tell()
        assert len(told) == next(n for n in range(10**6) if first + n not in entered)
    if waiting:
        ahead.enter(waiting, [seq * 3 for seq in waiting], topic=2, partition=5)
    tell()
    assert [entry[:4] for entry in told] == [(s * 7, s * 3, 2, 5) for s in range(first, expected)]
    assert ahead.size == 0

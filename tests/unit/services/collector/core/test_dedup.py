from hypothesis import given
from hypothesis import strategies as st

from services.collector.core.dedup import Seen, digest


def test_a_digest_is_stable():
    """Ids remembered on disk must be known again by the next release."""
    assert digest(b"e1") == 0x040F4FF5515E5D1B
    assert digest(b"e1") != digest(b"e2")
    assert digest(b"e1") not in (0, 1)


@given(st.lists(st.integers(2, 60)))
def test_an_id_is_new_exactly_once(keys):
    """A repeat that passes buys twice; a new event that does not is lost."""
    seen = Seen()
    taken = [seen.claim(k, i, 0.0) for i, k in enumerate(keys)]
    assert taken == [k not in keys[:i] for i, k in enumerate(keys)]
    for k in keys:
        assert seen.get(k) == keys.index(k)


@given(st.lists(st.tuples(st.booleans(), st.integers(2, 20))))
def test_a_refused_record_can_be_sent_again(steps):
    """An id of an event that was not taken must stay free for the corrected one."""
    seen, model = Seen(), {}
    for seq, (claims, key) in enumerate(steps):
        if claims:
            assert seen.claim(key, seq, 0.0) == (key not in model)
            model.setdefault(key, seq)
        else:
            seen.forget([key])
            model.pop(key, None)
    assert {k: seen.get(k) for k in range(2, 21)} == {k: model.get(k) for k in range(2, 21)}


def test_memory_is_bounded_and_says_so():
    """A busy day must not end the process, and a receipt must not claim to know more than it does."""
    seen = Seen(max_ids=100_000)
    for i in range(300_000):
        seen.claim(digest(b"%d" % i), i, float(i))
    assert len(seen) <= 140_000
    assert seen.get(digest(b"299999")) == 299_999
    assert seen.get(digest(b"0")) is None
    assert 0 < seen.since < 300_000
    assert seen.get(digest(b"%d" % (int(seen.since) + 1))) is not None


def test_ids_are_forgotten_after_the_horizon_and_not_before():
    """Twenty-four hours are promised; a retry within them must be known."""
    seen = Seen(horizon_s=100)
    seen.claim(5, 1, now=0.0)
    seen.expire(now=100.0)
    assert seen.get(5) == 1
    seen.expire(now=100.1)
    assert seen.get(5) is None
    assert seen.since == 0.0

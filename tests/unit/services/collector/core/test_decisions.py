from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector.core.bots import Paces, agent_score, either
from services.collector.core.consent import granted
from services.collector.core.shed import keeps, kept_share
from services.collector.core.skew import happened
from shared.contracts.errors import Invalid
from shared.contracts.events.behaviour import ACTIONS

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
S, H, D = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("time", "sent", "expected"),
    [
        (None, None, NOW),
        (NOW - 3 * H, None, NOW - 3 * H),
        (NOW + 30 * S, None, NOW + 30 * S),
        (NOW + 2 * H, None, NOW),
        (NOW + 2 * H, NOW + 2 * H + 5 * S, NOW - 5 * S),
        (NOW - 400 * D, NOW - 400 * D, NOW),
        (NOW - H, NOW + 10 * S, NOW - H),
    ],
)
def test_when_it_happened_by_our_clock(time, sent, expected):
    """A phone that lives in tomorrow must not put its events there."""
    assert happened(time, NOW, sent_at=sent) == expected


@pytest.mark.parametrize(
    ("time", "oldest"),
    [(NOW + 2 * D, None), (NOW - 40 * D, 30 * D), (datetime(1970, 1, 21, tzinfo=UTC), None),
     (datetime(2026, 5, 4), None)],  # noqa: DTZ001
)  # fmt: skip
def test_a_clock_that_is_far_off_is_told_so(time, oldest):
    """An event dated years ahead would be the newest for years."""
    with pytest.raises(Invalid) as caught:
        happened(time, NOW, oldest=oldest)
    assert caught.value.field == "time"


def test_a_clock_that_no_year_can_put_right_is_told_so():
    """One sender with a clock at the end of time would get a 500 and have its batch forgotten."""
    with pytest.raises(Invalid) as caught:
        happened(NOW, NOW, sent_at=datetime(9999, 12, 31, tzinfo=UTC))
    assert caught.value.field == "time"


@given(st.datetimes(datetime(1991, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_nothing_happens_in_the_future(time):
    """Windows of the stream are closed by time; a future event would close them early."""
    try:
        assert happened(time, NOW) <= NOW + 60 * S
    except Invalid:
        assert time > NOW + D


@pytest.mark.parametrize(
    ("stated", "gpc", "expected"),
    [
        (None, False, None),
        (None, True, "analytics"),
        ("all", False, "analytics personalisation marketing"),
        ("all", True, "analytics personalisation"),
        ("marketing, analytics", False, "analytics marketing"),
        ("none", True, "none"),
        ("denied", False, "none"),
        ("", False, "none"),
    ],
)
def test_what_a_shopper_allows(stated, gpc, expected):
    """Consent that grows on its way is against the law."""
    assert granted(stated, gpc=gpc) == expected


def test_an_unknown_purpose_is_refused():
    """A misspelt purpose must not silently be a refusal, nor a grant."""
    with pytest.raises(Invalid):
        granted("analytics persnalisation", gpc=False)


@pytest.mark.parametrize(
    ("agent", "low", "high"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120 Safari/537.36", 0, 0),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", 0.9, 1),
        ("Mozilla/5.0 HeadlessChrome/120", 0.9, 1),
        ("python-requests/2.31", 0.8, 1),
        ("GreenGrocerApp/3.2 (iOS)", 0.01, 0.4),
        ("", 0.3, 0.7),
        (None, 0.3, 0.7),
    ],
)
def test_user_agents(agent, low, high):
    """A crawler's clicks would teach the recommender what crawlers like."""
    assert low <= agent_score(agent) <= high


def test_a_pace_no_human_has():
    """A script behind a browser's name is known by what it does."""
    paces = Paces(human=10)
    scores = [paces.score("a", 0.0) for _ in range(100)]
    assert scores[:10] == [0.0] * 10
    assert scores == sorted(scores)
    assert scores[-1] == pytest.approx(0.95)
    assert paces.score("b", 0.0) == 0.0
    assert paces.score("a", 60.0) == 0.0
    assert either(0.5, 0.5) == 0.75


def test_what_is_never_left_out():
    """An order that was sampled away is money that nobody finds again."""
    never = {a for a in ACTIONS if kept_share(a, 0.999) == 1.0}
    assert never == {"purchase", "refund", "rate_item", "hide_item", "unhide_item"}


@given(st.sampled_from(ACTIONS), st.floats(0, 1), st.floats(0, 1))
def test_a_fuller_log_keeps_no_more(action, a, b):
    """Shedding must grow with the need, views before carts."""
    low, high = sorted((a, b))
    assert 0.05 <= kept_share(action, high) <= kept_share(action, low) <= 1
    assert kept_share("view_item_list", high) <= kept_share("add_to_cart", high)


def test_the_share_that_is_kept_is_the_share_that_was_meant():
    """The weight of a kept event is one over this share; a biased sample misleads training."""
    digests = [(i * 0x9E3779B97F4A7C15) % 2**64 for i in range(20_000)]
    for share in (0.05, 0.5, 0.9):
        assert sum(keeps(d, share) for d in digests) / 20_000 == pytest.approx(share, abs=0.01)
    assert all(keeps(d, 1.0) for d in digests)

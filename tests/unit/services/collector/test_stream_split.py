from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from services.collector.core.activity import Touch
from services.collector.core.keyed import Forget
from services.collector.core.sessions import Link, Visit
from services.collector.stream_app import InOrder
from services.collector.stream_split import (
    OnItems,
    Raw,
    Touches,
    partition_of,
    source_of,
    split,
    values,
)
from shared.contracts import topics
from shared.contracts.envelope import encode, utc
from shared.contracts.events import Behaviour, Erasure, Identity, Touched
from shared.contracts.events.fields import MOST_CENTS
from shared.contracts.topics import Topic, wrap

SEEN_MS = 1_700_000_100_000
AT_S = 1_700_000_000.0


def raw(topic: Topic[Any], event: Any, offset: int = 5, partition: int = 2, **more: Any) -> Raw:
    given = {"id": "e", "source": "t", "time": utc(AT_S)} | more
    value = encode(wrap(topic, event, **given))
    return Raw(topic.name, partition, offset, None, value, SEEN_MS)


def parted(*records: Raw) -> tuple[list[Any], list[Any]]:
    """Return all visitor inputs and all item inputs, whatever their partition."""
    parts = split(records, 3)
    visits = [i for rs in parts.visitors.values() for r in rs for i in getattr(r, "items", [r])]
    touches = [i for rs in parts.items.values() for r in rs for i in r.items]
    return visits, touches


def test_an_action_becomes_one_visit_and_a_touch_an_item() -> None:
    """If this fails, sessions or counts miss what shoppers do, or have it twice."""
    items = (Touched("a", quantity=3), Touched("b"), Touched("a"))
    event = Behaviour(action="purchase", items=items, value_cents=900, weight=4.0)
    (visit,), touches = parted(raw(topics.BEHAVIOUR, event, userid="u", anonid="x"))
    assert visit == Visit(
        "x", 5, int(AT_S * 1000), SEEN_MS, "e", "purchase", "u", None, ("a", "b", "a"),
        value_cents=900,
    )  # fmt: skip
    assert sorted(touches, key=lambda t: t.item) == [
        Touch(item, 5, int(AT_S * 1000), 2, 4.0) for item in ("a", "b")
    ]


def test_absurd_amounts_stay_numbers_that_can_be_passed_on() -> None:
    """If this fails, one purchase from a page stops the stream at every start, for ever."""
    items = tuple(Touched(str(n), quantity=10**6, price_cents=MOST_CENTS) for n in range(200))
    event = Behaviour(action="purchase", items=items, weight=1e308)
    (visit,), touches = parted(raw(topics.BEHAVIOUR, event, anonid="x"))
    assert visit.value_cents == MOST_CENTS
    assert {touch.weight for touch in touches} == {1000.0}


@pytest.mark.parametrize(
    ("event", "more"),
    [
        ({}, {"consent": "none"}),
        ({}, {"consent": "personalisation marketing"}),
        ({"bot": 0.5}, {}),
    ],
)
def test_who_said_no_and_robots_are_left_out(event: dict[str, Any], more: dict[str, Any]) -> None:
    """If this fails, people are counted against their will, or programs as people."""
    behaviour = Behaviour(action="view_item", items=(Touched("a"),), **event)
    assert parted(raw(topics.BEHAVIOUR, behaviour, anonid="x", **more)) == ([], [])


def test_an_action_of_nobody_is_counted_but_visits_nothing() -> None:
    """If this fails, all shoppers without an id become one visitor."""
    event = Behaviour(action="view_item", items=(Touched("a"),))
    visits, touches = parted(raw(topics.BEHAVIOUR, event))
    assert visits == []
    assert len(touches) == 1


def test_a_clock_that_is_fast_is_held_to_the_moment_of_arrival() -> None:
    """If this fails, one wrong clock keeps a session open for years."""
    event = Behaviour(action="page_view")
    (visit,), _ = parted(raw(topics.BEHAVIOUR, event, anonid="x", time=utc(AT_S + 10**9)))
    assert visit.at_ms == SEEN_MS


def test_links_and_erasures_reach_whom_they_concern() -> None:
    """If this fails, a login is not seen, or an erased person stays in open sessions."""
    parts = split(
        [
            raw(topics.IDENTITIES, Identity(anonid="x", user="u"), offset=1),
            raw(topics.ERASURES, Erasure(user="u", anonids=("x",)), offset=2),
            raw(topics.ERASURES, Erasure(user="u", service="trainer"), offset=3),
        ],
        3,
    )
    forget = Forget(source_of(topics.ERASURES.name, 2), 2, ("u", "x"), "u", "e")
    assert [r for rs in parts.visitors.values() for r in rs if isinstance(r, Forget)] == [forget]
    assert forget in parts.visitors[0], "from where it is passed on to the others"
    (visits,) = [r for r in parts.visitors[partition_of("x", 3)] if not isinstance(r, Forget)]
    assert visits.items == (Link("x", 1, "u", SEEN_MS),)


def test_what_is_no_event_is_put_aside_with_the_reason() -> None:
    """If this fails, one bad record stops the stream for ever."""
    bad = Raw(topics.BEHAVIOUR.name, 0, 9, b"k", b"{}", SEEN_MS)
    good = raw(topics.BEHAVIOUR, Behaviour(action="page_view"), anonid="x")
    parts = split([bad, good], 3)
    assert [(r.record.offset, bool(r.reason)) for r in parts.refused] == [(9, True)]
    assert len(parts.visitors) == 1


def test_a_large_record_is_cut_between_offsets_only() -> None:
    """If this fails, half of an event's items are taken for seen and never counted."""
    items = tuple(Touch(f"item-{n}", n // 3, 0, 0) for n in range(30))
    cut = values(Touches(1, items), most_bytes=200)
    parts = [msgspec.msgpack.decode(value, type=OnItems) for value in cut]
    assert tuple(item for part in parts for item in part.items) == items
    assert len(parts) > 2
    edges = [(a.items[-1].offset, b.items[0].offset) for a, b in pairwise(parts)]
    assert all(before < after for before, after in edges)


def test_a_record_that_skips_others_is_not_handled() -> None:
    """If this fails, records that the library lost are committed as if they had been handled."""
    order = InOrder()

    def message(offset: int) -> Any:
        return SimpleNamespace(topic="t", partition=0, offset=offset)

    for offset in (7, 8, 8, 9, 5):
        order.check(message(offset))
    with pytest.raises(RuntimeError, match="goes on at 11, expected 10"):
        order.check(message(11))
    order.forget()
    order.check(message(11))

"""Whose events are learnt from, and how much they count."""

from pathlib import Path

import pytest

from services.trainer.dataset import MAX_EVENTS_A_PERSON, Dataset, ratings
from shared.contracts.errors import Invalid
from shared.contracts.events import (
    Behaviour,
    Erasure,
    Identity,
    Line,
    Order,
    Product,
    Shopper,
    Touched,
)
from shared.contracts.topics import (
    BEHAVIOUR,
    CATALOG,
    ERASURES,
    IDENTITIES,
    ORDERS,
    SHOPPERS,
)
from tests.fixtures.lake import NOW_S, Writer


@pytest.fixture
def shop(tmp_path: Path) -> Writer:
    """A catalogue of a, b and c, and two shoppers who saw something."""
    writer = Writer(tmp_path)
    for item in "abc":
        writer.put(CATALOG, Product(id=item, title=item))
    writer.did("ann", "a")
    writer.did("bob", "b")
    return writer


def pairs(data: Dataset) -> dict[tuple[str, str], float]:
    events = data.events
    return {
        (data.users.name(int(u)), data.items.name(int(i))): float(w)
        for u, i, w in zip(events.user, events.item, events.weight, strict=True)
    }


def test_an_action_weighs_what_it_says(shop: Writer) -> None:
    """A purchase would teach no more than a glance."""
    shop.did("ann", "b", "purchase")
    shop.did("bob", "a", "hide_item")
    shop.did("ann", "c", "rate_item", rating=5.0)
    assert pairs(shop.learnt()) == {
        ("ann", "a"): 1.0, ("bob", "b"): 1.0, ("ann", "b"): 5.0, ("bob", "a"): -5.0, ("ann", "c"): 2.0,
    }  # fmt: skip


def test_a_rating_is_of_the_first_item_alone(shop: Writer) -> None:
    """A tracker that sends the whole page along would have its shopper dislike all of it."""
    items = (Touched("b"), Touched("c"))
    shop.put(BEHAVIOUR, Behaviour(action="rate_item", items=items, rating=1.0), userid="ann")
    assert pairs(shop.learnt()) == {("ann", "a"): 1.0, ("bob", "b"): 1.0, ("ann", "b"): -2.0}


def test_a_shed_event_counts_for_those_that_were_dropped(shop: Writer) -> None:
    """Under load the models would forget what was viewed; or one weight would drown all else."""
    shop.did("ann", "b", weight=4.0)
    shop.did("ann", "c", weight=1000.0)
    learnt = pairs(shop.learnt())
    assert (learnt["ann", "b"], learnt["ann", "c"]) == (4.0, 10.0)


def test_bots_teach_nothing(shop: Writer) -> None:
    """A crawler would decide what is popular."""
    shop.did("robot", "c", bot=0.5)
    assert shop.learnt().counts["bot"] == 1
    assert ("robot", "c") not in pairs(shop.learnt())


@pytest.mark.parametrize(
    ("consent", "kept"),
    [(None, True), ("analytics", True), ("analytics personalisation", True), ("none", False),
     ("personalisation", False)],
)  # fmt: skip
def test_consent_decides(shop: Writer, consent: str | None, kept: bool) -> None:
    """Models would learn from people who did not agree to it."""
    shop.did("cem", "c", consent=consent)
    assert (("cem", "c") in pairs(shop.learnt())) is kept


@pytest.mark.parametrize(
    "word", [Shopper(user="ann", personalised=False), Shopper(user="ann", consent="marketing")]
)
def test_consent_that_was_taken_back_holds_for_the_past_too(shop: Writer, word: Shopper) -> None:
    """Saying no would only hold from now on."""
    shop.did("cem", "c")
    shop.put(SHOPPERS, word)
    data = shop.learnt()
    assert data.counts["opted_out"] == 1
    assert ("ann", "a") not in pairs(data)


def test_an_erased_person_s_later_events_count_anew(shop: Writer) -> None:
    """The erased past would come back, or a returning customer be ignored for ever."""
    shop.did("cem", "b", at=2000.0)
    shop.did("cem", "c", at=4000.0)
    shop.did(None, "a", at=2000.0, anonid="visitor")
    shop.put(ERASURES, Erasure(user="cem", anonids=("visitor",)), at=3000.0)
    shop.put(ERASURES, Erasure(user="cem", service="search"), at=3001.0)
    assert set(pairs(shop.learnt())) == {("ann", "a"), ("bob", "b"), ("cem", "c")}


def test_an_anonymous_past_counts_for_the_user(shop: Writer) -> None:
    """A shopper who logs in would begin from nothing."""
    shop.did(None, "c", anonid="visitor")
    shop.put(IDENTITIES, Identity(anonid="visitor", user="ann"))
    assert ("ann", "c") in pairs(shop.learnt())


def test_a_purchase_sent_twice_counts_once_and_an_undone_one_not(shop: Writer) -> None:
    """Shops that send orders and page events would weigh double; returns would teach."""
    shop.did("ann", "b", "purchase", order_id="o1")
    shop.put(ORDERS, Order(order_id="o1", status="placed", lines=(Line("b"),)), userid="ann")
    shop.put(ORDERS, Order(order_id="o1", status="paid", lines=(Line("b"),)), userid="ann")
    shop.put(
        ORDERS, Order(order_id="o2", status="placed", lines=(Line("a"), Line("c"))), userid="bob"
    )
    shop.put(ORDERS, Order(order_id="o2", status="returned", lines=(Line("c"),)), userid="bob")
    shop.put(ORDERS, Order(order_id="o3", status="placed", lines=(Line("c"),)), userid="bob")
    shop.put(ORDERS, Order(order_id="o3", status="cancelled"), userid="bob")
    data = shop.learnt()
    assert pairs(data) == {
        ("ann", "a"): 1.0, ("bob", "b"): 1.0, ("ann", "b"): 5.0, ("bob", "a"): 5.0,
    }  # fmt: skip
    assert len(data.events) == 4


def test_a_product_that_is_gone_is_not_learnt(shop: Writer) -> None:
    """Releases would fill up with what nobody can buy."""
    shop.did("ann", "unknown")
    assert shop.learnt().counts["product_gone"] == 1


def test_one_person_cannot_outvote_the_rest(shop: Writer) -> None:
    """A page that reloads itself would make its product popular."""
    for n in range(5):
        shop.did("ann", "c", at=2000.0 + n)
    data = shop.learnt()
    assert data.counts["repeats"] == 4
    assert MAX_EVENTS_A_PERSON == 500


def test_of_one_large_basket_the_last_lines_of_the_log_count(shop: Writer) -> None:
    """Two trainings on the same log would learn from other lines, and show other lists."""
    items = [f"{(n * 7) % 600:03}" for n in range(600)]
    for item in items:
        shop.put(CATALOG, Product(id=item, title=item), at=1.0)
    shop.put(
        ORDERS,
        Order(order_id="o", status="placed", lines=tuple(Line(item, 1, 100) for item in items)),
        userid="eve",
    )
    learnt = {item for user, item in pairs(shop.learnt()) if user == "eve"}
    assert learnt == set(items[-MAX_EVENTS_A_PERSON:])


def test_a_clock_far_ahead_is_not_believed(shop: Writer) -> None:
    """One event from 2099 would make everything else look ancient."""
    shop.did("ann", "c", at=NOW_S + 7200)
    assert shop.learnt().counts["clock_ahead"] == 1


def test_too_little_is_said_in_words(tmp_path: Path) -> None:
    """A job would end in a stack trace."""
    writer = Writer(tmp_path)
    with pytest.raises(Invalid, match="no events yet"):
        writer.learnt()
    writer.did("ann", "a")
    with pytest.raises(Invalid, match="catalogue is empty"):
        writer.learnt()
    writer.put(CATALOG, Product(id="a", title="A"))
    with pytest.raises(Invalid, match="about one item"):
        writer.learnt()
    writer.put(CATALOG, Product(id="b", title="B"))
    writer.did("ann", "b")
    with pytest.raises(Invalid, match="about one shopper"):
        writer.learnt()
    writer.put(SHOPPERS, Shopper(user="ann", personalised=False))
    with pytest.raises(Invalid, match=r"none of the events may be learnt from \(.*opted_out 2"):
        writer.learnt()


def test_the_newest_rating_of_an_item_counts(shop: Writer) -> None:
    """A changed mind would be averaged away."""
    shop.did("ann", "a", "rate_item", rating=1.0, at=1.0)
    shop.did("ann", "a", "rate_item", rating=4.0, at=90_000.0)
    data = ratings(shop.lake, now_ms=int(NOW_S * 1000))
    assert pairs(data) == {("ann", "a"): 4.0}


@pytest.mark.parametrize(
    ("consent", "kept"), [("analytics", False), ("analytics personalisation", True)]
)
def test_a_model_that_keeps_people_needs_their_consent_to_it(
    shop: Writer, consent: str, kept: bool
) -> None:
    """A release would hold what it learnt of people who only agreed to be counted."""
    shop.did("ann", "a", "rate_item", rating=2.0)
    shop.did("cem", "a", "rate_item", rating=4.0, consent=consent)
    data = ratings(shop.lake, now_ms=int(NOW_S * 1000))
    assert (("cem", "a") in pairs(data)) is kept

"""Laws of whole answers, over random shops and shoppers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.recommender.core.answer import answer
from services.recommender.core.candidates import history_of, personal, repeat
from services.recommender.core.explain import actions_of, parts_of
from services.recommender.core.person import Person
from services.recommender.core.query import Query, Rules
from shared.learning.models.bundle import Bundle
from shared.learning.models.ids import IdIndex
from tests.unit.services.recommender.core.worlds import (
    NOW_S,
    catalog_of,
    product,
    random_bundle,
    shelf_of,
    slim,
)

ITEMS = [f"i{n}" for n in range(14)]
SOME = st.frozensets(st.sampled_from(ITEMS), max_size=5)
PEOPLE = st.builds(
    Person,
    events=st.lists(st.sampled_from(ITEMS), max_size=6).map(
        lambda items: [(f"{'vch'[n % 3]}{i}".encode(), NOW_S - n) for n, i in enumerate(items)]
    ),
    cart=SOME,
    hidden=SOME,
    bought=SOME.map(lambda items: {item: [NOW_S - 100] for item in items}),
)
QUERIES = st.builds(
    Query,
    scenario=st.sampled_from(["home", "product", "cart", "again"]),
    k=st.integers(1, 8),
    anchors=st.lists(st.sampled_from(ITEMS), max_size=2).map(tuple),
    category=st.sampled_from([None, "A", "B"]),
    max_price=st.sampled_from([None, 5]),
    exclude=SOME,
)
SHOPS = st.tuples(st.integers(0, 5), SOME, SOME)


@settings(max_examples=150)
@given(SHOPS, PEOPLE, QUERIES, st.integers(0, 9))
def test_no_filter_ever_leaks_and_every_part_adds_up(
    shop: tuple[int, frozenset[str], frozenset[str]], person: Person, query: Query, seed: int
) -> None:
    """A shopper would be shown what must not be shown, or be told parts that do not add up."""
    number, sold_out, kept_back = shop
    products = {
        item: product(
            item,
            ("AB"[n % 2],),
            price_cents=n,
            available=item not in sold_out,
            hidden=item in kept_back,
        )
        for n, item in enumerate(ITEMS[:12])
    }
    catalog = catalog_of(products.values())
    rules = Rules(explore=0.5)
    shelf = shelf_of(random_bundle(ITEMS[2:], number), catalog, rules)
    made = answer(shelf, query, person, rules, now_s=NOW_S, rng=np.random.default_rng(seed))
    shown = [candidate.item_id for candidate in made.shown]
    forbidden = sold_out | kept_back | person.cart | person.hidden | query.exclude
    forbidden |= set(query.anchors)
    if query.scenario == "again":
        assert set(shown) <= set(person.bought)
    else:
        forbidden |= set(person.bought)
    allowed = {
        item
        for item, one in products.items()
        if item not in forbidden
        and (query.category in (None, *one.category))
        and (query.max_price is None or (one.price_cents or 0) <= query.max_price)
        and (query.scenario != "again" or item in person.bought)
    }
    assert set(shown) <= allowed
    assert len(shown) == len(set(shown)) == min(query.k, len(allowed))
    for place, candidate in enumerate(made.shown):
        assert candidate.position == place
        assert candidate.score == pytest.approx(sum(candidate.sources.values()))
        assert all(part == round(part, 6) != 0 for part in candidate.sources.values())
        assert 0 < candidate.propensity <= 1
    history = history_of(person, query.anchors, shelf, rules, NOW_S)
    actions = actions_of(person.events, query.anchors)
    for candidate in made.shown:
        parts = parts_of(
            candidate.item_id,
            candidate.sources,
            shelf=shelf,
            history=history,
            actions=actions,
            factors=made.factors,
        )
        assert sum(part.part for part in parts) == pytest.approx(candidate.score, abs=1e-4)


def test_a_sold_out_top_does_not_shorten_the_list() -> None:
    """With everything popular sold out the page would be half empty."""
    items = [f"i{n}" for n in range(600)]
    catalog = catalog_of(product(item, available=n >= 590) for n, item in enumerate(items))
    shelf = shelf_of(None, catalog, Rules(pool=50))
    for n, item in enumerate(items):
        shelf.base[shelf.number(item)] = 600 - n
    rules = Rules(pool=50)
    made = answer(shelf, Query(k=8), Person(), rules, now_s=NOW_S, rng=np.random.default_rng(0))
    assert [candidate.item_id for candidate in made.shown] == items[590:598]


def test_history_on_paper() -> None:
    """An old event would weigh like a new one, or an anchor less than a glance."""
    catalog = catalog_of(product(item) for item in "abc")
    shelf = shelf_of(random_bundle(list("abc"), 0), catalog)
    rules = Rules(half_life_s=100.0)
    person = Person(events=[(b"ca", NOW_S - 100), (b"vb", NOW_S - 200), (b"vx", NOW_S - 300)])
    history = history_of(person, ["c"], shelf, rules, NOW_S)
    assert history.items.tolist() == [1, 0, 2]
    assert history.weights.tolist() == pytest.approx([0.25, 1.5, 5.0])
    assert history.age_rank.tolist() == [2, 1, 0]


def test_sources_are_scaled_to_their_best() -> None:
    """One source's unit would drown all others."""
    catalog = catalog_of(product(item) for item in "abc")
    shelf = shelf_of(random_bundle(list("abc"), 0), catalog)
    history = history_of(Person(events=[(b"va", NOW_S)]), (), shelf, Rules(), NOW_S)
    for source in personal(shelf, history, shelf.numbers_of(())):
        assert float(source.parts.max()) == pytest.approx(shelf.weights[source.name])


@pytest.mark.parametrize("years", [0, 5, 10, 10.5, 11, 12, 12.3, 13, 50])
def test_an_event_of_long_ago_breaks_no_score(years: float) -> None:
    """Who comes back after years, or whose clock was wrong, would get two items without a score."""
    catalog = catalog_of(product(item) for item in "abc")
    ids = IdIndex("abc")
    # Of what they looked at last the model knows nothing: only the old event speaks.
    shelf = shelf_of(Bundle({"items": ids}, {"slim": slim(ids, {("a", "b"): 0.9})}, {}), catalog)
    long_ago = (b"va", NOW_S - years * 365.25 * 86_400)
    person = Person(events=[(b"vc", NOW_S), long_ago])
    rng = np.random.default_rng(0)
    made = answer(shelf, Query(k=3), person, Rules(), now_s=NOW_S, rng=rng)
    assert len(made.shown) == 3
    assert all(0 <= candidate.score < 2 for candidate in made.shown)


def test_models_say_nothing_of_what_was_bought() -> None:
    """What was bought once last week would stand above what is bought every week."""
    catalog = catalog_of(product(item) for item in "abc")
    shelf = shelf_of(random_bundle(list("abc"), 0), catalog)
    lines = {"a": [NOW_S - 1], "b": [NOW_S - 10, NOW_S - 20, NOW_S - 30]}
    person = Person(events=[(b"pa", NOW_S - 1), (b"pb", NOW_S - 10)], bought=lines)
    rng = np.random.default_rng(0)
    made = answer(shelf, Query(scenario="again", k=3), person, Rules(), now_s=NOW_S, rng=rng)
    told = {candidate.item_id: candidate.sources for candidate in made.shown}
    assert set(told) == {"a", "b"}
    assert not any(set(sources) & set(shelf.models) for sources in told.values())
    assert told["b"]["repeat"] > told["a"]["repeat"]
    history = history_of(person, (), shelf, Rules(), NOW_S)
    silent = shelf.numbers_of("ab")
    assert all((s.parts[silent] == 0).all() for s in personal(shelf, history, silent))


def test_repeat_purchases_on_paper() -> None:
    """What is bought each week would not lead the list of what to buy again."""
    catalog = catalog_of(product(item) for item in "ab")
    shelf = shelf_of(None, catalog, Rules(weights={"repeat": 1.0}))
    rules = Rules(repeat_half_life_s=100.0)
    bought = {0: [NOW_S, NOW_S - 100], 1: [NOW_S - 100]}
    source = repeat(shelf, bought, rules, NOW_S)
    assert source is not None
    assert source.at([0, 1]) == pytest.approx([1.0, 1 / 3])
    assert repeat(shelf, {}, rules, NOW_S) is None

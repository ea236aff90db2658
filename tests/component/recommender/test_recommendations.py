import asyncio
from typing import Any

import pytest

from services.recommender.app import build
from services.recommender.manifest import SERVICE
from services.recommender.settings import Settings
from shared.contracts.envelope import utc
from shared.contracts.events import Behaviour, ItemActivity, Line, Order, Product, Shopper, Touched
from shared.contracts.topics import BEHAVIOUR, CATALOG, ITEM_ACTIVITY, SHOPPERS
from tests.component.recommender.conftest import GROCER, Shop, bundle
from tests.fixtures.service import Open

EVERYBODY = ["bread", "tea", "butter", "jam", "milk"]


async def test_a_new_event_changes_the_next_answer(grocer: Shop) -> None:
    """A shopper who looked at bread would still be shown what everybody else gets."""
    assert await grocer.items("/v1/recommendations/ann") == EVERYBODY
    await grocer.does("ann", "view_item", "bread")
    page = await grocer.get("/v1/recommendations/ann")
    assert page["items"][0]["item_id"] == "butter"
    assert (page["rung"], page["personalised"], page["degraded"]) == ("current", True, [])


async def test_the_parts_of_a_score_are_told(grocer: Shop) -> None:
    """Whoever debugs a list would not see which source put an item there."""
    await grocer.does("ann", "view_item", "bread")
    first = (await grocer.get("/v1/recommendations/ann"))["items"][0]
    assert first["sources"]["slim"] == pytest.approx(1.0)
    assert first["score"] == pytest.approx(sum(first["sources"].values()))


async def test_what_is_out_of_stock_is_never_shown(grocer: Shop) -> None:
    """A shopper would click on something that cannot be bought."""
    await grocer.does("ann", "view_item", "bread")
    await grocer.sell("butter", available=False)
    page = await grocer.get("/v1/recommendations/ann?k=2")
    assert "butter" not in [item["item_id"] for item in page["items"]]
    assert page["withheld"]["unavailable"] == 1
    await grocer.sell("butter")
    assert (await grocer.items("/v1/recommendations/ann"))[0] == "butter"


async def test_a_product_that_is_gone_leaves_the_lists(grocer: Shop) -> None:
    """A tombstone in the catalogue would not stop the product from being shown."""
    await grocer.around.bus.tombstone(CATALOG, "butter")
    await grocer.http.settle()
    assert "butter" not in await grocer.items("/v1/recommendations/ann")


async def test_cart_and_hidden_items_are_left_out_until_undone(grocer: Shop) -> None:
    """The cart's content would be recommended, or a hidden item would come back by itself."""
    await grocer.does("ann", "add_to_cart", "butter")
    await grocer.does("ann", "hide_item", "tea")
    shown = await grocer.items("/v1/recommendations/ann")
    assert not {"butter", "tea"} & set(shown)
    grocer.around.clock.advance(10)
    await grocer.does("ann", "remove_from_cart", "butter")
    await grocer.does("ann", "unhide_item", "tea")
    assert {"butter", "tea"} <= set(await grocer.items("/v1/recommendations/ann"))


async def test_what_was_bought_moves_from_home_to_again(grocer: Shop) -> None:
    """The home page would show what was just bought, or the list of regular goods would not."""
    line = (Line("bread"), Line("milk"))
    await grocer.order("ann", Order(order_id="o-1", status="placed", lines=line))
    assert not {"bread", "milk"} & set(await grocer.items("/v1/recommendations/ann"))
    again = await grocer.items("/v1/recommendations/ann?scenario=again")
    assert set(again) == {"bread", "milk"}


async def test_a_cancelled_order_was_not_bought(grocer: Shop) -> None:
    """A shopper would be kept from what they sent back."""
    lines = (Line("bread"),)
    await grocer.order("ann", Order(order_id="o|1", status="placed", lines=lines))
    await grocer.order("ann", Order(order_id="o|1", status="cancelled"))
    assert "bread" in await grocer.items("/v1/recommendations/ann")
    page = await grocer.get("/v1/recommendations/ann?scenario=again")
    assert (page["items"], page["reason"]) == ([], "nothing was bought yet")


async def test_the_product_page_and_the_cart_speak_for_the_list(grocer: Shop) -> None:
    """A product page would show the same list as any other page."""
    product = await grocer.items("/v1/recommendations/ann?scenario=product&item=tea")
    assert product[0] == "milk"
    assert "tea" not in product
    cart = await grocer.items("/v1/recommendations/ann?scenario=cart&cart=bread&cart=tea")
    assert set(cart[:2]) == {"butter", "milk"}
    await grocer.does("ann", "add_to_cart", "tea")
    assert (await grocer.items("/v1/recommendations/ann?scenario=cart"))[0] == "milk"


async def test_related_items_of_an_item(grocer: Shop) -> None:
    """What goes with bread would hold bread itself, or nothing for an unknown page."""
    assert (await grocer.items("/v1/items/bread/related"))[:2] == ["butter", "jam"]
    assert (await grocer.http.http.get("/v1/items/nothing/related")).status_code == 404


async def test_filters_of_the_request_hold(shop: Shop) -> None:
    """A search page's list would show other categories, or prices beyond the limit."""
    await shop.sell("cheap", "dear", category=("Food", "Bread"), price_cents=100)
    await shop.sell("dear", category=("Food", "Bread"), price_cents=900)
    await shop.sell("lamp", category=("Home",), price_cents=100)
    await shop.sell("priceless", category=("Food",), price_cents=None)
    path = "/v1/recommendations/ann"
    assert set(await shop.items(path, params={"category": "Food/Bread"})) == {"cheap", "dear"}
    assert set(await shop.items(path, params={"category": "Bread"})) == {"cheap", "dear"}
    assert set(await shop.items(path, params={"max_price": 500})) == {"cheap", "lamp"}
    assert await shop.items(path, params={"min_price": 500}) == ["dear"]
    assert "lamp" not in await shop.items(path, params={"exclude": "lamp"})


async def test_what_fades_does_so_though_nothing_happens(shop: Shop) -> None:
    """With the stream down, what was in demand last week would be told to be so for ever."""
    await shop.sell("milk", "tea")
    zeros, now_s = (0.0, 0.0, 0.0), shop.around.clock.now()
    counts = ItemActivity(
        item_id="milk", ended=utc(now_s), views=zeros, carts=zeros, buys=zeros, growth=(0, 9, 0)
    )
    await shop.http.publish(ITEM_ACTIVITY, counts)
    await shop.http.settle()

    async def trending() -> list[str]:
        items = (await shop.get("/v1/recommendations/ann"))["items"]
        return [item["item_id"] for item in items if "trending" in item["sources"]]

    assert await trending() == ["milk"]
    shop.around.clock.advance(8 * 86_400)
    assert await trending() == []


async def test_the_longest_list_is_filled(component: Open) -> None:
    """A page of a hundred would end after fifty, and claim that nothing else passes."""
    with pytest.raises(ValueError, match="pool"):
        Settings(pool=99)
    http = await component(SERVICE, build, "http", Settings, pool=100)
    shop = Shop(http, http)
    await shop.sell(*(f"i{n}" for n in range(120)))
    page = await shop.get("/v1/recommendations/ann?k=100")
    assert (len(page["items"]), page["reason"]) == (100, None)


async def test_the_ladder_without_a_release(shop: Shop) -> None:
    """Before the first release the shop's front page would be empty."""
    empty = await shop.get("/v1/recommendations/ann")
    assert (empty["items"], empty["reason"]) == ([], "the catalogue is empty")
    await shop.sell("old")
    shop.around.clock.advance(60)
    await shop.sell("new")
    page = await shop.get("/v1/recommendations/ann")
    assert [item["item_id"] for item in page["items"]] == ["new", "old"]
    assert (page["rung"], page["release"], page["degraded"]) == ("static", "none", ["release"])
    zeros = (0.0, 0.0, 0.0)
    counts = ItemActivity(
        item_id="old",
        ended=utc(shop.around.clock.now()),
        views=(1.0, 1.0, 9.0),
        carts=zeros,
        buys=zeros,
        growth=zeros,
    )
    await shop.http.publish(ITEM_ACTIVITY, counts)
    await shop.http.settle()
    page = await shop.get("/v1/recommendations/ann")
    assert page["items"][0]["item_id"] == "old"
    assert page["rung"] == "popular"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/recommendations/ann", {"Sec-GPC": "1"}),
        ("/v1/recommendations/ann?personalised=false", {}),
    ],
)
async def test_who_does_not_want_it_is_not_personalised(
    grocer: Shop, path: str, headers: dict[str, str]
) -> None:
    """A shopper's history would be used against their word."""
    await grocer.does("ann", "view_item", "bread")
    page = await grocer.get(path, headers=headers)
    assert [item["item_id"] for item in page["items"]] == EVERYBODY
    assert (page["personalised"], page["rung"]) == (False, "popular")


async def test_the_shops_switch_is_honoured(grocer: Shop) -> None:
    """A shopper who turned personalisation off in their account would still be followed."""
    await grocer.does("ann", "view_item", "bread")
    ann = grocer.user("ann")
    await grocer.worker.publish(SHOPPERS, Shopper(user=ann, personalised=False))
    await grocer.worker.settle()
    assert await grocer.items("/v1/recommendations/ann") == EVERYBODY
    await grocer.worker.publish(SHOPPERS, Shopper(user=ann))
    await grocer.worker.settle()
    assert (await grocer.items("/v1/recommendations/ann"))[0] == "butter"


async def test_events_without_consent_leave_no_trace(grocer: Shop) -> None:
    """What was done without consent would shape the next list."""
    await grocer.does("ann", "view_item", "bread", consent="analytics")
    assert await grocer.items("/v1/recommendations/ann") == EVERYBODY


async def test_a_session_without_an_account(grocer: Shop) -> None:
    """Anonymous shoppers, most of all visits, would see the same list for ever."""
    body = {"events": [{"action": "view_item", "item": "bread"}], "k": 3}
    response = await grocer.http.http.post("/v1/recommendations/session", json=body)
    page = response.json()
    assert page["items"][0]["item_id"] == "butter"
    assert page["personalised"] is True


async def test_a_session_takes_back_what_it_must(grocer: Shop) -> None:
    """Who hid a product, bought it or put it into the cart in this session would see it again."""
    did = [("hide_item", "bread"), ("add_to_cart", "tea"), ("purchase", "milk")]
    did += [("hide_item", "jam"), ("unhide_item", "jam")]
    events = [{"action": action, "item": item} for action, item in did]
    response = await grocer.http.http.post("/v1/recommendations/session", json={"events": events})
    page = response.json()
    assert {item["item_id"] for item in page["items"]} == {"butter", "jam"}
    assert page["withheld"] == {"hidden_by_shopper": 1, "in_cart": 1, "bought": 1}
    # The cart of the session speaks for the list, as one that we know does.
    body = {"events": events[1:2], "scenario": "cart", "k": 1}
    response = await grocer.http.http.post("/v1/recommendations/session", json=body)
    assert response.json()["items"][0]["item_id"] == "milk"


async def test_only_ones_own_history_makes_a_list_personal(grocer: Shop) -> None:
    """What the product of the page did would be reported as the success of personal lists."""
    page = "/v1/recommendations/ann?scenario=product&item=bread"
    assert (await grocer.get(page))["personalised"] is False
    await grocer.does("ann", "view_item", "unheard-of")
    assert (await grocer.get(page))["personalised"] is False
    await grocer.does("ann", "view_item", "tea")
    assert (await grocer.get(page))["personalised"] is True


async def test_an_anonymous_history_joins_the_users(grocer: Shop) -> None:
    """Who logs in would lose what they had looked at before."""
    seen = Behaviour(action="view_item", items=(Touched("tea"),))
    await grocer.worker.publish(BEHAVIOUR, seen, anonid="a-1")
    await grocer.worker.settle()
    joined = await grocer.items("/v1/recommendations/ann", params={"anonid": "a-1"})
    assert joined[0] == "milk"
    response = await grocer.http.http.post("/v1/recommendations/session", json={"anonid": "a-1"})
    assert response.json()["items"][0]["item_id"] == "milk"


async def test_decisions_are_published_for_the_trainer(grocer: Shop) -> None:
    """Clicks could not be joined to what was shown, nor judged by their probability."""
    page = await grocer.get("/v1/recommendations/ann?k=2")
    decision = await grocer.decision(page["request_id"])
    assert [shown.item_id for shown in decision.shown] == ["bread", "tea"]
    assert [shown.position for shown in decision.shown] == [0, 1]
    assert (decision.release, decision.scenario) == (page["release"], "home")
    assert [shown.propensity for shown in decision.shown] == [1.0, 1.0]


async def test_decisions_wait_for_kafka(grocer: Shop) -> None:
    """A broker that is away for a moment would cost feedback, or the answers."""
    grocer.around.broker.down = True
    page = await grocer.get("/v1/recommendations/ann")
    grocer.around.broker.down = False
    assert (await grocer.decision(page["request_id"])).scenario == "home"


async def test_without_redis_lists_are_still_served(grocer: Shop) -> None:
    """A Redis that is away would take the whole front page with it."""
    await grocer.does("ann", "view_item", "bread")
    grocer.around.redis.connected = False
    try:
        page = await grocer.get("/v1/recommendations/ann")
    finally:
        grocer.around.redis.connected = True
    assert [item["item_id"] for item in page["items"]] == EVERYBODY
    assert (page["personalised"], page["degraded"]) == (False, ["history"])
    assert (await grocer.items("/v1/recommendations/ann"))[0] == "butter"


async def test_a_new_release_is_served_without_a_failed_request(grocer: Shop) -> None:
    """Shoppers would see errors each time the trainer has learnt something."""
    turned = bundle(GROCER.ids["items"].ids, {("bread", "milk"): 1.0}, [1, 2, 3, 4, 5])
    await grocer.does("ann", "view_item", "bread")
    old = (await grocer.get("/v1/recommendations/ann"))["release"]
    new = await grocer.release(turned)
    releases: list[str] = []

    async def swapped() -> bool:
        ask = [grocer.get("/v1/recommendations/ann") for _ in range(8)]
        for page in await asyncio.gather(*ask):
            releases.append(page["release"])
            expected = "butter" if page["release"] == old else "milk"
            assert page["items"][0]["item_id"] == expected
        return releases[-1] == new

    await grocer.eventually(swapped)
    assert set(releases) <= {old, new}


async def test_a_release_may_know_items_that_the_shop_does_not_and_the_reverse(shop: Shop) -> None:
    """An item of an old release would be shown, or a new product never."""
    await shop.sell("bread", "butter", "brand-new")
    await shop.serve(GROCER)
    assert set(await shop.items("/v1/recommendations/ann")) == {"bread", "butter", "brand-new"}


@pytest.mark.parametrize("item", ["a:b", "a b", "🍞", "面包", "100%", "{x}", "it's|odd", "a?b=c&d"])
async def test_odd_ids_are_items_like_others(shop: Shop, item: str) -> None:
    """A shop with spaces or emoji in its ids would get lists without those items."""
    await shop.sell(item, "butter")
    await shop.serve(bundle([item, "butter"], {(item, "butter"): 1.0}, [1, 1]))
    await shop.does("änn:🙂 x", "view_item", item)
    shown = await shop.items("/v1/recommendations/änn:🙂 x")
    assert set(shown) == {item, "butter"}
    assert shown[0] == "butter"
    await shop.does("änn:🙂 x", "hide_item", item)
    assert await shop.items("/v1/recommendations/änn:🙂 x") == ["butter"]


@pytest.mark.parametrize("item", ["茶" * 256, "🍞" * 256])
async def test_the_longest_ids_can_be_asked_for(shop: Shop, item: str) -> None:
    """A product that the catalogue took, and that lists show, would be refused as a wrong id."""
    await shop.sell(item, "butter")
    await shop.serve(bundle([item, "butter"], {(item, "butter"): 1.0}, [1, 1]))
    assert await shop.items(f"/v1/items/{item}/related") == ["butter"]
    params = {"scenario": "product", "item": item}
    assert await shop.items("/v1/recommendations/ann", params=params) == ["butter"]
    assert await shop.items("/v1/recommendations/ann", params={"exclude": item}) == ["butter"]
    assert (await shop.http.http.get(f"/v1/items/{item}x/related")).status_code == 422


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("k=0", "k"),
        ("k=101", "k"),
        ("k=ten", "k"),
        ("k=-1", "k"),
        ("k=99999999999999999999", "k"),
        ("min_price=-5", "min_price"),
        ("max_price=-1", "max_price"),
        ("min_price=9&max_price=8", "min_price"),
        ("scenario=nowhere", "scenario"),
        ("scenario=product", "item"),
        ("scenario=product&item=", "item"),
        ("item=" + "x" * 300 + "&scenario=product", "item"),
        ("personalised=perhaps", "personalised"),
        ("anonid=", "anonid"),
    ],
)
async def test_wrong_requests_are_told_what_is_wrong(shop: Shop, query: str, field: str) -> None:
    """A typing error in an integration would be guessed at, or answered with a 500."""
    response = await shop.http.http.get(f"/v1/recommendations/ann?{query}")
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["errors"][0]["field"] == field


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"k":"x"}', b"\xff", b'{"evnts":[]}', b"[" * 9000])
async def test_wrong_sessions_are_told_what_is_wrong(shop: Shop, body: bytes) -> None:
    """A broken body would be answered with a 500."""
    response = await shop.http.http.post("/v1/recommendations/session", content=body)
    assert response.status_code == 422, response.text


async def test_exploration_logs_how_probable_it_was(component: Open) -> None:
    """Off-policy evaluation would be wrong, since the probabilities would be."""
    http = await component(SERVICE, build, "http", Settings, explore=0.5, shelf_refresh_s=0.0)
    shop = Shop(http, http)
    await shop.sell("bread", "butter", "jam", "tea", "milk", "new-1", "new-2")
    await shop.serve(GROCER)
    last: dict[str, float] = {}
    for _ in range(60):
        item = (await shop.get("/v1/recommendations/ann?k=3"))["items"][-1]
        last[item["item_id"]] = item["propensity"]
    assert last == {"butter": 0.5, "new-1": 0.25, "new-2": 0.25}


async def test_the_description_is_true(shop: Shop) -> None:
    """An integration built from the OpenAPI document would send what is refused."""
    document: dict[str, Any] = (await shop.http.http.get("/openapi.json")).json()
    operation = document["paths"]["/v1/recommendations/{user}"]["get"]
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert {"user", "scenario", "item", "cart", "k", "category", "min_price", "exclude"} <= names
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    page = document["components"]["schemas"][answer["$ref"].rpartition("/")[2]]
    assert set(page["properties"]) == set(await shop.get("/v1/recommendations/ann"))
    assert "requestBody" in document["paths"]["/v1/recommendations/session"]["post"]


async def test_titles_in_other_languages_do_no_harm(shop: Shop) -> None:
    """A product with translations would break the catalogue's view."""
    await shop.http.publish(CATALOG, Product(id="x", title="Bread", titles={"zh-CN": "面包"}))
    await shop.http.settle()
    assert await shop.items("/v1/recommendations/ann") == ["x"]

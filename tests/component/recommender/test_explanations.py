import pytest

from services.recommender.manifest import BOUGHT, BUILT, HISTORY, OPTED_OUT
from shared.contracts.events import Erasure, Line, Order, Shopper
from shared.contracts.topics import ERASURES, SHOPPERS
from tests.component.recommender.conftest import GROCER, Shop, bundle


async def explained(shop: Shop, request_id: str, **options: object) -> dict[str, object]:
    async def there() -> object:
        response = await shop.http.http.get(f"/v1/explanations/{request_id}", **options)
        return response.json() if response.status_code == 200 else None

    answer = await shop.eventually(there)
    assert isinstance(answer, dict)
    return answer


async def test_a_list_is_explained_by_events_whose_parts_add_up(grocer: Shop) -> None:
    """A shopper who asks why would get a reason that had no part in it."""
    await grocer.does("ann", "view_item", "bread")
    grocer.around.clock.advance(5)
    await grocer.does("ann", "add_to_cart", "tea")
    page = await grocer.get("/v1/recommendations/ann")
    why = await explained(grocer, page["request_id"])
    assert why["exact"] is True
    for shown, item in zip(page["items"], why["items"], strict=True):
        assert item["item_id"] == shown["item_id"]
        assert item["score"] == pytest.approx(shown["score"], abs=1e-6)
        assert sum(part["part"] for part in item["parts"]) == pytest.approx(
            shown["score"], abs=1e-6
        )
    reasons = {item["item_id"]: item["because"] for item in why["items"]}
    assert reasons["milk"] == "because you put Tea into the cart"
    assert reasons["butter"] == "because you viewed Bread"
    assert reasons["bread"] == "popular with other shoppers"


async def test_reasons_are_told_in_chinese(grocer: Shop) -> None:
    """A Chinese shopper would be told why in English."""
    await grocer.does("ann", "view_item", "bread")
    page = await grocer.get("/v1/recommendations/ann")
    headers = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.5"}
    why = await explained(grocer, page["request_id"], headers=headers)
    assert why["items"][0]["because"] == "因为您浏览过“Bread”"
    assert (await explained(grocer, page["request_id"], params={"lang": "en"}))["items"][0][
        "because"
    ] == "because you viewed Bread"


async def test_a_list_of_an_earlier_release_is_explained_by_that_release(grocer: Shop) -> None:
    """After a swap the explanation would name weights that had no part in the list."""
    await grocer.does("ann", "view_item", "bread")
    page = await grocer.get("/v1/recommendations/ann")
    await grocer.serve(bundle(GROCER.ids["items"].ids, {("bread", "milk"): 1.0}, [1] * 5))
    why = await explained(grocer, page["request_id"])
    assert (why["release"], why["exact"]) == (page["release"], True)
    assert why["items"][0]["score"] == pytest.approx(page["items"][0]["score"], abs=1e-6)


async def test_an_unknown_list_is_not_found(grocer: Shop) -> None:
    """A wrong id would be answered with somebody else's list."""
    response = await grocer.http.http.get("/v1/explanations/nothing")
    assert response.status_code == 404


async def test_a_forgotten_person_leaves_nothing(grocer: Shop) -> None:
    """A person's wish to be forgotten would not reach what this service keeps."""
    await grocer.does("ann", "view_item", "bread")
    await grocer.order("ann", Order(order_id="o", status="paid", lines=(Line("tea"),)))
    page = await grocer.get("/v1/recommendations/ann")
    await explained(grocer, page["request_id"])
    ann = grocer.user("ann")
    await grocer.worker.publish(ERASURES, Erasure(user=ann))
    await grocer.worker.settle()
    kv = grocer.worker.ports.kv
    assert await kv.zrange_desc(HISTORY, ann, count=9) == []
    assert await kv.zrange_desc(BOUGHT, ann, count=9) == []
    response = await grocer.http.http.get(f"/v1/explanations/{page['request_id']}")
    assert response.status_code == 404
    answer = next(e.data for e in grocer.worker.published(ERASURES) if e.data.service)
    assert answer.removed == {"views": 3, "explanations": 1}


async def test_who_comes_back_after_being_forgotten_is_asked_anew(grocer: Shop) -> None:
    """A no to personalisation would be overruled by an older wish that is read, or read again, later."""
    ann = grocer.user("ann")
    http, worker = grocer.http, grocer.worker
    await worker.publish(SHOPPERS, Shopper(user=ann, personalised=False))
    await worker.publish(ERASURES, Erasure(user=ann))
    await worker.settle()
    await grocer.does("ann", "view_item", "bread")
    assert (await grocer.get("/v1/recommendations/ann"))["personalised"] is False
    from fakeredis import FakeAsyncRedis

    await FakeAsyncRedis(server=grocer.around.redis).flushall()
    await grocer.does("eve", "view_item", "jam")

    async def ready() -> bool:
        return await worker.ports.kv.get(BUILT) is not None

    await grocer.eventually(ready)
    await grocer.does("ann", "view_item", "bread")
    assert (await grocer.get("/v1/recommendations/ann"))["personalised"] is False
    # Who is forgotten leaves no wish behind either.
    await grocer.around.bus.tombstone(SHOPPERS, ann)
    await worker.settle()
    assert await http.ports.kv.get(OPTED_OUT, ann) is None


async def test_a_redis_that_forgot_is_filled_again(grocer: Shop) -> None:
    """After a lost Redis every shopper would be a stranger until they click again."""
    await grocer.does("ann", "view_item", "bread")
    await grocer.does("bob", "view_item", "tea")
    await grocer.worker.publish(ERASURES, Erasure(user=grocer.user("bob")))
    await grocer.worker.settle()
    from fakeredis import FakeAsyncRedis

    await FakeAsyncRedis(server=grocer.around.redis).flushall()
    await grocer.does("eve", "view_item", "jam")

    async def back() -> bool:
        return (await grocer.items("/v1/recommendations/ann"))[0] == "butter"

    await grocer.eventually(back)

    async def ready() -> bool:
        return not await grocer.worker.readiness.missing()

    await grocer.eventually(ready)
    bob = await grocer.worker.ports.kv.zrange_desc(HISTORY, grocer.user("bob"), count=9)
    assert bob == []

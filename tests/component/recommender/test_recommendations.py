from tests.component.recommender.conftest import Shop, bundle

GROCER = bundle(
    ["bread", "butter", "jam", "tea", "milk"],
    {("bread", "butter"): 0.9, ("bread", "jam"): 0.5, ("tea", "milk"): 0.8, ("jam", "tea"): -0.2},
    [50, 20, 10, 30, 5],
)


async def stocked(shop: Shop) -> str:
    """Fill the shop's catalogue and release a model; wait until it is in service."""
    await shop.sell("bread", "butter", "jam", "tea", "milk")
    version = await shop.release(GROCER)

    async def ready() -> bool:
        page = await shop.get("/v1/recommendations/nobody")
        return page["release"] == version and len(page["items"]) == 5

    await shop.eventually(ready)
    return version


async def test_a_new_event_changes_the_next_answer(shop: Shop) -> None:
    """A shopper who looked at bread would still be shown what everybody else gets."""
    version = await stocked(shop)
    before = await shop.items("/v1/recommendations/ann")
    assert before == ["bread", "tea", "butter", "jam", "milk"]
    await shop.does("ann", "view_item", "bread")

    async def changed() -> bool:
        return (await shop.items("/v1/recommendations/ann"))[0] == "butter"

    await shop.eventually(changed)
    page = await shop.get("/v1/recommendations/ann")
    assert (page["release"], page["rung"], page["personalised"]) == (version, "current", True)

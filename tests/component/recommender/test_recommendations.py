from tests.component.recommender.conftest import Shop


async def test_a_new_event_changes_the_next_answer(grocer: Shop) -> None:
    """A shopper who looked at bread would still be shown what everybody else gets."""
    before = await grocer.items("/v1/recommendations/ann")
    assert before == ["bread", "tea", "butter", "jam", "milk"]
    await grocer.does("ann", "view_item", "bread")
    page = await grocer.get("/v1/recommendations/ann")
    assert page["items"][0]["item_id"] == "butter"
    assert (page["rung"], page["personalised"], page["degraded"]) == ("current", True, [])

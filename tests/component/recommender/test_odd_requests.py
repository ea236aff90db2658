"""Whatever comes in gets an answer that says what is wrong, and no request fails for our fault."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.component.recommender.conftest import Shop

NAMES = ["scenario", "item", "cart", "k", "category", "min_price", "max_price", "exclude", "anonid"]
VALUES = st.one_of(
    st.sampled_from(
        ["home", "product", "cart", "again", "bread", "0", "-1", "1e9", "٣", "", "\0", "٣٣"]
    ),
    st.text(max_size=20),
    st.integers(-(10**20), 10**20).map(str),
)
PAIRS = st.lists(st.tuples(st.sampled_from([*NAMES, "lang", "x"]), VALUES), max_size=6)


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(pairs=PAIRS)
async def test_any_parameters_are_answered_or_refused(
    grocer: Shop, pairs: list[tuple[str, str]]
) -> None:
    """Somebody's typing error would count as our outage."""
    params = [(name, value.encode("utf-8", "replace").decode()) for name, value in pairs]
    for path in ("/v1/recommendations/ann", "/v1/items/bread/related"):
        response = await grocer.http.http.get(path, params=params)
        assert response.status_code in (200, 422), response.text


@pytest.mark.parametrize(
    "path",
    [
        "/v1/recommendations/%FF%FE",
        "/v1/recommendations/%00",
        "/v1/recommendations/a?item=%FF&cart=%FF&exclude=%80&category=%FF",
        "/v1/recommendations/" + "x" * 300,
        "/v1/items/%F0%9F/related",
        "/v1/explanations/%00%FF",
        "/v1/explanations/" + "y" * 2000,
        "/v1/ratings/%FF/%FE",
        "/v1/recommendations/%ED%A0%80",
    ],
)
async def test_bytes_that_are_no_text(grocer: Shop, path: str) -> None:
    """A crawler's broken address would show up as an error of ours."""
    response = await grocer.http.http.get(path)
    assert response.status_code in (200, 404, 422, 503), response.text
    assert response.status_code != 503 or "ratings" in path


async def test_ids_with_a_slash(grocer: Shop) -> None:
    """A shop whose ids hold slashes could not ask for its shoppers and products."""
    await grocer.does("eu/ann", "view_item", "bread")
    assert (await grocer.items("/v1/recommendations/eu%2Fann"))[0] == "butter"
    await grocer.sell("a/b c%2f")
    assert "bread" in await grocer.items("/v1/items/a%2fb%20c%252f/related")
    assert (await grocer.http.http.get("/v1/recommendations/eu/ann")).status_code == 404


BODIES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from([*NAMES, "events", "action", "at", "personalised"]), inner, max_size=4
        ),
    ),
    max_leaves=8,
)


@settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=BODIES)
async def test_any_session_is_answered_or_refused(grocer: Shop, body: object) -> None:
    """A client's bug would count as our outage."""
    # The client's own encoder refuses what is not JSON, such as Infinity; others send it.
    content = json.dumps(body)
    response = await grocer.http.http.post("/v1/recommendations/session", content=content)
    assert response.status_code in (200, 422), response.text


async def test_times_of_events_may_be_anything(grocer: Shop) -> None:
    """A phone whose clock is wrong would get an error, or its events count for ever."""
    for at in (
        "1970-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2020-01-01T00:00:00",
        "0001-01-01T00:00:00Z",
    ):
        body = {"events": [{"action": "view_item", "item": "bread", "at": at}]}
        response = await grocer.http.http.post("/v1/recommendations/session", json=body)
        assert response.status_code == 200, response.text
        assert response.json()["items"][0]["item_id"] == "butter"

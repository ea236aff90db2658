"""What the OpenAPI document says of the doors."""

import pytest

from services.collector.described import DESCRIBED

EXAMPLES = [
    (method, path.format(kind="track"), said.example)
    for (method, path), said in DESCRIBED.items()
    if said.takes and path != "/v1/erasures"
]


@pytest.mark.parametrize(("method", "path", "example"), EXAMPLES)
async def test_each_door_takes_its_example(collector, method, path, example):
    """What a programmer copies from the page would be refused."""
    http = (await collector()).http
    answer = await http.request(method, path, json=example)
    assert answer.status_code == 202, answer.text
    assert answer.json()["accepted"] == 1


@pytest.mark.parametrize(("method", "path", "example"), EXAMPLES)
async def test_a_key_in_an_address_is_told_of_where_it_is_taken(collector, method, path, example):
    """A page would send to doors that refuse it, or not dare to where it may."""
    service = await collector()
    service.http.headers.pop("authorization")
    key = service.client("events").headers["authorization"].removeprefix("Bearer ")
    answer = await service.http.request(method, path, params={"key": key}, json=example)
    said = DESCRIBED[method, path.replace("track", "{kind}")].parameters
    assert (answer.status_code == 202) is any(one["name"] == "key" for one in said)

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

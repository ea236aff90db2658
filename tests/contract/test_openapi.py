"""The facades against their own OpenAPI documents: whatever is sent, the answer is as described."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import SchemathesisConfig

from services.recommender.app import build as build_recommender
from services.recommender.manifest import SERVICE as RECOMMENDER
from services.recommender.settings import Settings as RecommenderSettings
from services.trainer.app import build as build_trainer
from services.trainer.manifest import SERVICE as TRAINER
from services.trainer.settings import Settings as TrainerSettings
from tests.component.collector.conftest import collector  # noqa: F401 (a fixture)
from tests.fixtures.service import Component, Open

load_all_checks()
AS_DESCRIBED = CHECKS.get_by_names(
    ["status_code_conformance", "content_type_conformance", "response_schema_conformance"]
)
WITHOUT_KEYS = SchemathesisConfig.from_dict({"generation": {"with-security-parameters": False}})
# The facades stand on memory ports that live as long as the test: examples meet what others left.
FEW = settings(
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
async def facades(
    component: Open,
    collector: Callable[..., Awaitable[Component]],  # noqa: F811
) -> dict[str, Component]:
    """The HTTP processes of all services, without a release and without goods."""
    return {
        "collector": await collector(),
        "recommender": await component(
            RECOMMENDER, build_recommender, "http", RecommenderSettings, shelf_refresh_s=0.0
        ),
        "trainer": await component(TRAINER, build_trainer, "http", TrainerSettings),
    }


@pytest.mark.parametrize("name", ["collector", "recommender", "trainer"])
@FEW
@given(data=st.data())
async def test_whatever_is_sent_the_answer_is_as_described(
    facades: dict[str, Component], name: str, data: Any
) -> None:
    """An integration built from the document would meet an answer that it cannot read."""
    http = facades[name].http
    document = (await http.get("/openapi.json")).json()
    schema = schemathesis.openapi.from_dict(document, config=WITHOUT_KEYS)
    operations = [operation.ok() for operation in schema.get_all_operations()]
    case = data.draw(data.draw(st.sampled_from(operations)).as_strategy())
    sent = case.as_transport_kwargs(base_url=str(http.base_url))
    del sent["cookies"]  # none are described
    response = await http.request(**sent)
    assert response.status_code != httpx.codes.INTERNAL_SERVER_ERROR, response.text
    case.validate_response(response, checks=AS_DESCRIBED)


@pytest.mark.parametrize("name", ["collector", "recommender", "trainer"])
async def test_each_door_says_what_it_takes_and_gives(
    facades: dict[str, Component], name: str
) -> None:
    """A programmer at the shop would have to guess what to send."""
    document = (await facades[name].http.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            routed = "operationId" in operation
            assert routed or method == "get" or operation["requestBody"], path
            assert set(operation["responses"]) > {"default"}, path

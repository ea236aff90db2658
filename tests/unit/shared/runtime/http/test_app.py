"""The app in front of every facade."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as RawRoute

from shared.contracts.errors import Invalid, NotFound, Retryable
from shared.contracts.service import Process, Route, Service
from shared.runtime import trace
from shared.runtime.app import App, Check
from shared.runtime.clock import FakeClock
from shared.runtime.http import Problem, Readiness, UndeclaredRoute, make_app
from shared.runtime.keys import ApiKeys, make
from shared.runtime.settings import Settings

SERVICE = Service(
    "testing",
    "A test.",
    (Process("http", "It.", 1),),
    routes=(
        Route("POST", "/v1/events", "events", "Send events."),
        Route("GET", "/v1/pixel", "events", "One event."),
        Route("GET", "/v1/users/{user}", "serve", "A user."),
        Route("DELETE", "/v1/users/{user}", "admin", "Forget a user."),
        Route("GET", "/v1/fail/{how}", "open", "Fail."),
    ),
)
WEB, WEB_KEY = make("web", ("events",), origins=("https://shop.example",))
SHOP, SHOP_KEY = make("shop", ("events", "serve"))
FAILURES: dict[str, Exception] = {
    "invalid": Invalid("must be positive", field="items[0].price_cents"),
    "missing": NotFound("there is no such user"),
    "away": Retryable("Redis at 10.0.0.1 is away", after_s=7),
    "conflict": Problem(409, "This epoch has passed: read the pointer again.", title="Moved on"),
    "bug": ZeroDivisionError("secret detail"),
}


async def take(request: Request) -> Response:
    """Answer with what arrived."""
    body = await request.body()
    key = request.state.key
    return JSONResponse({"bytes": len(body), "key": key.name, "trace": trace.traceparent()})


def router() -> APIRouter:
    """The routes behind FastAPI."""
    routes = APIRouter()

    @routes.get("/v1/users/{user}")
    async def user(user: str, k: int = 10) -> dict[str, Any]:
        return {"user": user, "k": k}

    @routes.delete("/v1/users/{user}")
    async def forget(user: str) -> None:
        return None

    @routes.get("/v1/fail/{how}")
    async def fail(how: str) -> None:
        raise FAILURES[how]

    return routes


class Shop:
    """The app with a client for each key."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.readiness = Readiness()
        app = App(
            router=router(),
            routes=[
                RawRoute("/v1/events", take, methods=["POST"]),
                RawRoute("/v1/pixel", take, methods=["GET"]),
            ],
        )
        asgi = make_app(
            SERVICE,
            app,
            keys=ApiKeys([WEB_KEY, SHOP_KEY]),
            settings=Settings(**settings),
            clock=self.clock,
            readiness=self.readiness,
        )
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://test")


@pytest.fixture
def shop() -> Shop:
    """An app with the usual settings."""
    return Shop()


def bearer(key: str) -> dict[str, str]:
    """The header with a key."""
    return {"Authorization": f"Bearer {key}"}


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Check that the answer is a whole problem of that status, and return it."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    content = answer.json()
    assert content["status"] == status
    assert content["type"].startswith("urn:shoploop:problem:")
    assert content["title"]
    assert len(content["detail"]) > 10
    assert content["instance"] == f"urn:shoploop:request:{answer.headers['x-request-id']}"
    return dict(content)


@pytest.mark.parametrize(
    "headers",
    [
        bearer(SHOP),
        {"X-Api-Key": SHOP},
        {"Authorization": "Basic " + base64.b64encode(f"{SHOP}:".encode()).decode()},
    ],
    ids=["bearer", "header", "basic"],
)
async def test_a_key_opens_by_each_way_of_sending_it(shop: Shop, headers: dict[str, str]) -> None:
    """Senders, Segment's libraries among them, would be locked out."""
    answer = await shop.http.post("/v1/events", content=b"123", headers=headers)
    assert answer.json()["bytes"] == 3
    assert answer.json()["key"] == "shop"


@pytest.mark.parametrize(
    ("headers", "method", "path", "status"),
    [
        ({}, "POST", "/v1/events", 401),
        (bearer("sk_wrong"), "POST", "/v1/events", 401),
        ({"Authorization": "Basic %%%"}, "POST", "/v1/events", 401),
        (bearer(WEB), "GET", "/v1/users/ann", 403),
        (bearer(SHOP), "DELETE", "/v1/users/ann", 403),
        (bearer(SHOP), "GET", "/v1/users/ann", 200),
        ({}, "GET", "/v1/fail/missing", 404),
    ],
)
async def test_a_route_opens_for_its_scope_alone(
    shop: Shop, headers: dict[str, str], method: str, path: str, status: int
) -> None:
    """A key from a web page could read or erase people."""
    answer = await shop.http.request(method, path, headers=headers)
    assert answer.status_code == status
    if status == 401:
        assert problem(answer, 401)["detail"].startswith("Send a valid key")
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("query", [b"key=%FF", b"key=%E9%", b"key=%", b"key=", b"key"])
async def test_odd_bytes_in_an_address_are_no_key(shop: Shop, query: bytes) -> None:
    """A scanner's noise would look like a fault of ours in every log."""
    url = httpx.URL("http://test/v1/pixel", query=query)
    problem(await shop.http.get(url), 401)


async def test_an_address_carries_publishable_keys_only(shop: Shop) -> None:
    """Secret keys would end up in browsers' histories and proxies' logs."""
    assert (await shop.http.get("/v1/pixel", params={"key": WEB})).status_code == 200
    refused = await shop.http.get("/v1/pixel", params={"key": SHOP})
    assert "revoke" in problem(refused, 401)["detail"]
    problem(await shop.http.get("/v1/users/ann", params={"key": SHOP}), 401)


async def test_a_publishable_key_works_from_its_origins_alone(shop: Shop) -> None:
    """Another site could fill the shop's log with a key read from its pages."""
    own = bearer(WEB) | {"Origin": "https://shop.example"}
    answer = await shop.http.post("/v1/events", headers=own)
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    other = await shop.http.post("/v1/events", headers=own | {"Origin": "https://evil.example"})
    assert "origin" in problem(other, 403)["detail"]
    assert (await shop.http.post("/v1/events", headers=bearer(WEB))).status_code == 200


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/v1/events", "POST", 204), ("/v1/users/a", "GET", 403)]
)
async def test_browsers_are_let_to_publish_and_to_nothing_else(
    shop: Shop, path: str, method: str, status: int
) -> None:
    """A shop's pages could not send events, or a stranger's page could read people."""
    headers = {"Origin": "https://shop.example", "Access-Control-Request-Method": method}
    answer = await shop.http.options(path, headers=headers)
    assert answer.status_code == status
    if status == 204:
        assert "authorization" in answer.headers["access-control-allow-headers"]
        assert answer.headers["access-control-allow-methods"] == "POST"


async def test_a_large_body_is_refused_before_it_is_read() -> None:
    """One sender could fill the memory of a process."""
    shop = Shop(max_body_bytes=1024)
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 512
            yield b"x" * 512

    whole = await shop.http.post("/v1/events", content=b"x" * 1025, headers=bearer(SHOP))
    assert "1024" in problem(whole, 413)["detail"]
    assert whole.headers["connection"] == "close"
    chunked = await shop.http.post("/v1/events", content=endless(), headers=bearer(SHOP))
    problem(chunked, 413)
    assert read < 10_000
    fits = await shop.http.post("/v1/events", content=b"x" * 1024, headers=bearer(SHOP))
    assert fits.status_code == 200


async def test_one_caller_cannot_take_the_others_share() -> None:
    """A loop gone wild in one page would lock out everybody."""
    shop = Shop(ip_rate_per_s=2, key_rate_per_s=1000)
    statuses = [
        (await shop.http.post("/v1/events", headers=bearer(WEB))).status_code for _ in range(5)
    ]
    assert statuses == [200, 200, 200, 200, 429]
    refused = await shop.http.post("/v1/events", headers=bearer(WEB))
    assert problem(refused, 429)
    assert refused.headers["retry-after"] == "1"
    assert (await shop.http.post("/v1/events", headers=bearer(SHOP))).status_code == 200
    shop.clock.advance(0.5)
    assert (await shop.http.post("/v1/events", headers=bearer(WEB))).status_code == 200


async def test_callers_behind_a_trusted_proxy_are_told_apart() -> None:
    """All shoppers would share one limit, or each could choose his own address."""
    shop = Shop(ip_rate_per_s=1, trusted_proxies=1)

    async def status(forwarded: str) -> int:
        headers = bearer(WEB) | {"X-Forwarded-For": forwarded}
        return (await shop.http.post("/v1/events", headers=headers)).status_code

    assert [await status("6.6.6.6, 1.1.1.1") for _ in range(3)] == [200, 200, 429]
    assert await status("7.7.7.7, 1.1.1.1") == 429
    assert await status("1.1.1.1, 2.2.2.2") == 200


@pytest.mark.parametrize(
    ("how", "status", "detail", "retry"),
    [
        ("invalid", 422, "items[0].price_cents: must be positive", None),
        ("missing", 404, "there is no such user", None),
        ("away", 503, "Something that is needed is away at the moment. Try again shortly.", "7"),
        ("conflict", 409, "This epoch has passed: read the pointer again.", None),
    ],
)
async def test_each_kind_of_failure_has_its_answer(
    shop: Shop, how: str, status: int, detail: str, retry: str | None
) -> None:
    """Callers could not tell their own mistakes from our outages."""
    answer = await shop.http.get(f"/v1/fail/{how}")
    assert problem(answer, status)["detail"] == detail
    assert answer.headers.get("retry-after") == retry


async def test_wrong_values_are_listed_one_by_one(shop: Shop) -> None:
    """A developer would have to guess which value was wrong."""
    answer = await shop.http.get("/v1/users/ann", params={"k": "x"}, headers=bearer(SHOP))
    (error,) = problem(answer, 422)["errors"]
    assert error["field"] == "k"
    assert "integer" in error["reason"]
    invalid = await shop.http.get("/v1/fail/invalid")
    assert invalid.json()["errors"] == [
        {"field": "items[0].price_cents", "reason": "must be positive"}
    ]


async def test_a_bug_shows_nothing_of_itself_outside(shop: Shop) -> None:
    """Stack traces would tell attackers how we are built."""
    answer = await shop.http.get("/v1/fail/bug")
    problem(answer, 500)
    assert "secret" not in answer.text
    assert "ZeroDivision" not in answer.text
    assert "Traceback" not in answer.text


async def test_unknown_addresses_and_methods_are_problems_too(shop: Shop) -> None:
    """Clients that parse errors would stumble over another format."""
    problem(await shop.http.get("/nothing"), 404)
    wrong = await shop.http.put("/v1/users/ann")
    problem(wrong, 405)
    assert wrong.headers["allow"] == "DELETE, GET"


async def test_ids_of_any_characters_reach_the_route(shop: Shop) -> None:
    """Shops whose ids hold colons, spaces or emoji could not be served."""
    answer = await shop.http.get("/v1/users/a:b c😀%3F", headers=bearer(SHOP))
    assert answer.json()["user"] == "a:b c😀?"


async def test_a_trace_goes_on_from_its_caller(shop: Shop) -> None:
    """A request could not be followed from the shop through Kafka to its effect."""
    given = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    headers = bearer(SHOP) | {"traceparent": given}
    answer = await shop.http.post("/v1/events", headers=headers)
    inside = answer.json()["trace"]
    assert inside[:36] == given[:36]
    assert inside != given
    assert trace.current.get() is None
    fresh = await shop.http.post("/v1/events", headers=bearer(SHOP) | {"traceparent": "rubbish"})
    assert trace.parse(fresh.json()["trace"]) is not None


async def test_a_callers_request_id_is_kept_if_it_is_harmless(shop: Shop) -> None:
    """Support could not match the shop's logs with ours."""
    for given, kept in (("order-4711-abc", True), ("a\tb", False), ("x" * 100, False)):
        answer = await shop.http.get("/livez", headers={"X-Request-Id": given})
        assert (answer.headers["x-request-id"] == given) is kept


async def test_every_answer_carries_the_security_headers_once(shop: Shop) -> None:
    """Browsers would guess types, or keep personal answers."""
    for path in ("/livez", "/nothing", "/v1/users/ann"):
        answer = await shop.http.get(path, headers=bearer(SHOP))
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_ready_means_that_every_check_is_met(shop: Shop) -> None:
    """A balancer would send shoppers to a process that cannot answer."""
    missing: list[str] = []

    async def model() -> str | None:
        return missing[0] if missing else None

    shop.readiness.checks.append(Check("model", model))
    assert (await shop.http.get("/readyz")).json() == {"ready": True, "missing": {}}
    missing.append("no release yet")
    shop.readiness.hold = "shutting down"
    answer = await shop.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["missing"] == {"process": "shutting down", "model": "no release yet"}
    assert (await shop.http.get("/livez")).status_code == 200


async def test_metrics_count_requests_by_route_and_never_by_id(shop: Shop) -> None:
    """Monitoring would drown in labels, or hold people's ids."""
    await shop.http.get("/v1/users/somebody", headers=bearer(SHOP))
    text = (await shop.http.get("/metrics")).text
    assert 'http_requests_total{code="200",method="GET",route="/v1/users/{user}"' in text
    assert "somebody" not in text
    hidden = await shop.http.get("/metrics", headers={"X-Forwarded-For": "1.1.1.1"})
    assert hidden.status_code == 404


async def test_openapi_lists_every_declared_route_with_its_scope(shop: Shop) -> None:
    """A route would exist that nobody can read about, or its key be unknown."""
    document = json.loads((await shop.http.get("/openapi.json")).text)
    listed = {(m.upper(), p) for p, operations in document["paths"].items() for m in operations}
    assert listed == {(route.method, route.path) for route in SERVICE.routes}
    assert document["paths"]["/v1/events"]["post"]["security"][0] == {"key": ["events"]}
    assert "security" not in document["paths"]["/v1/fail/{how}"]["get"]
    default = document["paths"]["/v1/users/{user}"]["get"]["responses"]["default"]
    assert "application/problem+json" in default["content"]


async def test_people_read_about_the_facade_in_a_browser(shop: Shop) -> None:
    """Whoever connects a shop would have to read JSON, or the source."""
    answer = await shop.http.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert all(route.path in answer.text for route in SERVICE.routes)
    assert "style-src 'sha256-" in answer.headers["content-security-policy"]


async def test_too_many_at_once_are_turned_away() -> None:
    """An overload would take the memory instead of being refused."""
    shop = Shop(max_in_flight=1)
    body_asked = 0

    async def slow() -> AsyncIterator[bytes]:
        nonlocal body_asked
        body_asked += 1
        second = await shop.http.post("/v1/events", headers=bearer(SHOP))
        assert problem(second, 503)
        assert second.headers["retry-after"] == "1"
        assert (await shop.http.get("/livez")).status_code == 200
        yield b"x"

    assert (await shop.http.post("/v1/events", content=slow(), headers=bearer(SHOP))).is_success
    assert body_asked == 1
    assert (await shop.http.post("/v1/events", headers=bearer(SHOP))).status_code == 200


async def test_an_answer_that_takes_too_long_is_given_up() -> None:
    """Slow senders would hold connections for ever."""
    shop = Shop(request_timeout_s=0.01)

    async def stalled() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    answer = await shop.http.post("/v1/events", content=stalled(), headers=bearer(SHOP))
    assert problem(answer, 503)


def test_routes_and_manifest_must_agree() -> None:
    """A route could be served without a scope, or be promised and missing."""
    lonely = App(routes=[RawRoute("/v1/secret", take, methods=["GET"])])
    with pytest.raises(UndeclaredRoute) as refused:
        make_app(SERVICE, lonely, keys=ApiKeys([]), settings=Settings(), clock=FakeClock())
    text = str(refused.value)
    assert "GET /v1/secret is served but not declared" in text
    assert "POST /v1/events is declared but not served" in text

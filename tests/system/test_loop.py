"""All services on a real Kafka and Redis: the loop turns."""

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pytest

from shared.tools.local.stack import Stack
from tests.fixtures.clients import clients_of

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.timeout(600)]

SERVICES = ("collector", "trainer", "recommender")
Clients = dict[str, httpx.Client]

RATINGS = np.array(
    [[4, 3, 2, 1, 5], [5, 4, 5, 4, 3], [3, 2, 1, 3, 2], [4, 2, 3, 2, 4], [3, 5, 4, 5, 3]], float
)
"""The worked example: five shoppers' ratings of five items."""

ENVIRON = {"SHOPLOOP_KAFKA_ACK_S": "25"}  # a busy machine takes its time


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything, on free ports."""
    home, environ = tmp_path_factory.mktemp("loop"), {**os.environ, **ENVIRON}
    with Stack(home=home, services=SERVICES, random_ports=True, environ=environ) as running:
        yield running


@pytest.fixture(scope="module")
def clients(stack: Stack) -> Iterator[Clients]:
    """A client with all rights for each service."""
    with clients_of(stack, SERVICES) as opened:
        yield opened


def until(condition: Callable[[], Any], within_s: float = 120.0) -> Any:
    """Return what the condition gives once that is true; fail if it does not come."""
    deadline = time.monotonic() + within_s
    while not (met := condition()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.1)
    return met


def send(clients: Clients, path: str, body: Any) -> dict[str, Any]:
    """Post to the collector; fail unless all of it was taken, and is in Kafka when this returns."""
    answer = clients["collector"].post(path, params={"ack": "kafka"}, json=body)
    assert answer.status_code == 202, answer.text
    told: dict[str, Any] = answer.json()
    assert not told.get("rejected"), answer.text
    assert told["ack"] == "kafka", "it took too long"
    return told


def train(clients: Clients, **asked: Any) -> dict[str, Any]:
    """Run a job on all that is in Kafka, and return it; fail unless it ends well."""
    trainer = clients["trainer"]
    job = trainer.post("/v1/jobs", json={"force": True, **asked}).raise_for_status().json()

    def ended() -> Any:
        now = trainer.get(f"/v1/jobs/{job['id']}").raise_for_status().json()
        return now if now["state"] not in {"queued", "running"} else None

    done: dict[str, Any] = until(ended, within_s=240)
    assert done["state"] == "done", done
    return done


def recommended(clients: Clients, user: str, **parameters: Any) -> dict[str, Any]:
    """Ask for a list."""
    answer = clients["recommender"].get(f"/v1/recommendations/{user}", params=parameters)
    return answer.raise_for_status().json()  # type: ignore[no-any-return]


def shown(page: dict[str, Any]) -> list[str]:
    """The ids of a list, best first."""
    return [item["item_id"] for item in page["items"]]


def a_shop(clients: Clients) -> None:
    """Two kinds of shopper: one buys tea things, the other coffee things, all know the bestsellers."""
    names = [f"{kind}-{n}" for kind in ("tea", "coffee", "best") for n in range(12)]
    products = [
        {
            "id": name,
            "title": name,
            "category": [name.split("-")[0]],
            "price_cents": 100,
            "currency": "EUR",
        }
        for name in names
    ]
    send(clients, "/v1/catalog", [{"data": product} for product in products])
    rng, began, events = np.random.default_rng(1), datetime.now(UTC) - timedelta(days=9), []
    for user in range(120):
        kind = ("tea", "coffee")[user % 2]
        for step in range(8):
            item = f"{kind if step % 4 else 'best'}-{int(rng.integers(0, 12))}"
            events.append(
                {
                    "id": f"shop-{user}-{step}",
                    "userid": f"shopper-{user}",
                    "time": (began + timedelta(hours=user % 5, days=step)).isoformat(),
                    "data": {"action": "view_item", "items": [{"id": item}]},
                }
            )
    send(clients, "/v1/events", events)


@pytest.fixture(scope="module")
def trained(clients: Clients) -> dict[str, Any]:
    """A shop with history, and a release made of it that the recommender serves."""
    a_shop(clients)
    until(lambda: len(recommended(clients, "nobody")["items"]) == 10)
    job = train(clients, job="recommend")
    assert _trained_on(clients, "recommend")["events"] == 960
    until(lambda: recommended(clients, "shopper-1")["rung"] == "current")
    return job


def _trained_on(clients: Clients, model: str) -> dict[str, Any]:
    answer = clients["trainer"].get(f"/v1/models/{model}").raise_for_status()
    return answer.json()["trained_on"]  # type: ignore[no-any-return]


def test_a_new_event_changes_the_next_answer(clients: Clients, trained: dict[str, Any]) -> None:
    """A shopper who looks at tea is shown coffee for hours if only training changes lists."""
    before = recommended(clients, "newcomer")
    assert before["rung"] == "popular"
    view = {"userid": "newcomer", "action": "view_item", "items": [{"id": "tea-1"}]}
    send(clients, "/v1/events", view)
    after = until(lambda: _personal(clients, "newcomer"))
    teas = [item for item in shown(after)[:5] if item.startswith("tea-")]
    assert len(teas) >= 4, shown(after)
    assert after["release"] == trained["version"]


def _personal(clients: Clients, user: str) -> dict[str, Any] | None:
    page = recommended(clients, user)
    return page if page["rung"] == "current" else None


def test_an_explanation_names_the_event_and_adds_up(
    clients: Clients, trained: dict[str, Any]
) -> None:
    """An explanation that is made up beside the score explains nothing."""
    view = {"userid": "curious", "action": "view_item", "items": [{"id": "coffee-3"}]}
    send(clients, "/v1/events", view)
    page = until(lambda: _personal(clients, "curious"))
    path = f"/v1/explanations/{page['request_id']}"
    for lang, word in (("en", "because"), ("zh", "因为")):
        told = until(lambda lang=lang: _found(clients, path, lang))
        assert word in str(told).lower()
        assert "coffee-3" in str(told)


def _found(clients: Clients, path: str, lang: str) -> dict[str, Any] | None:
    answer = clients["recommender"].get(path, params={"lang": lang})
    return answer.json() if answer.status_code == 200 else None


def test_feedback_comes_back_to_the_release(clients: Clients, trained: dict[str, Any]) -> None:
    """Without the join of clicks to decisions nobody knows whether a release earns anything."""
    page = recommended(clients, "shopper-3")
    click = {
        "userid": "shopper-3",
        "action": "select_item",
        "request_id": page["request_id"],
        "items": [{"id": shown(page)[0], "position": 0}],
    }
    send(clients, "/v1/events", click)

    def reported() -> bool:
        rows = clients["trainer"].get("/v1/reports/feedback").raise_for_status().json()["rows"]
        return any(
            row["release"] == trained["version"] and "1" in str(row.get("clicks", row))
            for row in rows
        )

    until(reported)


def test_not_personalised_is_honoured(clients: Clients, trained: dict[str, Any]) -> None:
    """A person who said no is answered as nobody in particular."""
    page = (
        clients["recommender"].get("/v1/recommendations/shopper-1", headers={"Sec-GPC": "1"}).json()
    )
    assert page["personalised"] is False
    assert page["rung"] != "current"


def test_the_worked_example_goes_through_the_whole_loop(clients: Clients) -> None:
    """SVD of the 5 × 5 matrix, cut to rank 3: the predictions are inner products of the factors."""
    left, values, right = np.linalg.svd(RATINGS)
    best = (left[:, :3] * values[:3]) @ right[:3]
    events = [
        {
            "id": f"rating-{user}-{item}",
            "userid": f"rater {user}",
            "data": {
                "action": "rate_item",
                "rating": RATINGS[user, item],
                "items": [{"id": f"rated {item}"}],
            },
        }
        for user in range(5)
        for item in range(5)
    ]
    products = [{"data": {"id": f"rated {item}", "title": f"Item {item}"}} for item in range(5)]
    send(clients, "/v1/catalog", products)
    send(clients, "/v1/events", events)
    train(clients, job="ratings", model="filled-svd", rank=3)
    assert _trained_on(clients, "ratings")["ratings"] == 25
    until(lambda: np.allclose(_predicted(clients), best, atol=1e-6))
    got = _predicted(clients)
    error = float(((got - RATINGS) ** 2).sum())
    assert error == pytest.approx(float((values[3:] ** 2).sum()))


def _predicted(clients: Clients) -> np.ndarray:
    """All predictions; not a number where there is none yet."""
    got = np.full((5, 5), np.nan)
    for user in range(5):
        for item in range(5):
            answer = clients["recommender"].get(f"/v1/ratings/rater {user}/rated {item}")
            if answer.status_code == 200:
                # The rating itself is held within the scale of 1 to 5; its parts are not.
                got[user, item] = sum(answer.json()["parts"].values())
    return got


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/events", {"userid": "u", "action": "dance"}, "action"),
        (
            "/v1/events",
            {"userid": "u", "action": "view_item", "items": [{"id": "x", "price_cents": -1}]},
            "price",
        ),
        ("/v1/events", {"userid": "u", "action": "view_item", "items": "x"}, "items"),
        ("/v1/orders", {"userid": "u", "order_id": "o", "status": "eaten"}, "status"),
        ("/v1/catalog", {"data": {"id": "", "title": "x"}}, "id"),
    ],
)
def test_wrong_events_are_named_and_nothing_is_lost(
    clients: Clients, path: str, body: dict[str, Any], field: str
) -> None:
    """A sender learns which field is wrong; the bytes are kept for the operator."""
    answer = clients["collector"].post(path, json=body)
    assert answer.status_code == 422
    assert field in answer.text

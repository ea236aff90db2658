"""A small shop's past: two tastes, 60 shoppers each."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from services.trainer.app import build
from services.trainer.manifest import SERVICE
from services.trainer.settings import Settings
from shared.contracts.envelope import utc
from shared.contracts.events import Behaviour, Product, Touched
from shared.contracts.topics import BEHAVIOUR, CATALOG, wrap
from tests.fixtures.service import Component, Open, Surroundings

START_S = 1_700_000_000.0
DEADLINE_S = 120.0


class Trainer:
    """Both processes of the trainer, and what a test does with them."""

    def __init__(self, http: Component, worker: Component) -> None:
        self.http = http
        self.worker = worker

    async def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = await self.http.http.post(path, json=body)
        assert answer.status_code in {200, 202}, answer.text
        return dict(answer.json())

    async def get(self, path: str) -> dict[str, Any]:
        answer = await self.http.http.get(path)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def train(self, **asked: Any) -> dict[str, Any]:
        """Ask for a job and return it once it has ended."""
        job = await self.post("/v1/jobs", {"job": "recommend", **asked})
        return await self.ended(job["id"])

    async def ended(self, job_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            job = await self.get(f"/v1/jobs/{job_id}")
            if job.get("state", "queued") not in {"queued", "running"}:
                return job
            await asyncio.sleep(0.05)
        raise AssertionError(f"the job did not end: {job}")


@pytest.fixture
async def trainer(component: Open) -> Callable[..., Awaitable[Trainer]]:
    async def start(**given: Any) -> Trainer:
        given.setdefault("train_first_events", 10**9)
        given.setdefault("train_every_hours", 10**9)
        http = await component(SERVICE, build, "http", Settings, **given)
        worker = await component(SERVICE, build, "worker", Settings, **given)
        return Trainer(http, worker)

    return start


@pytest.fixture
def shop(around: Surroundings) -> Callable[[], Awaitable[None]]:
    """Publish 40 products and, for 120 shoppers, views over ten days; the tastes do not mix."""

    async def publish() -> None:
        products = [
            around_event(CATALOG, Product(id=f"item-{n}", title=f"Item {n}"), f"p{n}", START_S)
            for n in range(40)
        ]
        await around.bus.publish_all(CATALOG, products)
        views = []
        for shopper in range(120):
            for step in range(12):
                taste = 20 * (shopper % 2)
                item = taste + (shopper // 2 * 7 + step) % 20
                views.append(viewed(f"user-{shopper}", f"item-{item}", step * 72_000 + shopper))
        await around.bus.publish_all(BEHAVIOUR, views)
        around.clock.advance(11 * 86_400)

    return publish


def viewed(user: str, item: str, after_s: float, **attributes: Any) -> Any:
    """Return a view of an item, so many seconds after the start."""
    event = Behaviour(action="view_item", items=(Touched(item),))
    return around_event(
        BEHAVIOUR, event, f"{user}-{item}-{after_s}", START_S + after_s, userid=user, **attributes
    )


def around_event(topic: Any, event: Any, event_id: str, time_s: float, **attributes: Any) -> Any:
    """Return the event in an envelope."""
    return wrap(topic, event, id=event_id, source="test", time=utc(time_s), **attributes)

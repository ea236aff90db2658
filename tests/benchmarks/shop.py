"""A shop for benchmarks: a running stack with keys, and the events of made-up shoppers."""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import httpx
import msgspec
import numpy as np
import psutil

from shared.contracts.service import Service
from shared.runtime import keys
from shared.runtime.keys import Ack
from shared.tools.local.services import manifests
from shared.tools.local.stack import Stack
from tests.benchmarks.load import Answers, closed_loop, request

ACKS: tuple[Ack, ...] = ("memory", "disk", "kafka")
BATCH = 1_000


@dataclass(frozen=True)
class Shop:
    """A running stack and the keys to its doors; `keys[ack]` may send events with that level."""

    stack: Stack
    keys: dict[str, str]

    def headers(self, key: str = "owner") -> dict[str, str]:
        """Return the headers of a request under a key."""
        return {"Authorization": f"Bearer {self.keys[key]}", "Content-Type": "application/json"}

    def post(
        self, path: str, bodies: Sequence[bytes], *, key: str = "memory", connections: int = 2
    ) -> Answers:
        """Send the bodies to the collector; raises if any was refused."""
        url = self.stack.url("collector") + path
        payloads = [request(url, method="POST", body=b, headers=self.headers(key)) for b in bodies]
        answers = asyncio.run(closed_loop(url, payloads, connections=connections))
        if answers.failed:
            raise RuntimeError(f"{path}: {answers.statuses}")
        return answers

    def client(self, service: str, key: str = "owner") -> httpx.Client:
        """Return a client of a service's facade."""
        return httpx.Client(base_url=self.stack.url(service), headers=self.headers(key), timeout=60)

    def quiet(self, timeout_s: float = 300) -> None:
        """Wait until the stack has nothing left to do: under a fifth of a core for two seconds."""
        family = [psutil.Process(self.stack.pid(name)) for name in self.stack.programs()]
        family += [child for one in family for child in one.children(recursive=True)]

        def used() -> float:
            return sum(sum(p.cpu_times()[:2]) for p in family if p.is_running())

        def idle() -> bool:
            before = used()
            time.sleep(2)
            return used() - before < 0.4

        wait_until(idle, timeout_s=timeout_s)

    def train(self, job: str = "recommend", timeout_s: float = 600) -> dict[str, object]:
        """Train and release whatever the gate says; return the job, raise unless it was released."""
        with self.client("trainer") as trainer:
            asked = trainer.post("/v1/jobs", json={"job": job, "force": True})
            at = f"/v1/jobs/{asked.raise_for_status().json()['id']}"
            last: dict[str, object] = {}

            def ended() -> bool:
                last.update(trainer.get(at).raise_for_status().json())
                return last["state"] not in {"queued", "running"}

            wait_until(ended, timeout_s=timeout_s, every_s=0.1)
        if last["state"] != "done":
            raise RuntimeError(f"the job {job} ended as {last}")
        return last


@contextmanager
def shop(
    work: Path,
    processes: Sequence[str] = ("collector", "trainer", "recommender"),
    replicas: Mapping[str, int] | None = None,
) -> Iterator[Shop]:
    """Run a stack on free ports; `processes` names services, or single processes as `collector/http`."""
    made = {}

    def make_keys(stack: Stack) -> None:
        file = work / "keys.json"
        kept = keys.load_or_generate(file)
        made.update({key.name: key.key for key in kept.api_keys if key.key})
        extra = []
        for ack in ACKS:
            made[ack], key = keys.make(ack, ("events", "admin"), ack=ack)
            extra.append(key)
        keys.save(file, msgspec.structs.replace(kept, api_keys=(*kept.api_keys, *extra)))

    with Stack(
        home=work,
        services=tuple(_only(processes)),
        random_ports=True,
        replicas=replicas or {},
        prepare=make_keys,
    ) as stack:
        yield Shop(stack, made)


def _only(processes: Sequence[str]) -> Iterator[Service]:
    wanted: dict[str, set[str]] = {}
    for name in processes:
        service, _, process = name.partition("/")
        wanted.setdefault(service, set()).add(process)
    for service in manifests(tuple(wanted)):
        kept = wanted[service.name]
        some = tuple(p for p in service.processes if "" in kept or p.name in kept)
        yield dataclasses.replace(service, processes=some)


def wait_until(met: Callable[[], bool], *, timeout_s: float, every_s: float = 0.05) -> float:
    """Wait for a condition and return the seconds it took."""
    began = time.perf_counter()
    while not met():
        if time.perf_counter() - began > timeout_s:
            raise TimeoutError(f"not met within {timeout_s:.0f} s")
        time.sleep(every_s)
    return time.perf_counter() - began


def item(number: int) -> str:
    """Return the id of an item."""
    return f"sku-{number:05d}"


def catalog(n: int) -> list[bytes]:
    """Return the bodies that put `n` products in 40 categories on sale."""
    products = [
        {
            "data": {
                "id": item(i),
                "title": f"Product {i}",
                "category": ["Shop", f"Aisle {i % 40}"],
                "price_cents": 100 + i % 5_000,
                "currency": "EUR",
            }
        }
        for i in range(n)
    ]
    return list(_batches(products))


def behaviour(
    rng: np.random.Generator,
    n: int,
    *,
    users: int,
    items: int,
    span: timedelta = timedelta(days=20),
    run: int = 1,
) -> list[bytes]:
    """Return the bodies of `n` views, carts and purchases of shoppers with tastes.

    Items have Zipf popularity; half of what a shopper does stays within a taste of 200 items.
    """
    user = rng.integers(0, users, n)
    popular = np.minimum(rng.zipf(1.3, n) - 1, items - 1)
    taste = (user * 7919 % max(items - 200, 1)) + np.minimum(rng.zipf(1.4, n) - 1, 199)
    touched = np.where(rng.random(n) < 0.5, popular, np.minimum(taste, items - 1))
    action = rng.choice(["view_item", "add_to_cart", "purchase"], n, p=[0.8, 0.13, 0.07])
    began = datetime.now(UTC) - span
    at = np.sort(rng.random(n)) * span.total_seconds()
    make = partial(_event, run=run, began=began)
    return list(
        _batches(
            [make(i, int(user[i]), int(touched[i]), str(action[i]), float(at[i])) for i in range(n)]
        )
    )


def _event(
    number: int, user: int, touched: int, action: str, at: float, *, run: int, began: datetime
) -> dict[str, object]:
    return {
        "id": str(UUID(int=(run << 64) | number)),
        "userid": f"shopper-{user}",
        "time": (began + timedelta(seconds=at)).isoformat(),
        "data": {
            "action": action,
            "items": [{"id": item(touched), "price_cents": 100 + touched % 5_000}],
        },
    }


def _batches(events: Sequence[dict[str, object]]) -> Iterator[bytes]:
    for first in range(0, len(events), BATCH):
        yield msgspec.json.encode(events[first : first + BATCH])

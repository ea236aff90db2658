"""The recommender under load: everything computed for the request, nothing from a cache."""

import asyncio
import itertools
import os
from collections.abc import Mapping
from contextlib import ExitStack

import numpy as np

from tests.benchmarks.load import closed_loop, open_loop, request
from tests.benchmarks.registry import Context, Figure, benchmark
from tests.benchmarks.shop import Shop, behaviour, catalog, shop, wait_until

ITEMS, USERS, EVENTS = 20_000, 4_000, 200_000
PROCESSES = ("collector", "trainer", "recommender")
REPLICAS = {"recommender/http": 2}


@benchmark(
    "recommend-p99-ms",
    "recommend-requests-per-second",
    unit="ms; requests/s",
    must=(20, 800),
    aim=(8, 2_600),
)
def serving(context: Context) -> Mapping[str, Figure]:
    """Lists for shoppers with 50 events each, from 20,000 items and at least 200 candidates.

    Two replicas share the port. p99: an open loop of 50 requests/s for 30 s, both pinned to one
    core, latency from the planned moment. Requests/s: a closed loop of 16 connections for 10 s,
    median of five.
    """
    rng = np.random.default_rng(context.seed)
    with shop(context.work, PROCESSES, REPLICAS) as at:
        at.post("/v1/catalog", catalog(ITEMS))
        at.post("/v1/events", behaviour(rng, EVENTS, users=USERS, items=ITEMS))
        at.train()
        at.quiet()
        url = at.stack.url("recommender")
        wait_until(lambda: _all_current(at), timeout_s=60)
        with at.client("recommender") as client:
            considered = client.get("/v1/recommendations/shopper-1?k=10").json()["considered"]
        payloads = [_ask(at, url, n) for n in range(USERS)]
        _pin(at, {0})
        asyncio.run(closed_loop(url, payloads[:500], connections=4))
        slow = asyncio.run(open_loop(url, lambda n: payloads[n % USERS], rate=50, seconds=30))
        _pin(at, {0, 1})
        rates, failed = [], slow.failed
        for _ in range(5):
            fast = asyncio.run(
                closed_loop(url, itertools.cycle(payloads), connections=16, seconds=10)
            )
            rates.append(len(fast.latencies) / fast.elapsed_s)
            failed += fast.failed
    detail = {"considered": considered, "failed": failed, "p50_ms": round(slow.quantile_ms(0.5), 2)}
    under_load = {
        "p50_ms": round(fast.quantile_ms(0.5), 2),
        "p99_ms": round(fast.quantile_ms(0.99), 2),
    }
    return {
        "recommend-p99-ms": Figure(slow.quantile_ms(0.99), len(slow.latencies), detail),
        "recommend-requests-per-second": Figure(
            float(np.median(rates)),
            len(rates),
            under_load | {"rates": [round(r) for r in rates], "failed": failed},
        ),
    }


def _all_current(at: Shop) -> bool:
    """Whether whoever answers has the release: a new connection may get either replica."""
    with ExitStack() as connections:
        clients = [connections.enter_context(at.client("recommender")) for _ in range(12)]
        answers = [client.get("/v1/recommendations/shopper-1").json() for client in clients]
    return all(answer["rung"] == "current" for answer in answers)


def _pin(at: Shop, cores: set[int]) -> None:
    for name in at.stack.programs():
        if name.startswith("recommender/http"):
            os.sched_setaffinity(at.stack.pid(name), cores)


def _ask(at: Shop, url: str, number: int) -> bytes:
    return request(f"{url}/v1/recommendations/shopper-{number}?k=10", headers=at.headers())

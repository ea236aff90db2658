"""The recommender under load: everything computed for the request, nothing from a cache."""

import asyncio
import itertools
import os
from collections.abc import Mapping

import numpy as np

from tests.benchmarks.load import closed_loop, open_loop, request
from tests.benchmarks.registry import Context, Figure, benchmark
from tests.benchmarks.shop import Shop, behaviour, catalog, shop, wait_until

ITEMS, USERS, EVENTS = 20_000, 4_000, 200_000
PROCESSES = ("collector", "trainer", "recommender")


@benchmark(
    "recommend-p99-ms",
    "recommend-requests-per-second",
    unit="ms; requests/s",
    must=(20, 800),
    aim=(8, 2_600),
)
def serving(context: Context) -> Mapping[str, Figure]:
    """Lists for shoppers with 50 events each, from 20,000 items and at least 200 candidates.

    p99: an open loop of 50 requests/s for 30 s, the recommender pinned to one core, latency from
    the planned moment. Requests/s: a closed loop of 16 connections for 10 s, median of five.
    """
    rng = np.random.default_rng(context.seed)
    with shop(context.work, PROCESSES) as at:
        at.post("/v1/catalog", catalog(ITEMS))
        at.post("/v1/events", behaviour(rng, EVENTS, users=USERS, items=ITEMS))
        at.train()
        at.quiet()
        url = at.stack.url("recommender")
        with at.client("recommender") as client:
            wait_until(
                lambda: client.get("/v1/recommendations/shopper-1").json()["rung"] == "current",
                timeout_s=60,
            )
            considered = client.get("/v1/recommendations/shopper-1?k=10").json()["considered"]
        payloads = [_ask(at, url, n) for n in range(USERS)]
        os.sched_setaffinity(at.stack.pid("recommender/http"), {0})
        asyncio.run(closed_loop(url, payloads[:500], connections=4))
        slow = asyncio.run(open_loop(url, lambda n: payloads[n % USERS], rate=50, seconds=30))
        os.sched_setaffinity(at.stack.pid("recommender/http"), {0, 1})
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


def _ask(at: Shop, url: str, number: int) -> bytes:
    return request(f"{url}/v1/recommendations/shopper-{number}?k=10", headers=at.headers())

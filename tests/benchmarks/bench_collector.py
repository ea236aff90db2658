"""The collector against the parts that it is made of, each measured in the same run."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from uuid import UUID

import msgspec
from confluent_kafka import Producer
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from shared.contracts import events as ev
from shared.contracts.envelope import encode, utc
from shared.contracts.topics import BEHAVIOUR, wrap
from shared.tools.local import ports
from tests.benchmarks.load import Answers, closed_loop, request
from tests.benchmarks.registry import Context, Figure, benchmark
from tests.benchmarks.shop import Shop, shop, wait_until

ROUNDS = 5


def _facts(first: int, n: int) -> list[dict[str, object]]:
    """Return events that make records of about 400 bytes."""
    now = utc(time.time()).isoformat()
    return [
        {
            "id": str(UUID(int=i)),
            "userid": f"shopper-{i % 500}",
            "sessionid": f"session-{i % 900}",
            "time": now,
            "data": {
                "action": "view_item",
                "items": [{"id": f"sku-{i % 20_000:05d}", "price_cents": 1999}],
                "page": "https://shop.example/p/a-product-with-a-name",
                "locale": "zh-CN",
            },
        }
        for i in range(first, first + n)
    ]


def _make_topic(bootstrap: str) -> None:
    """Make the bare producer's topic, with as many partitions as ours."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic("bench-bare", BEHAVIOUR.partitions.local, 1)])
    admin.close()


def _produce(bootstrap: str, n: int) -> float:
    """Return records/s of a bare producer that waits for all acknowledgements."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "linger.ms": 5,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    event = ev.Behaviour(
        action="view_item",
        items=(ev.Touched("sku-00001", price_cents=1999),),
        page="https://shop.example/p/a-product-with-a-name",
        locale="zh-CN",
    )
    value = encode(
        wrap(
            BEHAVIOUR,
            event,
            id=str(UUID(int=1)),
            source="bench",
            time=utc(time.time()),
            userid="x" * 22,
            receivedat=utc(time.time()),
        )
    )
    began = time.perf_counter()
    for i in range(n):
        producer.produce("bench-bare", value, key=str(i % 500))
        if i % 1000 == 0:
            producer.poll(0)
    if left := producer.flush(60):
        raise RuntimeError(f"{left} records were not acknowledged")
    return n / (time.perf_counter() - began)


@contextmanager
def _counter(at: Shop) -> Iterator[Callable[[], int]]:
    """Give what counts the records of the topic `behaviour`, over one kept connection."""
    consumer = KafkaConsumer(bootstrap_servers=at.stack.kafka)
    parts = [TopicPartition(BEHAVIOUR.name, p) for p in range(BEHAVIOUR.partitions.local)]
    try:
        yield lambda: sum(consumer.end_offsets(parts).values())
    finally:
        consumer.close()


@benchmark("collector-memory-ratio", unit="ratio", must=(0.15,), aim=(0.35,))
def memory_ratio(context: Context) -> Mapping[str, Figure]:
    """Batches of 50 under `memory`, until Kafka has them, against a bare confluent producer."""
    n, ratios, rates, acked, bare = 40_000, [], [], [], []
    with shop(context.work, ["collector/http"]) as at, _counter(at) as count:
        _make_topic(at.stack.kafka)
        _produce(at.stack.kafka, 20_000)
        done = count()
        for round_ in range(ROUNDS + 1):
            first = (round_ + 1) * n
            bodies = [msgspec.json.encode(_facts(first + i, 50)) for i in range(0, n, 50)]
            began = time.perf_counter()
            answers = at.post("/v1/events", bodies, connections=4)
            wait_until(lambda want=done + n: count() >= want, timeout_s=60, every_s=0.01)
            rate = n / (time.perf_counter() - began)
            done += n
            base = _produce(at.stack.kafka, n)
            if round_ == 0:
                continue
            acked.append(n / answers.elapsed_s)
            rates.append(rate)
            bare.append(base)
            ratios.append(rate / base)
    detail = {
        "events_per_second": round(median(rates)),
        "acknowledged_per_second": round(median(acked)),
        "confluent_per_second": round(median(bare)),
        "ratios": [round(r, 3) for r in ratios],
        "note": "counted until Kafka has every event; load generator and broker on the same cores",
    }
    return {"collector-memory-ratio": Figure(median(ratios), ROUNDS * n, detail)}


@benchmark("collector-single-ratio", unit="ratio", must=(0.5,), aim=(0.7,))
def single_ratio(context: Context) -> Mapping[str, Figure]:
    """Single events under `memory` against a bare Starlette that echoes the same body."""
    n, connections, ratios, ours, theirs, durable = 10_000, 16, [], [], [], []
    with shop(context.work, ["collector/http"]) as at, _Echo() as echo:
        for round_ in range(ROUNDS + 1):
            bodies = [msgspec.json.encode(f) for f in _facts(10_000_000 + round_ * 2 * n, 2 * n)]
            mine = at.post("/v1/events", bodies[:n], connections=connections)
            base = asyncio.run(_closed(echo.url, bodies[:n], connections))
            disk = at.post("/v1/events", bodies[n:], key="disk", connections=64)
            if round_ == 0:
                continue
            ours.append(n / mine.elapsed_s)
            theirs.append(n / base.elapsed_s)
            durable.append(n / disk.elapsed_s)
            ratios.append(ours[-1] / theirs[-1])
    detail = {
        "events_per_second": round(median(ours)),
        "starlette_per_second": round(median(theirs)),
        "disk_64_connections_per_second": round(median(durable)),
        "ratios": [round(r, 3) for r in ratios],
    }
    return {"collector-single-ratio": Figure(median(ratios), ROUNDS * n, detail)}


@benchmark("ack-disk-ratio", unit="ratio", must=(2.0,), aim=(1.3,))
def disk_ratio(context: Context) -> Mapping[str, Figure]:
    """Median acknowledgement under `disk`, in medians of a bare fdatasync; limits get 3 and 2 ms more."""
    n, acks, syncs = 300, [], []
    with shop(context.work, ["collector/http"]) as at:
        bodies = [msgspec.json.encode(f) for f in _facts(20_000_000, n * (ROUNDS + 1))]
        for round_ in range(ROUNDS + 1):
            mine = at.post(
                "/v1/events", bodies[round_ * n : (round_ + 1) * n], key="disk", connections=1
            )
            sync = _fdatasync_s(context.work / "probe", n)
            if round_ == 0:
                continue
            acks.append(mine.quantile_ms(0.5))
            syncs.append(sync * 1000)
    ack, sync_ms = median(acks), median(syncs)
    detail = {
        "ack_p50_ms": round(ack, 3),
        "fdatasync_p50_ms": round(sync_ms, 3),
        "must_ms": round(2 * sync_ms + 3, 3),
        "aim_ms": round(1.3 * sync_ms + 2, 3),
        "meets_must": ack <= 2 * sync_ms + 3,
        "meets_aim": ack <= 1.3 * sync_ms + 2,
    }
    return {"ack-disk-ratio": Figure(ack / sync_ms, n * ROUNDS, detail)}


async def _closed(url: str, bodies: list[bytes], connections: int) -> Answers:
    payloads = [request(url, method="POST", body=b) for b in bodies]
    return await closed_loop(url, payloads, connections=connections)


def _fdatasync_s(file: Path, n: int) -> float:
    took = []
    with file.open("wb", buffering=0) as out:
        for _ in range(n):
            out.write(b"x" * 500)
            began = time.perf_counter()
            os.fdatasync(out.fileno())
            took.append(time.perf_counter() - began)
    return median(took)


class _Echo:
    """A Starlette that reads a body and returns it, served as our facades are."""

    def __enter__(self) -> "_Echo":
        (port,) = ports.random_ports(1)
        self.url = f"http://127.0.0.1:{port}/"
        arguments = ["uvicorn", "tests.benchmarks.echo:app", "--port", str(port)]
        arguments += [
            "--loop",
            "uvloop",
            "--http",
            "httptools",
            "--no-access-log",
            "--log-level",
            "error",
        ]
        self._process = subprocess.Popen([sys.executable, "-m", *arguments])
        wait_until(lambda: ports.answers(port), timeout_s=20)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

import asyncio

import pytest

from services.collector.wal.disk import Disk
from shared.contracts.topics import BEHAVIOUR
from tests.component.collector.conftest import until


def views(n, start=0, people=5):
    return [
        {"id": f"e{i}", "anonid": f"a{i % people}", "data": {"action": "view_item", "items": [{"id": "p"}]}}
        for i in range(start, start + n)
    ]  # fmt: skip


def ids(service):
    return [dict(r.headers)["ce_id"].decode() for r in service.around.broker.records("behaviour")]


def in_order(service):
    """Whether each shopper's events lie in the order in which they were sent."""
    last = {}
    for e in service.published(BEHAVIOUR):
        n = int(e.id[1:])
        if last.get(e.anonid, -1) >= n:
            return False
        last[e.anonid] = n
    return True


async def test_a_broker_that_is_away_changes_nothing_for_senders(collector, around):
    """An outage of Kafka must cost the shop no event and no error page."""
    around.broker.down = True
    service = await collector(spool_segment_bytes=65_536, spool_memory_bytes=1 << 20)
    for start in range(0, 1000, 100):
        answer = await service.http.post("/v1/events", json=views(100, start))
        assert answer.status_code == 202
    receipt = (await service.http.get("/v1/receipts/e5")).json()
    assert (receipt["state"], receipt["durable"]) == ("spooled", True)
    assert (await service.http.get("/readyz")).status_code == 200
    asked = await service.http.post("/v1/events?ack=memory", json=views(1, 1000))
    assert asked.json()["ack"] == "memory"
    around.broker.down = False
    await until(lambda: len(ids(service)) == 1001, "catching up")
    assert sorted(ids(service)) == sorted(f"e{i}" for i in range(1001))
    assert in_order(service)


async def test_a_lost_acknowledgement_publishes_nothing_twice(collector):
    """An order counted twice because a packet got lost would be in every report."""
    service = await collector()
    for n in range(6):
        service.sink.lose_acks = n % 3
        await service.http.post("/v1/events", json=views(50, n * 50))
        await until(lambda: len(set(ids(service))) == (n + 1) * 50)  # noqa: B023
    answer = await service.http.post("/v1/events?ack=kafka", json=views(1, 300))
    assert answer.json()["ack"] == "kafka"
    assert sorted(ids(service)) == sorted(f"e{i}" for i in range(301))
    assert in_order(service)
    receipt = (await service.http.get("/v1/receipts/e120")).json()
    record = service.around.broker.log(
        service.around.broker.partitions("behaviour")[receipt["partition"]]
    )[receipt["offset"]]
    assert dict(record.headers)["ce_id"] == b"e120"


async def test_a_restart_knows_what_it_took_and_what_kafka_has(collector, around):
    """After a crash nothing may be lost, sent again, or taken for new."""
    service = await collector()
    await service.http.post("/v1/events", json=views(40))
    await until(lambda: len(ids(service)) == 40)
    around.broker.down = True
    await service.http.post("/v1/events", json=views(40, 40))
    await service.stop()
    service.stop = lambda: None
    around.broker.down = False
    again = await collector()
    answer = await again.http.post("/v1/events", json=views(90))
    assert (answer.json()["accepted"], answer.json()["duplicates"]) == (10, 80)
    await until(lambda: len(ids(again)) >= 90)
    assert sorted(ids(again)) == sorted(f"e{i}" for i in range(90))
    assert in_order(again)
    receipt = (await again.http.get("/v1/receipts/e3")).json()
    assert receipt["state"] == "published"


async def test_a_full_log_says_when_to_come_back_and_samples_views_first(collector, around):
    """Purchases must still fit when views have filled what there was."""
    around.broker.down = True
    service = await collector(spool_max_bytes=16 << 20)
    shed = accepted = 0
    padding = "x" * 4000
    sent = 0
    while True:
        batch = [{**v, "data": {**v["data"], "page": padding}} for v in views(200, sent, people=50)]
        sent += 200
        answer = await service.http.post("/v1/events", json=batch)
        if answer.status_code == 429:
            break
        body = answer.json()
        shed += body.get("shed", 0)
        accepted += body["accepted"]
        if body.get("shed", 0) > 150:
            break
    assert shed > 0
    purchase = {"id": "buy", "anonid": "a", "data": {"action": "purchase", "order_id": "o"}}
    if answer.status_code == 429:
        assert int(answer.headers["retry-after"]) >= 1
    else:
        assert (await service.http.post("/v1/events", json=purchase)).json()["accepted"] == 1
    around.broker.down = False
    await until(lambda: len(ids(service)) >= accepted)
    weights = [e.data.weight for e in service.published(BEHAVIOUR) if e.data.action == "view_item"]
    assert sum(weights) == pytest.approx(accepted + shed, rel=0.15)


async def test_an_unknown_receipt_says_unknown(collector):
    """A receipt for an event that never came would hide a loss."""
    service = await collector()
    answer = (await service.http.get("/v1/receipts/never")).json()
    assert answer == {"id": "never", "state": "unknown"}


async def test_a_full_disk_asks_to_come_back_and_loses_nothing(collector, monkeypatch):
    """A disk that others have filled must cost patience, not events."""
    service = await collector()
    await service.http.post("/v1/events", json=views(1))
    write = Disk.append

    def full(self, fd, blob):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Disk, "append", full)
    first = await service.http.post("/v1/events", json=views(10, 1))
    assert first.status_code == 503
    assert int(first.headers["retry-after"]) >= 1
    assert "No space left" in first.json()["detail"]
    assert (await service.http.get("/readyz")).status_code == 503
    monkeypatch.setattr(Disk, "append", write)
    while (answer := await service.http.post("/v1/events", json=views(10, 1))).status_code == 503:
        await asyncio.sleep(0.01)
    # They were accepted before the disk refused them, and written when it took them.
    assert answer.json()["duplicates"] == 10
    await until(lambda: len(ids(service)) == 11)
    assert sorted(ids(service)) == sorted(f"e{i}" for i in range(11))

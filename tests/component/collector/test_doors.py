import asyncio
import gzip
import json
from urllib.parse import quote

import pytest

from services.collector.wal.log import Log
from shared.contracts.topics import (
    BEHAVIOUR,
    BEHAVIOUR_REJECTED,
    CATALOG,
    ERASURES,
    IDENTITIES,
    ORDERS,
    SHOPPERS,
)
from tests.component.collector.conftest import until

VIEW = {"userid": "anna", "data": {"action": "view_item", "items": [{"id": "p1"}]}}


async def published(service, topic, n):
    return await until(
        lambda: (found := service.published(topic)) and len(found) >= n and found, topic.name
    )


async def test_an_event_reaches_its_topic_under_a_pseudonym(collector):
    """The shop's own user id must not get past the door, and the event must."""
    service = await collector()
    answer = await service.http.post("/v1/events", json={"id": "e1", **VIEW})
    assert answer.status_code == 202
    assert answer.json() == {"ack": "disk", "accepted": 1, "id": "e1"}
    (envelope,) = await published(service, BEHAVIOUR, 1)
    assert envelope.id == "e1"
    assert envelope.userid == service.ports.pseudonyms.of("anna")
    assert envelope.data.items[0].id == "p1"
    assert envelope.receivedat is not None
    (record,) = service.around.broker.records("behaviour")
    assert b"anna" not in record.value
    assert record.key == envelope.userid.encode()
    headers = dict(record.headers)
    assert headers["ce_id"] == b"e1"
    assert headers["ce_type"] == b"shoploop.behaviour.v1"
    assert headers["wal_seq"] == b"1"


@pytest.mark.parametrize("event_id", ["e1", "a:b c", "😀/x"])
async def test_a_repeat_is_acknowledged_and_not_published(collector, event_id):
    """A sender that tries again after a lost answer must not count its event twice."""
    service = await collector()
    for duplicates in (0, 1):
        answer = (await service.http.post("/v1/events", json={"id": event_id, **VIEW})).json()
        assert answer.get("duplicates", 0) == duplicates
    await service.http.post("/v1/events", json={"id": "last", **VIEW})
    await published(service, BEHAVIOUR, 2)
    assert [e.id for e in service.published(BEHAVIOUR)] == [event_id, "last"]
    receipt = (await service.http.get(f"/v1/receipts/{quote(event_id, safe='')}")).json()
    assert (receipt["state"], receipt["offset"]) == ("published", 0)


async def test_each_bad_event_is_named_and_the_good_are_taken(collector):
    """One misspelt event must not cost the batch, and its sender must learn which one it was."""
    service = await collector()
    batch = [
        {"id": "good", **VIEW},
        {"id": "bad", "userid": "anna", "data": {"action": "view_item", "items": [{"id": ""}]}},
        {"data": {"action": "page_view"}},
        {"id": "price", "userid": "a", "action": "view_item", "items": [{"id": "p", "price_cents": -1}]},
        {"id": "late", "time": "2099-01-01T00:00:00Z", **VIEW},
        {"id": "flat", "anonid": "x", "action": "search", "query": "milk"},
    ]  # fmt: skip
    answer = await service.http.post("/v1/events", json=batch)
    assert answer.status_code == 202
    body = answer.json()
    assert (body["accepted"], body["rejected"]) == (2, 4)
    assert {(e["index"], e["field"]) for e in body["errors"]} == {
        (1, "data.items[0].id"),
        (2, "userid"),
        (3, "items[0].price_cents"),
        (4, "time"),
    }
    rejected = await published(service, BEHAVIOUR_REJECTED, 4)
    assert {e.data.door for e in rejected} == {"/v1/events"}
    assert not any(b'"anna"' in e.data.original for e in rejected)
    receipt = (await service.http.get("/v1/receipts/bad")).json()
    assert (receipt["state"], receipt["topic"]) == ("rejected", "behaviour-rejected")
    assert "length >= 1" in receipt["reason"]
    corrected = await service.http.post("/v1/events", json={"id": "bad", **VIEW})
    assert corrected.json()["accepted"] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"userid": ""},
        {"userid": "牛" * 200},
        {"userid": "x" * 300},
        {"id": "y" * 70_000},
        {"time": "2026-05-04T12:00:00Z"},
        {"causedby": 5, "customer": "anna"},
    ],
)
async def test_an_event_that_is_refused_takes_no_other_along(collector, wrong):
    """The good events beside it would be known and nowhere: lost when the batch is sent again."""
    service = await collector()
    events = [{"id": "good", **VIEW}, {"id": "bad", **VIEW, **wrong}]
    body = {"sentat": "9999-12-31T00:00:00Z" if "time" in wrong else None, "events": events}
    answer = await service.http.post("/v1/events", json=body)
    assert answer.status_code == 202, answer.text
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (1, 1)
    (rejected,) = await published(service, BEHAVIOUR_REJECTED, 1)
    assert b"anna" not in rejected.data.original
    assert [e.id for e in await published(service, BEHAVIOUR, 1)] == ["good"]


async def test_a_batch_that_fails_is_new_when_it_is_sent_again(collector, monkeypatch):
    """What a fault of ours has kept out of the log would be taken for a repeat, and be lost."""
    service = await collector()
    batch = [{"id": "e1", **VIEW}, {"id": "e2", **VIEW}]
    with monkeypatch.context() as broken:
        broken.setattr(Log, "append", lambda log, records: 1 / 0)
        assert (await service.http.post("/v1/events", json=batch)).status_code == 500
    assert (await service.http.post("/v1/events", json=batch)).json()["accepted"] == 2


async def test_a_reason_quotes_no_more_than_it_needs(collector):
    """Reasons are kept in memory: twenty thousand of a megabyte each would end the process."""
    service = await collector()
    event = {"id": "e1", "anonid": "a", "data": {"action": "x" * 100_000}}
    answer = await service.http.post("/v1/events", json=event)
    assert answer.status_code == 422
    assert len(answer.content) < 2000
    receipt = (await service.http.get("/v1/receipts/e1")).json()
    assert receipt["state"] == "rejected"
    assert len(receipt["reason"]) <= 1000


async def test_a_refused_event_can_be_looked_up_by_the_id_it_was_given(collector):
    """An id in an answer must lead to a receipt, whatever became of the event."""
    service = await collector()
    late = {"time": "2099-01-01T00:00:00Z", **VIEW}
    answer = (await service.http.post("/v1/events", json=late)).json()
    assert answer["errors"][0]["id"] == answer["id"]
    receipt = (await service.http.get(f"/v1/receipts/{answer['id']}")).json()
    assert (receipt["state"], receipt["field"]) == ("rejected", "time")


@pytest.mark.parametrize(
    ("query", "ack"), [("?ack=memory", "memory"), ("?track=1", "disk"), ("?track=1&ack=", "disk")]
)
async def test_the_level_is_the_keys_unless_the_address_says_another(collector, query, ack):
    """A parameter of somebody else's that ends in the same letters would turn events away."""
    service = await collector()
    answer = await service.http.post(f"/v1/events{query}", json=VIEW)
    assert answer.json().get("ack") == ack, answer.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"nonsense", 400),
        (b'{"data": {"action": "view_item"', 400),
        (b'{"userid":"\xff\xfe","data":{"action":"page_view"}}', 422),
        (b"[" * 100_000, 400),
        (b"[" + b'{"anonid":"a","action":"page_view"},' * 3000 + b"1]", 400),
        (b"[]", 202),
        (b"17", 422),
        (b'{"userid":"u","data":{"action":"dance"}}', 422),
        (b'{"type":"shoploop.orders.v1","userid":"u","data":{"action":"page_view"}}', 422),
    ],
)
async def test_bad_input_gets_an_answer_that_says_why(collector, body, status):
    """Garbage must be turned away with a reason, and never end the process."""
    service = await collector()
    answer = await service.http.post("/v1/events", content=body)
    assert answer.status_code == status, answer.text
    if status != 202:
        assert "reason" in answer.text
    assert (await service.http.post("/v1/events", json=VIEW)).status_code == 202


async def test_a_packed_body_is_unpacked_within_the_limit(collector):
    """Segment's libraries send gzip; a bomb of zeros must not fill the memory."""
    service = await collector(max_body_bytes=10_000)
    packed = gzip.compress(json.dumps([VIEW] * 50).encode())
    assert (await service.http.post("/v1/events", content=packed)).json()["accepted"] == 50
    two = await service.http.post("/v1/events", content=packed + packed)
    assert two.status_code == 400, "half of what was sent would be dropped"
    bomb = gzip.compress(b" " * 5_000_000)
    assert (await service.http.post("/v1/events", content=bomb)).status_code == 413


async def test_catalogue_orders_and_identities_use_the_same_door(collector):
    """The shop's own facts deserve the same promise as its shoppers' clicks."""
    service = await collector()
    post = service.http.post
    product = {"id": "p1", "title": "Milk", "price_cents": 129, "currency": "EUR"}
    assert (await post("/v1/catalog", json=[product])).json()["accepted"] == 1
    assert (await service.http.put("/v1/catalog", json=product)).json()["accepted"] == 1
    assert (await service.http.delete("/v1/catalog/p1")).status_code == 202
    order = {"userid": "anna", "order_id": "o1", "status": "placed", "lines": [{"item_id": "p1"}]}
    assert (await post("/v1/orders", json=order)).json()["accepted"] == 1
    assert (await post("/v1/identities", json={"anonid": "a1", "user": "anna"})).status_code == 202
    (identity,) = await published(service, IDENTITIES, 1)
    assert identity.data.user == service.ports.pseudonyms.of("anna")
    assert [p.data.title for p in service.published(CATALOG)] == ["Milk", "Milk"]
    assert service.tombstones(CATALOG) == ["p1"]
    assert service.published(ORDERS)[0].data.order_id == "o1"


async def test_names_and_addresses_leave_only_encrypted(collector):
    """A log that holds an e-mail address in the clear cannot forget it."""
    service = await collector()
    person = {
        "user": "anna", "identifiers": {"email": "anna@example.org"},
        "traits": {"Phone": "0123", "tier": "gold"}, "consent": "analytics",
    }  # fmt: skip
    assert (await service.http.post("/v1/shoppers", json=person)).status_code == 202
    (shopper,) = await published(service, SHOPPERS, 1)
    assert shopper.data.traits == {"tier": "gold"}
    assert set(shopper.data.sealed) == {"email", "Phone"}
    assert shopper.data.consent == "analytics"
    user = service.ports.pseudonyms.of("anna")
    opened = await service.ports.vault.open(user, "email", shopper.data.sealed["email"])
    assert opened == "anna@example.org"
    await service.ports.vault.forget(user)
    answer = await service.http.post("/v1/shoppers", json=person)
    assert answer.status_code == 422
    assert "forgotten" in answer.json()["errors"][0]["reason"]


IDENTIFY = {"userId": "anna", "traits": {"tier": "gold"}}
ALIAS = {"userId": "anna", "previousId": "a7"}


@pytest.mark.parametrize(
    ("door", "said"),
    [
        ("/v1/shoppers", {"user": "anna", "traits": {"tier": "gold"}}),
        ("/v1/shoppers", {"user": "anna", "identifiers": {"email": "anna@example.org"}}),
        ("/v1/identities", {"anonid": "a7", "user": "anna"}),
        ("/v1/segment/identify", IDENTIFY),
        ("/v1/segment/alias", ALIAS),
    ],
)
async def test_nothing_more_is_learnt_of_who_was_forgotten(collector, door, said):
    """A nightly export of the shop must not bring back whom it had us forget yesterday."""
    service = await collector()
    await service.ports.vault.forget(service.ports.pseudonyms.of("anna"))
    answer = await service.http.post(door, json=said)
    assert answer.status_code == 422
    assert "new user id" in answer.json()["errors"][0]["reason"]
    (rejected,) = await published(service, BEHAVIOUR_REJECTED, 1)
    assert rejected.data.original == b""
    assert service.published(SHOPPERS) == service.published(IDENTITIES) == []
    # What others say is taken as before, and so is what the person does.
    bert = {"user": "bert", "traits": {"tier": "gold"}}
    assert (await service.http.post("/v1/shoppers", json=bert)).json()["accepted"] == 1
    assert (await service.http.post("/v1/events", json={**VIEW, "userid": "anna"})).is_success


async def test_the_shops_other_tools_speak_their_own_shapes(collector):
    """A shop that has GA4 or Segment must not rewrite its pages to be collected."""
    service = await collector()
    ga4 = {
        "client_id": "c1",
        "events": [{"name": "purchase", "params": {
            "transaction_id": "t1", "value": 12.34, "currency": "EUR",
            "items": [{"item_id": "p1", "price": 6.17, "quantity": 2}]}}, {"name": "scroll"}],
    }  # fmt: skip
    body = (await service.http.post("/v1/ga4", json=ga4)).json()
    assert (body["accepted"], body["ignored"]) == (1, 1)
    track = {"messageId": "m1", "anonymousId": "x", "event": "Product Added",
             "properties": {"product_id": "p1", "price": "1.50", "currency": "eur"}}  # fmt: skip
    assert (await service.http.post("/v1/segment/track", json=track)).json()["id"] == "m1"
    identify = {"messageId": "m2", "userId": "anna", "anonymousId": "x", "traits": {"plan": "pro"}}
    body = (await service.http.post("/v1/segment/batch", json={"batch": [
        {"type": "identify", **identify}, {"type": "group"}, {"type": "page", "userId": "anna"}
    ]})).json()  # fmt: skip
    assert (body["accepted"], body["ignored"]) == (3, 1)
    behaviour = await published(service, BEHAVIOUR, 3)
    by_action = {e.data.action: e.data for e in behaviour}
    assert by_action["purchase"].value_cents == 1234
    assert by_action["purchase"].items[0].price_cents == 617
    assert by_action["add_to_cart"].items[0].price_cents == 150
    assert "page_view" in by_action
    await published(service, IDENTITIES, 1)
    assert (await published(service, SHOPPERS, 1))[0].data.traits == {"plan": "pro"}
    assert (await service.http.post("/v1/segment/nonsense", json={})).status_code == 404


async def test_browsers_are_scored_and_cannot_claim_to_be_human(collector):
    """A crawler that trains the recommender decides what people see."""
    service = await collector()
    page = service.client("events")
    event = {"anonid": "a", "data": {"action": "page_view", "bot": 0.0, "weight": 50}}
    for agent in ("Mozilla/5.0 (X11)", "Googlebot/2.1"):
        answer = await page.post("/v1/beacon", content=json.dumps(event), headers={
            "user-agent": agent, "content-type": "text/plain"})  # fmt: skip
        assert answer.status_code == 202
    image = await page.get("/v1/pixel.gif?action=view_item&item=p1&item=p2&anonid=a")
    assert image.headers["content-type"] == "image/gif"
    sent = await published(service, BEHAVIOUR, 3)
    scores = {e.source: e.data.bot for e in sent if e.source == "/v1/beacon"}
    assert max(e.data.bot for e in sent if e.source == "/v1/beacon") == 0.99
    assert scores
    assert {e.data.weight for e in sent} == {1.0}
    assert [i.id for e in sent if e.source == "/v1/pixel.gif" for i in e.data.items] == ["p1", "p2"]
    assert (await page.post("/v1/orders", json={})).status_code == 403
    assert (await page.post("/v1/catalog", json={})).status_code == 403


async def test_global_privacy_control_is_kept_with_the_event(collector):
    """A shopper's signal is law in some places and must reach every consumer."""
    service = await collector()
    headers = {"sec-gpc": "1"}
    await service.http.post("/v1/events", json={**VIEW, "id": "1"}, headers=headers)
    await service.http.post(
        "/v1/events", json={**VIEW, "id": "2", "consent": "all"}, headers=headers
    )
    await service.http.post("/v1/events", json={**VIEW, "id": "3"})
    consents = {e.id: e.consent for e in await published(service, BEHAVIOUR, 3)}
    assert consents == {"1": "analytics", "2": "analytics personalisation", "3": None}


async def test_a_person_is_forgotten_at_this_door(collector, around):
    """A shop must be able to carry out what a person has a right to, and see it done."""
    service = await collector()
    user = service.ports.pseudonyms.of("anna")
    await service.ports.vault.seal(user, "email", "anna@example.org")
    await service.http.post("/v1/identities", json={"anonid": "a1", "user": "anna"})
    await published(service, IDENTITIES, 1)
    answer = await service.http.post("/v1/erasures", json={"user": "anna"})
    assert answer.status_code == 202
    assert answer.json()["anonids"] == 1
    assert service.tombstones(IDENTITIES) == ["a1"]
    (request,) = await published(service, ERASURES, 1)
    assert (request.data.user, request.data.service) == (user, None)


async def test_what_lies_in_the_log_does_not_come_behind_the_tombstones(collector):
    """Who was just recognised and then forgotten would be known again for good."""
    service = await collector()
    service.sink.takes.clear()
    await service.http.post("/v1/identities", json={"anonid": "a1", "user": "anna"})
    asked = service.http.post("/v1/erasures", json={"user": "anna"})
    forgetting = asyncio.create_task(asked)
    await asyncio.wait({forgetting}, timeout=0.5)
    service.sink.takes.set()
    assert (await forgetting).json()["anonids"] == 1
    assert service.tombstones(IDENTITIES) == ["a1"]


async def test_a_user_agent_is_kept_no_longer_than_it_tells_something(collector, monkeypatch):
    """Four thousand agents of a megabyte each in a cache would end the process."""
    looked_at = []
    monkeypatch.setattr(
        "services.collector.intake.agent_score", lambda agent: looked_at.append(agent) or 0.0
    )
    service = await collector()
    page = service.client("events")
    headers = {"user-agent": "Mozilla/5.0 " + "x" * 50_000}
    assert (await page.post("/v1/events", json=VIEW, headers=headers)).status_code == 202
    assert len(looked_at[0]) <= 512

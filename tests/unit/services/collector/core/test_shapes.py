import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector.core import ga4, pixel, segment
from services.collector.core.decode import Shape
from services.collector.core.money import cents
from services.collector.core.people import Claim, Person
from services.collector.core.redact import redacted
from shared.contracts.errors import Invalid
from shared.contracts.events import Behaviour, Product, Touched
from shared.runtime.privacy import HmacPseudonyms

NATIVE = Shape(Behaviour, most=10, of_person=True)
VIEW = {"action": "view_item", "items": [{"id": "p1"}]}


def facts(parsed):
    return [(i, e.data) for i, e in parsed.events]


@pytest.mark.parametrize(
    "body",
    [
        {"userid": "u", "data": VIEW},
        {"userid": "u", **VIEW},
        [{"userid": "u", "data": VIEW}],
        {"events": [{"userid": "u", "data": VIEW}]},
        {"events": [{"userid": "u", **VIEW}], "sentat": "2026-01-01T00:00:00Z"},
    ],
)
def test_one_fact_in_every_native_shape(body):
    """Documentation shows the short shape, libraries send the long one; both must mean the same."""
    parsed = NATIVE.parse(json.dumps(body).encode())
    assert facts(parsed) == [(0, Behaviour(action="view_item", items=(Touched(id="p1"),)))]
    assert parsed.events[0][1].userid == "u"
    assert parsed.faults == []
    assert (parsed.sent_at is not None) == (isinstance(body, dict) and "sentat" in body)


def test_faults_keep_place_and_id_and_the_rest_is_read():
    """A batch with one bad event must name it, and lose no other."""
    body = [{"id": "a", "anonid": "x", "data": VIEW}, {"id": "b", "data": {"action": 1}}, 3]
    parsed = NATIVE.parse(json.dumps(body).encode())
    assert [i for i, _ in parsed.events] == [0]
    assert [(f.index, f.id) for f in parsed.faults] == [(1, "b"), (2, None)]
    assert json.loads(parsed.faults[0].original) == body[1]


@pytest.mark.parametrize(
    ("name", "ours"),
    [("user", "userid"), ("user_id", "userid"), ("userID", "userid"), ("anonymousId", "anonid")],
)
@pytest.mark.parametrize("around", [lambda e: e, lambda e: [e], lambda e: {"events": [e]}])
def test_a_person_by_another_name_is_a_fault(name, ours, around):
    """A shop that misspells the field would collect nobody's events for weeks."""
    for event in ({name: "u", "data": VIEW}, {name: "u", **VIEW}):
        parsed = NATIVE.parse(json.dumps(around(event)).encode())
        assert parsed.events == []
        assert [fault.field for fault in parsed.faults] == [name]
        assert ours in parsed.faults[0].reason


@pytest.mark.parametrize(
    ("wrong", "field"), [({"sentat": "yesterday"}, "sentat"), ({"events": "none"}, "events")]
)
def test_what_is_wrong_with_a_batch_as_a_whole_is_named(wrong, field):
    """Its sender would be told that an event lacks its action, and look for it in all of them."""
    batch = {"events": [{"anonid": "a", **VIEW}], **wrong}
    with pytest.raises(Invalid) as caught:
        NATIVE.parse(json.dumps(batch).encode())
    assert caught.value.field == field


def test_a_list_is_a_list_however_far_it_is_set_in():
    """A pretty printer's blanks must not turn a hundred events into one that is no object."""
    parsed = NATIVE.parse(b" " * 300 + json.dumps([{"anonid": "a", **VIEW}]).encode())
    assert len(parsed.events) == 1


def test_nobodys_event_is_taken():
    """A shopper who refused all ids still counts for what is popular."""
    parsed = NATIVE.parse(json.dumps([VIEW, {"userid": "u", **VIEW}]).encode())
    assert [event.userid for _, event in parsed.events] == [None, "u"]


def test_a_products_id_is_not_the_events():
    """Else the second update of a product would be taken for a repeat of the first."""
    shape = Shape(Product, most=10, flat=False)
    ((_, bare),) = shape.parse(b'{"id":"p1","title":"Milk"}').events
    assert (bare.id, bare.data.id) == (None, "p1")
    ((_, full),) = shape.parse(b'{"id":"e1","data":{"id":"p1","title":"Milk"}}').events
    assert (full.id, full.data.id) == ("e1", "p1")


@given(st.binary(max_size=200))
def test_no_bytes_end_the_reader(body):
    """One strange body must not take the process down with everything it holds."""
    for read in (
        NATIVE.parse,
        lambda b: ga4.parse(b, most=10),
        lambda b: segment.parse(b, "batch", most=10),
        lambda b: segment.parse(b, "track", most=10),
    ):
        try:
            parsed = read(body)
        except Invalid:
            continue
        assert len(parsed.faults) <= parsed.size


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda x: st.lists(x, max_size=3) | st.dictionaries(
                        st.sampled_from(["events", "name", "params", "items", "data", "batch"]), x)))  # fmt: skip
def test_no_json_ends_the_reader(value):
    """What is JSON and no event must be a fault too."""
    test_no_bytes_end_the_reader.hypothesis.inner_test(json.dumps(value).encode())


def test_ga4_purchase_worked_out_by_hand():
    """GA4 counts in units of the currency, shoploop in minor units."""
    payload = {
        "client_id": "c.1", "user_id": "anna", "timestamp_micros": "1700000000000000",
        "consent": {"ad_personalization": "DENIED"},
        "events": [
            {"name": "purchase", "params": {
                "transaction_id": "t1", "value": 30.03, "currency": "EUR", "session_id": 17,
                "event_id": "e1", "items": [
                    {"item_id": "p1", "price": 10.01, "quantity": 3, "index": 2},
                    {"item_name": "only a name"}]}},
            {"name": "user_engagement"}, {"name": "level_up"},
            {"name": "view_item", "params": {"items": [{}]}},
            {"name": "purchase", "params": {"value": -1, "currency": "EUR"}},
        ],
    }  # fmt: skip
    parsed = ga4.parse(json.dumps(payload).encode(), most=10)
    ((_, event),) = parsed.events
    assert (event.id, event.userid, event.anonid, event.sessionid) == ("e1", "anna", "c.1", "17")
    assert event.time == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert event.consent == "analytics personalisation"
    assert event.data == Behaviour(
        action="purchase", order_id="t1", value_cents=3003, currency="EUR",
        items=(Touched(id="p1", quantity=3, price_cents=1001, position=2), Touched(id="only a name")),
    )  # fmt: skip
    assert parsed.ignored == 1
    assert [(f.index, f.field) for f in parsed.faults] == [
        (2, "name"),
        (3, "params.items[0]"),
        (4, "params.value"),
    ]


def test_segment_worked_out_by_hand():
    """A shop on Segment changes one address and must get the same events."""
    batch = {
        "sentAt": "2026-05-04T12:00:00Z",
        "batch": [
            {"type": "track", "messageId": "m1", "anonymousId": "a", "userId": 42,
             "event": "Order Completed", "timestamp": "2026-05-04T11:59:59.5Z",
             "properties": {"order_id": "o1", "total": 1999, "currency": "JPY",
                            "products": [{"product_id": 7, "price": "999.5"}]}},
            {"type": "identify", "messageId": "m2", "userId": "anna", "anonymousId": "a",
             "traits": {"email": "a@b.c", "plan": "pro", "age": 3, "address": {"city": "Bonn"}}},
            {"type": "alias", "previousId": "b", "userId": "anna"},
            {"type": "track", "event": "Song Played", "userId": "anna"},
            {"type": "identify", "anonymousId": "a"},
        ],
    }  # fmt: skip
    parsed = segment.parse(json.dumps(batch).encode(), "batch", most=10)
    (_, order), (_, person), (_, claim), (_, alias) = parsed.events
    assert order.userid == "42"
    assert order.data == Behaviour(
        action="purchase", order_id="o1", value_cents=1999, currency="JPY",
        items=(Touched(id="7", price_cents=1000),),
    )  # fmt: skip
    assert isinstance(person.data, Person)
    assert person.data.parted() == (
        {"email": "a@b.c", "address": "Bonn"},
        {"plan": "pro", "age": 3},
    )
    assert (claim.id, claim.data) == ("m2/identity", Claim(anonid="a", user="anna"))
    assert alias.data == Claim(anonid="b", user="anna")
    assert [f.index for f in parsed.faults] == [3, 4]
    assert parsed.sent_at == datetime(2026, 5, 4, 12, tzinfo=UTC)


def test_a_pixel_says_what_its_query_says():
    """Mails and old browsers can send nothing but an address."""
    ((_, event),) = pixel.parse(b"action=search&query=milk&anonid=a&seq=3&key=pk_x").events
    assert (event.anonid, event.seq, event.data.query) == ("a", 3, "milk")
    assert [f.field for f in pixel.parse(b"action=dance&anonid=a").faults] == ["data.action"]


@pytest.mark.parametrize(
    "query", ["query=牛奶&item=茶".encode(), b"query=%E7%89%9B%E5%A5%B6&item=%E8%8C%B6"]
)
def test_a_pixels_text_is_utf_8_escaped_or_not(query):
    """A search for milk in Chinese must be learnt as that, not as six characters of nothing."""
    ((_, event),) = pixel.parse(b"action=search&anonid=a&" + query).events
    assert (event.data.query, event.data.items[0].id) == ("牛奶", "茶")


@pytest.mark.parametrize("query", [b"%C5%A3%C4%CC", "牛奶".encode("gbk")])
def test_a_pixel_of_an_old_page_is_told_that_its_text_is_not_utf_8(query):
    """A page in GBK sends its own bytes; taken for UTF-8 every search of it becomes question marks."""
    with pytest.raises(Invalid, match="UTF-8"):
        pixel.parse(b"action=search&anonid=a&query=" + query)


def test_a_refused_pixel_keeps_no_user_id():
    """An address names people as an event does, and is kept as long."""
    (fault,) = pixel.parse(b"action=dance&userid=anna&id=e1").faults
    kept, _ = redacted(fault.original, lambda user: f"<{user}>")
    assert fault.id == "e1"
    assert b'"userid":"<anna>"' in kept


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [(1, "EUR", 100), ("0.29", "EUR", 29), (19.99, None, 1999), (500, "JPY", 500),
     (1.234, "KWD", 1234), (None, "EUR", None), ("", "EUR", None), (0, "EUR", 0)],
)  # fmt: skip
def test_money_in_minor_units(amount, currency, expected):
    """A float's error or a currency without cents must not change a price."""
    assert cents(amount, currency, field="price") == expected


@pytest.mark.parametrize("amount", [-0.01, "abc", float("inf"), float("nan"), 1e30])
def test_what_is_no_price_is_refused(amount):
    """A negative revenue would be subtracted from every report."""
    with pytest.raises(Invalid):
        cents(amount, "EUR", field="price")


@pytest.mark.parametrize(
    ("original", "kept"),
    [
        (b'{"userid":"anna","x":1}', b'{"userid":"PSEUDO","x":1}'),
        (b'{"user_id" : 42}', b'{"user_id" : "PSEUDO"}'),
        (b'{"userId":"an\\"na", broken', b'{"userId":"PSEUDO", broken'),
        (b'{"user":"anna', b'{"user":"PSEUDO"'),
        (b'{"anonid":"a","userid":null}', b'{"anonid":"a","userid":null}'),
        (
            b'{"Customer-ID":"anna","uid":-7,"x":1}',
            b'{"Customer-ID":"PSEUDO","uid":"PSEUDO","x":1}',
        ),
        (b'{"userid":["anna",["bert"]],"x":1}', b'{"userid":"PSEUDO"'),
        (b'{"userid":"' + b"anna" * 1000 + b'"}', b'{"userid":"PSEUDO"}'),
    ],
)
def test_rejected_bytes_hold_no_user_id(original, kept):
    """What could not be read is kept for thirty days, and must not name people meanwhile."""
    assert redacted(original, lambda user: "PSEUDO") == (kept, False)


def test_a_rejected_users_pseudonym_is_the_one_of_their_other_events():
    """Who looks for a person's rejected events would miss those of a sender that escapes its JSON."""
    kept, _ = redacted(b'{"userid":"\\u5f20\\"\\u4e09"}', lambda user: user)
    assert kept.decode() == '{"userid":"张"三"}'


@pytest.mark.parametrize("user", ["", " ", "x" * 300])
def test_an_id_that_has_no_pseudonym_is_left_out(user):
    """An event that is refused for its user id would end the request, and lose the others with it."""
    original = json.dumps({"userid": user, "x": 1}).encode()
    kept, _ = redacted(original, HmacPseudonyms(b"k" * 32).of)
    assert kept == b'{"userid": "", "x": 1}'


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("track", {"event": "Product Added", "properties": {"product_id": 10**300}}),
        ("track", {"event": "Product Added", "properties": {"products": [{"sku": 10**300}]}}),
        ("page", {"context": {"sessionId": 10**300}}),
        ("identify", {"traits": {"points": 10**400}}),
        ("identify", {"traits": {"locale": "x" * 513}}),
    ],
)
def test_what_no_consumer_could_read_is_refused_at_the_door(kind, said):
    """A record beyond its contract is taken, acknowledged, and then thrown away by every reader."""
    message = {"userId": "anna", **said}
    parsed = segment.parse(json.dumps(message).encode(), kind, most=10)
    assert (len(parsed.events), len(parsed.faults)) == (0, 1)

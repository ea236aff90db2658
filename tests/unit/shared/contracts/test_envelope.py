"""The envelope is what every record in Kafka looks like."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts import events as ev
from shared.contracts.envelope import MAX_BYTES, Envelope, decode, encode, header, headers_of, utc
from shared.contracts.errors import Invalid
from shared.contracts.topics import BEHAVIOUR, ERASURES, MODELS, NO_KEY, wrap

SEEN = ev.Behaviour(action="view_item", items=(ev.Touched("sku:1 😀"),))


def envelope(**attributes: object) -> Envelope[ev.Behaviour]:
    given = {"id": "1", "source": "test", "time": utc(1_700_000_000.25)} | attributes
    return wrap(BEHAVIOUR, SEEN, **given)


def test_the_value_is_a_cloudevent_that_any_tool_reads() -> None:
    """A shop's own consumer, which knows nothing of us, must be able to read our topics."""
    value = json.loads(encode(envelope(userid="u1")))
    assert value == {
        "specversion": "1.0",
        "datacontenttype": "application/json",
        "id": "1",
        "source": "test",
        "type": "shoploop.behaviour.v1",
        "time": "2023-11-14T22:13:20.250000Z",
        "dataschema": "/schemas/shoploop.behaviour.v1.json",
        "userid": "u1",
        "data": {"action": "view_item", "items": [{"id": "sku:1 😀"}]},
    }


@given(
    st.text(min_size=1, max_size=50),
    st.integers(0, 2**32).map(utc),
    st.none() | st.text(min_size=1, max_size=40),
)
def test_decoding_undoes_encoding(event_id: str, time: datetime, userid: str | None) -> None:
    """What a producer says is what each consumer hears, for all ids and times."""
    sent = envelope(id=event_id, time=time, userid=userid)
    assert decode(encode(sent), ev.Behaviour) == sent


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"", "truncated"),
        (b"\xff\xfe", "malformed"),
        (b'{"id":"1"}', "missing required field"),
        (b"[" * 100_000, "Expected|recursion"),
        (
            b'{"id":"1","source":"s","type":"t","time":"2024-01-01T00:00:00","data":{"action":"search"}}',
            "offset",
        ),
        (
            b'{"id":"1","source":"s","type":"t","time":"2024-01-01T00:00:00Z","data":{"action":"dance"}}',
            "data.action",
        ),
    ],
)
def test_bytes_that_are_no_event_are_invalid(value: bytes, says: str) -> None:
    """A poison record must become a dead letter with a reason, never a crash of the consumer."""
    with pytest.raises(Invalid, match=says):
        decode(value, ev.Behaviour)


def test_an_event_too_large_for_a_record_is_refused_before_it_is_sent() -> None:
    """Otherwise the broker refuses it after the sender was told that all is well."""
    huge = wrap(
        BEHAVIOUR,
        ev.Behaviour(action="search", query="x" * MAX_BYTES),
        id="1",
        source="s",
        time=utc(0),
    )
    with pytest.raises(Invalid, match="at most"):
        encode(huge)


def test_other_offsets_mean_the_same_moment() -> None:
    """A shop in China sends +08:00; windows must not shift by eight hours."""
    local = datetime(2026, 1, 1, 8, tzinfo=timezone(timedelta(hours=8)))
    assert (
        decode(encode(envelope(time=local)), ev.Behaviour).time_s
        == datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    )


def test_headers_carry_what_tools_route_by() -> None:
    """Dead-letter tools find an event's id without parsing a value that may be broken."""
    headers = headers_of(envelope(traceparent="00-a-b-01"))
    assert header(headers, "ce_id") == b"1"
    assert header(headers, "ce_type") == b"shoploop.behaviour.v1"
    assert header(headers, "traceparent") == b"00-a-b-01"
    assert header(headers, "absent") is None


def test_keys_keep_one_shopper_in_one_partition() -> None:
    """Order exists per partition only; the user wins over the anonymous id."""
    assert BEHAVIOUR.key_of(envelope(userid="u", anonid="a")) == "u"
    assert BEHAVIOUR.key_of(envelope(anonid="a")) == "a"
    assert BEHAVIOUR.key_of(envelope()) == NO_KEY


def test_an_answer_to_an_erasure_does_not_overwrite_the_request() -> None:
    """The topic is compacted: an answer under the request's key would lose the request."""
    asked = wrap(ERASURES, ev.Erasure(user="u"), id="1", source="s", time=utc(0))
    answer = wrap(
        ERASURES, ev.Erasure(user="u", service="trainer"), id="2", source="s", time=utc(0)
    )
    assert ERASURES.key_of(asked) == "u"
    assert ERASURES.key_of(answer) == "u/trainer"


def test_no_fact_about_a_release_hides_another() -> None:
    """Compaction would leave that a replica loaded a release, and drop that it was promoted."""
    facts = [
        ev.ReleaseChanged(model=model, version=version, change=change, replica=replica)  # type: ignore[arg-type]
        for model in ("recommend", "ratings")
        for version in ("1", "2")
        for change, replica in (
            ("promoted", None), ("taken_back", None), ("loaded", "a"), ("loaded", "b"), ("rejected", "a"),
        )
    ]  # fmt: skip
    keys = {MODELS.key_of(wrap(MODELS, fact, id="1", source="s", time=utc(0))) for fact in facts}
    assert len(keys) == len(facts)

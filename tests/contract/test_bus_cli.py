"""What an operator types, against a real broker."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import typer
from typer.testing import CliRunner, Result

from shared.contracts.service import Service
from shared.contracts.topics import BEHAVIOUR, MODELS, ORDERS, TOPICS
from shared.runtime.bus import admin, groups
from shared.runtime.bus.kafka import KafkaBus
from shared.runtime.bus.port import Record
from shared.runtime.clock import SystemClock
from shared.tools.cli import topics
from shared.tools.local.services import names

Run = Callable[..., Result]


@pytest.fixture
def run(kafka_address: str) -> Run:
    root = typer.Typer()
    topics.mount(root)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(root, [*arguments], env={"SHOPLOOP_KAFKA": kafka_address})

    return run


@pytest.mark.kafka
def test_topics_are_created_and_then_as_declared(run: Run) -> None:
    """The first thing that an installation does, and what its check says ever after."""
    assert run("topics", "create").exit_code == 0
    again = run("topics", "create")
    assert (again.exit_code, "nothing was missing" in again.output) == (0, True)
    assert run("topics", "check").exit_code == 0
    drifts = run("topics", "check", "--production", "--json")
    assert drifts.exit_code == topics.DIFFERS
    problems = [d["problem"] for d in json.loads(drifts.stdout) if d["topic"] == "orders"]
    assert "has 3 partitions, 12 are declared" in problems


def test_the_declared_topics_are_listed_with_their_readers() -> None:
    """Who must be asked before an event changes."""
    root = typer.Typer()
    topics.mount(root)
    shown = CliRunner().invoke(root, ["topics", "list", "--json"])
    rows = {row["topic"]: row for row in json.loads(shown.stdout)}
    assert set(rows) == set(TOPICS)
    assert "recommender" in rows["behaviour"]["read by"]
    assert CliRunner().invoke(root, ["topics"]).exit_code == 0


@pytest.mark.kafka
def test_lag_names_the_groups_of_all_services(run: Run) -> None:
    """A service that never started would be missing exactly when its lag matters."""
    run("topics", "create")
    shown = run("lag", "--json")
    assert shown.exit_code == 0
    rows = json.loads(shown.stdout)
    assert {"recommender", "trainer"} <= {row["group"] for row in rows}
    assert {"seconds", "records", "committed", "end"} <= rows[0].keys()
    assert run("lag", "recommender").exit_code == 0
    unknown = run("lag", "茶/😀")
    assert (unknown.exit_code, "trainer" in unknown.output) == (1, True)


def test_a_topic_that_is_read_in_another_group_is_not_reported_as_unread() -> None:
    """The lag of a group that never was would be an alarm for ever."""

    def lag(group: str, topic: str, committed: int | None, partition: int = 0) -> groups.Lag:
        return groups.Lag(group, topic, partition, 0, committed, 9, None)

    lake = [lag("trainer-lake", "a", 9), lag("trainer-lake", "a", None, 1)]
    own = [lag("trainer", "b", 9), lag("trainer", "c", None)]
    assert [*topics._of_readers([lag("trainer", "a", None), *lake, *own])] == [*lake, *own]


@pytest.mark.kafka
def test_a_replay_needs_one_wish_and_says_what_it_did(run: Run) -> None:
    """An operator at three in the morning must not skip or repeat by a slip."""
    run("topics", "create")
    group = f"recommender-{uuid4().hex[:8]}"
    for wrong in (
        (),
        ("--from-start", "--to-end"),
        ("--offset", "4"),
        ("--since", "yesterday"),
    ):
        assert run("replay", group, ORDERS.name, *wrong).exit_code == 2
    dry = run("replay", group, ORDERS.name, "--since", "2d", "--dry-run")
    assert (dry.exit_code, "nothing was changed" in dry.output) == (0, True)
    done = run("replay", group, ORDERS.name, "--from-start")
    assert (done.exit_code, "orders/0" in done.output) == (0, True)
    missing = run("replay", group, "no-topic", "--from-start")
    assert (missing.exit_code, "no topic 'no-topic'" in missing.output) == (1, True)
    for slip in (("recomender", ORDERS.name), (group, MODELS.name)):
        refused = run("replay", *slip, "--from-start")
        assert (refused.exit_code, "recommender" in refused.output) == (1, True)


@pytest.mark.kafka
async def test_dead_letters_are_listed_without_contents_and_sent_back(
    run: Run, kafka_address: str
) -> None:
    """The reasons are for everybody's eyes; what shoppers did is not."""
    service = Service(f"svc-{uuid4().hex[:8]}", "", ())
    await asyncio.to_thread(
        admin.ensure_topics, kafka_address, admin.wanted_of(service.name, production=False)
    )
    bus = KafkaBus(kafka_address, service, clock=SystemClock())
    for n in range(3):
        record = Record(BEHAVIOUR.name, 0, n, b"ann", b"secret", (), 0)
        await bus.dead_letter(record, reason=f"wrong {n % 2}", attempt=1)
    await bus.close()
    shown = await asyncio.to_thread(run, "dlq", "list", service.name, "--json")
    assert [row["reason"] for row in json.loads(shown.stdout)] == ["wrong 0", "wrong 1", "wrong 0"]
    assert "secret" not in shown.output
    table = await asyncio.to_thread(run, "dlq", "list", service.name)
    assert "2 × wrong 0" in table.output
    some = await asyncio.to_thread(run, "dlq", "redrive", service.name, "--reason", "wrong 1")
    assert "1 sent back" in some.output
    rest = await asyncio.to_thread(run, "dlq", "redrive", service.name)
    assert "3 sent back" in rest.output
    again = await asyncio.to_thread(run, "dlq", "redrive", service.name)
    assert "0 sent back" in again.output
    nobody = await asyncio.to_thread(run, "dlq", "list", "nobody")
    assert (nobody.exit_code, "nobody-dlq" in nobody.output) == (1, True)


@pytest.mark.parametrize(
    ("text", "ago"), [("90s", 90), ("15m", 900), ("6h", 21_600), ("2d", 172_800)]
)
def test_an_age_is_taken_from_now(text: str, ago: int) -> None:
    """Six hours that meant six minutes would leave a bad release's effects in place."""
    expected = datetime.now(UTC) - timedelta(seconds=ago)
    assert abs(topics._moment(text) - expected) < timedelta(seconds=5)


def test_a_time_is_utc_unless_it_says_otherwise() -> None:
    """The hours between here and Greenwich would be replayed too much, or too little."""
    assert topics._moment("2026-01-31T08:00") == datetime(2026, 1, 31, 8, tzinfo=UTC)
    assert topics._moment("2026-01-31T08:00+08:00") == datetime(2026, 1, 31, 0, tzinfo=UTC)


def test_every_service_of_the_checkout_is_known() -> None:
    """A service whose own topics nobody creates never starts."""
    wanted = {w.name for w in admin.wanted_by(names(), production=False)}
    assert {"collector-dlq", "recommender-dlq", "trainer-redrive", "behaviour"} <= wanted

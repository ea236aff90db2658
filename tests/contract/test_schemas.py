"""The generated schemas: they hold for what is written, are up to date, and refuse what breaks."""

import copy
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from shared.contracts import schema
from shared.contracts.compatibility import breaks
from shared.contracts.envelope import decode
from shared.contracts.examples import EXAMPLES
from shared.contracts.topics import BEHAVIOUR, ITEM_ACTIVITY, SHOPPERS, TOPICS, Topic
from shared.tools.cli import schemas
from shared.tools.local import services
from shared.tools.local.paths import CHECKOUT

ALL = list(TOPICS.values())


def named(topic: Topic[Any]) -> str:
    """Name a parameter after the topic."""
    return topic.name


@pytest.mark.parametrize("topic", ALL, ids=named)
def test_an_example_holds_for_code_and_schema(topic: Topic[Any]) -> None:
    """If this fails, a client written after the schema sends what the collector refuses."""
    document = schema.schema_of(topic)
    jsonschema.Draft202012Validator.check_schema(document)
    validator = jsonschema.Draft202012Validator(document)
    envelope = decode(EXAMPLES[topic.name], topic.event)
    assert envelope.type == topic.type
    assert topic.key_of(envelope)
    validator.validate(json.loads(EXAMPLES[topic.name]))
    wrong = json.loads(EXAMPLES[topic.name])
    del wrong["data"]
    assert not validator.is_valid(wrong)


def test_every_topic_has_an_example() -> None:
    """If this fails, a topic's records are described by nothing that was ever tried."""
    assert EXAMPLES.keys() == TOPICS.keys()


def test_the_files_are_up_to_date() -> None:
    """If this fails, run `shoploop schemas`: clients read another schema than the code."""
    stale = [p.name for p, text in schemas.documents(CHECKOUT).items() if p.read_text() != text]
    assert stale == []
    there = {p.name for p in (CHECKOUT / schemas.FOLDER).iterdir()}
    assert there == {f"{topic.type}.json" for topic in ALL}


@pytest.mark.parametrize("commit", ["HEAD", "HEAD~1"])
def test_nothing_breaks_what_was_committed(commit: str) -> None:
    """If this fails, records that are already in Kafka cannot be read any more."""
    assert list(schemas.incompatible(CHECKOUT, commit)) == []


def _data(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["$defs"][name]
    return found


def _gain(document: dict[str, Any]) -> None:
    _data(document, "Behaviour")["properties"]["mood"] = {"type": "string"}


def _widen(document: dict[str, Any]) -> None:
    _data(document, "Behaviour")["properties"]["action"]["enum"].append("try_on")
    _data(document, "Touched")["properties"]["quantity"]["maximum"] *= 10
    _data(document, "Touched")["properties"]["quantity"]["type"] = "number"


def _lose(document: dict[str, Any]) -> None:
    del _data(document, "Behaviour")["properties"]["query"]


def _demand(document: dict[str, Any]) -> None:
    _data(document, "Behaviour")["required"].append("page")


def _relax(document: dict[str, Any]) -> None:
    _data(document, "Touched")["required"].remove("id")


def _retype(document: dict[str, Any]) -> None:
    _data(document, "Touched")["properties"]["id"] = {"type": "integer"}


def _to_integer(document: dict[str, Any]) -> None:
    _data(document, "Behaviour")["properties"]["weight"]["type"] = "integer"


def _drop_a_choice(document: dict[str, Any]) -> None:
    _data(document, "Behaviour")["properties"]["action"]["enum"].remove("purchase")


def _tighten(document: dict[str, Any]) -> None:
    _data(document, "Touched")["properties"]["id"]["maxLength"] = 16


def _raise_the_floor(document: dict[str, Any]) -> None:
    _data(document, "Touched")["properties"]["quantity"]["minimum"] = 2


def _fewer_items(document: dict[str, Any]) -> None:
    _data(document, "Behaviour")["properties"]["items"]["maxItems"] = 20


def _not_null(document: dict[str, Any]) -> None:
    document["properties"]["userid"] = {"type": "string"}


def _another_pattern(document: dict[str, Any]) -> None:
    branches = _data(document, "Behaviour")["properties"]["currency"]["anyOf"]
    next(b for b in branches if "pattern" in b)["pattern"] = "^[a-z]{3}$"


Change = Callable[[dict[str, Any]], None]


@pytest.mark.parametrize("change", [_gain, _widen], ids=lambda c: c.__name__)
def test_what_only_adds_is_allowed(change: Change) -> None:
    """If this fails, an event cannot grow without a new version."""
    old = schema.schema_of(BEHAVIOUR)
    new = copy.deepcopy(old)
    change(new)
    assert new != old
    assert breaks(old, new) == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (_lose, "$.data.query"),
        (_demand, "$.data.page"),
        (_relax, "$.data.items[].id"),
        (_retype, "$.data.items[].id"),
        (_to_integer, "$.data.weight"),
        (_drop_a_choice, "$.data.action"),
        (_tighten, "$.data.items[].id"),
        (_raise_the_floor, "$.data.items[].quantity"),
        (_fewer_items, "$.data.items"),
        (_not_null, "$.userid"),
        (_another_pattern, "$.data.currency"),
    ],
)
def test_what_narrows_is_refused_by_place(change: Change, place: str) -> None:
    """If this fails, a deploy turns records that were fine into dead letters."""
    old = schema.schema_of(BEHAVIOUR)
    new = copy.deepcopy(old)
    change(new)
    (problem,) = breaks(old, new)
    assert problem.startswith(f"{place}: ")


def test_lists_of_fixed_length_and_maps_are_looked_into() -> None:
    """If this fails, a narrower value hides in a tuple or in a map."""
    old = schema.schema_of(ITEM_ACTIVITY)
    new = copy.deepcopy(old)
    _data(new, "ItemActivity")["properties"]["views"]["prefixItems"][1] = {"type": "integer"}
    assert [p.partition(": ")[0] for p in breaks(old, new)] == ["$.data.views[1]"]
    old = schema.schema_of(SHOPPERS)
    new = copy.deepcopy(old)
    _data(new, "Shopper")["properties"]["sealed"]["additionalProperties"] = {"type": "integer"}
    assert [p.partition(": ")[0] for p in breaks(old, new)] == ["$.data.sealed.*"]


def test_a_committed_schema_may_not_vanish_or_narrow(tmp_path: Path) -> None:
    """If this fails, the check compares with nothing."""
    folder = tmp_path / schemas.FOLDER
    folder.mkdir(parents=True)
    old = schema.schema_of(BEHAVIOUR)
    _data(old, "Behaviour")["properties"]["smell"] = {"type": "string"}
    (folder / f"{BEHAVIOUR.type}.json").write_text(json.dumps(old))
    (folder / "shoploop.smells.v1.json").write_text("{}")
    for command in (
        ("init", "-q"),
        ("add", "."),
        (
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
            "-c",
            "commit.gpgSign=false",
            "commit",
            "-qm",
            ".",
        ),
    ):
        subprocess.run(("git", "-C", str(tmp_path), *command), check=True)
    problems = sorted(schemas.incompatible(tmp_path, "HEAD"))
    assert problems == [
        "shoploop.behaviour.v1.json: $.data.smell: is gone",
        "shoploop.smells.v1.json: is gone; its records are not",
    ]


def test_asyncapi_names_every_channel_and_resolves() -> None:
    """If this fails, a generator of clients stops at a reference that leads nowhere."""
    document = schema.asyncapi(ALL, services.manifests(services.names()))
    assert document["channels"].keys() == TOPICS.keys()
    assert document["operations"]

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [r for v in value.values() for r in references(v)]
        return [r for v in value for r in references(v)] if isinstance(value, list) else []

    for reference in references(document):
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]

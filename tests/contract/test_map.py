"""The map of services, topics, keys and models."""

from pathlib import Path

import pytest
import typer

from shared.contracts.service import Key, ModelUse, Process, Route, Service
from shared.contracts.topics import BEHAVIOUR, MODELS
from shared.tools.cli.generated import write_or_check
from shared.tools.cli.map import drawn
from shared.tools.local import services
from shared.tools.local.paths import CHECKOUT

MAKER = Service(
    name="maker",
    about="Makes | things.",
    processes=(Process("http", "Answers.", port=8099, memory_mib=64),),
    writes=(MODELS,),
    releases=("things",),
)
USER = Service(
    name="user",
    about="Uses things.",
    processes=(Process("worker", "Works."),),
    reads=(BEHAVIOUR, MODELS),
    routes=(Route("GET", "/v1/things", "serve", "Things."),),
    keys=(Key("user-things", ("person", "day"), "set", "Things.", bound="ten"),),
    models=(ModelUse("things", "the oldest"),),
)


def test_the_map_is_up_to_date() -> None:
    """If this fails, run `shoploop map`: who reads the map is led astray."""
    declared = services.manifests(services.names())
    assert (CHECKOUT / "docs" / "map.md").read_text() == drawn(declared)


@pytest.mark.parametrize(
    "line",
    [
        "| [maker](../services/maker/) | Makes \\| things. | http |",
        "| maker/http | Answers. | 8099 | 64 MiB |",
        "| user | `GET /v1/things` | serve | Things. |",
        "maker → user |",
        "nobody yet → user |",
        "| `user-things:{<person>}:<day>` | user | set | Things. | as long as its owner | ten | yes |",
        "| things | maker | user | the oldest |",
        "  t_models --> user",
        "  maker -. release things .-> user",
    ],
)
def test_the_map_tells_what_is_declared(line: str) -> None:
    """If this fails, a declaration is missing from the map, or breaks its table."""
    assert line in drawn([MAKER, USER])


def test_a_stale_file_is_named_and_left_alone(tmp_path: Path) -> None:
    """If this fails, CI passes with a stale file, or changes it behind one's back."""
    path = tmp_path / "docs" / "map.md"
    with pytest.raises(typer.Exit):
        write_or_check({path: "new"}, check=True, command="map")
    assert not path.exists()
    write_or_check({path: "new"}, check=False, command="map")
    write_or_check({path: "new"}, check=True, command="map")
    assert path.read_text() == "new"

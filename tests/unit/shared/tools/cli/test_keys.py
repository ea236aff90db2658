"""`shoploop keys`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from shared.contracts.errors import Invalid, NotFound
from shared.runtime import keys
from shared.tools.cli.keys import app


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A new installation's keys."""
    made = tmp_path / "keys.json"
    assert CliRunner().invoke(app, ["init", "--file", str(made)]).exit_code == 0
    return made


def run(file: Path, *arguments: str) -> str:
    """Run a command on the file; what it complains of is raised."""
    done = CliRunner().invoke(app, [*arguments, "--file", str(file)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_init_never_replaces_an_installations_secrets(file: Path) -> None:
    """All shoppers would become strangers."""
    before = file.read_bytes()
    assert "kept" in run(file, "init")
    assert file.read_bytes() == before


def test_a_made_key_opens_and_a_revoked_one_does_not(file: Path) -> None:
    """An operator would believe that a key is gone, or hand out one that opens nothing."""
    text = run(
        file, "add", "app", "--scope", "events", "--origin", "https://a.example", "--ack", "kafka"
    ).strip()
    found = keys.ApiKeys(keys.load(file).api_keys).find(text)
    assert found is not None
    assert (found.name, found.origins, found.ack) == ("app", ("https://a.example",), "kafka")
    assert text.startswith("pk_")
    assert text not in file.read_text()
    run(file, "revoke", "app")
    assert keys.ApiKeys(keys.load(file).api_keys).find(text) is None


def test_an_origin_is_kept_as_browsers_spell_it(file: Path) -> None:
    """A shop with a Chinese name would be told that its own pages are strangers."""
    run(file, "add", "茶/😀", "--scope", "events", "--origin", "https://中国.example:8443/")
    (made,) = [key for key in keys.load(file).api_keys if key.name == "茶/😀"]
    assert made.origins == ("https://xn--fiqs8s.example:8443",)


def test_the_list_shows_the_keys_of_the_first_start_whole(file: Path) -> None:
    """The owner could not copy the key for a first request."""
    listed = run(file, "list")
    assert all(key.key and key.key in listed for key in keys.load(file).api_keys)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("add", "web", "--scope", "serve"), "already"),
        (("add", " ", "--scope", "serve"), "a name that can be read"),
        (("add", "x", "--scope", "events", "--origin", "shop.example"), "not like https"),
        (("add", "x", "--scope", "events", "--origin", "https://a.example/shop"), "not like https"),
        (("add", "x", "--scope", "events", "--origin", "https://a:b"), "not like https"),
        (("add", "x", "--scope", "sevre"), "'sevre' is none of"),
        (("add", "x", "--scope", "serve", "--ack", "later"), "'later' is none of"),
    ],
)
def test_a_wrong_key_is_not_made(file: Path, arguments: tuple[str, ...], says: str) -> None:
    """A key would be made that does something else than was meant."""
    before = file.read_bytes()
    with pytest.raises(Invalid, match=says):
        run(file, *arguments)
    assert file.read_bytes() == before


def test_revoking_what_is_not_there_says_so(file: Path) -> None:
    """A misspelt name would leave the lost key valid."""
    with pytest.raises(NotFound, match="no key 'wbe'"):
        run(file, "revoke", "wbe")

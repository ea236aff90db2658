"""The installation's secrets and API keys."""

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.contracts.errors import Invalid, NotFound
from shared.runtime import keys
from shared.runtime.privacy import HmacPseudonyms

SECRETS = keys.generate()


def test_secrets_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    """Another user of the machine could take the shop over."""
    file = tmp_path / "home" / "keys.json"
    keys.load_or_generate(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(file.parent) == ["keys.json"]


def test_services_that_start_together_agree_on_the_secrets(tmp_path: Path) -> None:
    """Pseudonyms of two services would differ, and no event would find its shopper."""
    file = tmp_path / "keys.json"
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: keys.load_or_generate(file), range(32)))
    assert len({one.pseudonym_key for one in found}) == 1
    assert found[0] == keys.load(file)


def test_a_new_installation_has_a_key_for_each_use(tmp_path: Path) -> None:
    """The demo and the README's first request would have no key."""
    made = keys.load_or_generate(tmp_path / "keys.json")
    by_name = {key.name: key for key in made.api_keys}
    assert by_name["web"].scopes == ("events",)
    assert by_name["web"].key is not None
    assert by_name["web"].key.startswith("pk_")
    assert by_name["owner"].scopes == keys.GRANTED
    assert by_name["owner"].key is not None
    assert by_name["owner"].key.startswith("sk_")
    assert len(made.pseudonym_key) == len(made.vault_key or b"") == 32


def test_a_key_is_found_by_its_text_and_kept_as_a_hash() -> None:
    """A copy of the keys file would open every door."""
    text, kept = keys.make("shop", ("serve", "events"), ack="kafka")
    assert kept.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert text not in msgspec.json.encode(kept).decode()
    assert kept.scopes == ("events", "serve")
    found = keys.ApiKeys([kept])
    assert found.find(text) == found.find(text.encode()) == kept
    assert found.find(text + "x") is None
    assert found.find("") is None


@pytest.mark.parametrize("scopes", [(), ("open",), ("events", "everything")])
def test_unknown_scopes_are_refused(scopes: tuple[keys.Granted, ...]) -> None:
    """A misspelt scope would make a key that opens nothing, without a word."""
    with pytest.raises(Invalid, match="scopes"):
        keys.make("x", scopes)


def test_keys_come_and_go_without_a_restart(tmp_path: Path) -> None:
    """A revoked key would stay valid until the next deploy."""
    file = tmp_path / "keys.json"
    secrets = keys.load_or_generate(file)
    text, kept = keys.make("new", ("serve",))
    live = keys.ApiKeys(secrets.api_keys, file)
    assert live.refresh() is False
    keys.save(file, msgspec.structs.replace(secrets, api_keys=(*secrets.api_keys, kept)))
    assert live.refresh() is True
    assert live.find(text) == kept
    keys.save(file, msgspec.structs.replace(secrets, api_keys=()))
    assert live.refresh() is True
    assert live.find(text) is None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@given(at=st.floats(0, 1, exclude_max=True), inserted=st.binary(max_size=2), cut=st.integers(0, 70))
@example(at=0.0, inserted=b"", cut=10_000)
@example(at=0.0, inserted=b"", cut=1)
def test_a_damaged_file_changes_nothing_in_a_running_process(
    at: float, inserted: bytes, cut: int
) -> None:
    """A slip of an operator's editor would lock everybody out, or end every process."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "keys.json"
        keys.save(file, SECRETS)
        live = keys.ApiKeys(SECRETS.api_keys, file)
        content = file.read_bytes()
        place = int(at * len(content))
        file.write_bytes(content[:place] + inserted + content[place + cut :])
        if not live.refresh():
            assert live.find(SECRETS.api_keys[0].key or "") is not None
        else:
            HmacPseudonyms(keys.load(file).pseudonym_key)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("pseudonym_key", b"short"),
        ("vault_key", b"x" * 31),
        ("release_private", b"x" * 33),
        ("release_public", (b"",)),
        ("api_keys", (keys.ApiKey(name="web", sha256="0" * 63, scopes=("events",)),)),
    ],
)
def test_what_cannot_be_a_key_is_refused(tmp_path: Path, name: str, wrong: object) -> None:
    """The process would fail at its first use of the key, or all would when the file is changed."""
    file = tmp_path / "keys.json"
    keys.save(file, msgspec.structs.replace(SECRETS, **{name: wrong}))
    with pytest.raises(Invalid, match=name):
        keys.load(file)


def test_a_file_that_is_gone_changes_nothing_in_a_running_process(tmp_path: Path) -> None:
    """A secret that is mounted anew would lock everybody out."""
    file = tmp_path / "keys.json"
    secrets = keys.load_or_generate(file)
    live = keys.ApiKeys(secrets.api_keys, file)
    file.write_text("{")
    assert live.refresh() is False
    assert live.find(secrets.api_keys[0].key or "") is not None
    file.unlink()
    assert live.refresh() is False


def test_a_file_that_goes_while_it_is_read_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that is mounted anew in just this moment would end every process."""
    file = tmp_path / "keys.json"
    keys.save(file, SECRETS)
    live = keys.ApiKeys((), file)
    keys.save(file, SECRETS)

    def gone(path: Path) -> bytes:
        raise FileNotFoundError(path)

    with monkeypatch.context() as moment:
        moment.setattr(Path, "read_bytes", gone)
        assert live.refresh() is False
    assert live.refresh() is True


def test_missing_and_damaged_files_say_what_to_do(tmp_path: Path) -> None:
    """An operator would read a stack trace, with secrets in it."""
    with pytest.raises(NotFound, match="shoploop keys init"):
        keys.load(tmp_path / "none.json")
    damaged = tmp_path / "keys.json"
    damaged.write_text('{"pseudonym_key": "secret')
    with pytest.raises(Invalid) as refused:
        keys.load(damaged)
    assert "secret" not in str(refused.value)

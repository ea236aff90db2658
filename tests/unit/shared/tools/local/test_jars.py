import hashlib
from pathlib import Path

import pytest

from shared.tools.local import jars
from shared.tools.local.errors import LocalStackError
from shared.tools.local.kafka import VERSION


def _lock(path: Path, content: bytes) -> Path:
    path.write_text(f"org.shop:till:1.2 {hashlib.sha256(content).hexdigest()} {len(content)}\n")
    return path


def test_the_lock_pins_the_broker_that_is_started() -> None:
    """The stack would claim one version of Kafka and run another."""
    pinned = {jar.artifact: jar.version for jar in jars.read_lock()}
    assert pinned["kafka_2.13"] == VERSION
    assert pinned["kafka-clients"] == VERSION


def test_every_pin_is_a_whole_hash() -> None:
    """A truncated hash would let any file through."""
    assert all(len(bytes.fromhex(jar.sha256)) == 32 and jar.size > 0 for jar in jars.read_lock())


def test_a_jar_lies_where_maven_would_put_it(tmp_path: Path) -> None:
    """A cache that the machine has already would not be found."""
    (jar,) = jars.read_lock(_lock(tmp_path / "lock", b"classes"))
    assert jar.path(Path("/m2")) == Path("/m2/org/shop/till/1.2/till-1.2.jar")


def test_a_download_cut_short_is_seen(tmp_path: Path) -> None:
    """Java would be started with half a jar after an interrupted first run."""
    (jar,) = jars.read_lock(_lock(tmp_path / "lock", b"classes"))
    jar.path(tmp_path).parent.mkdir(parents=True)
    jar.path(tmp_path).write_bytes(b"clas")
    assert not jar.is_in(tmp_path)
    jar.path(tmp_path).write_bytes(b"classes")
    assert jar.is_in(tmp_path)


def test_no_network_names_the_jar_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person without network would see the inside of an HTTP library."""
    lock = _lock(tmp_path / "lock", b"classes")
    monkeypatch.setattr(jars, "read_lock", lambda: read(lock))
    monkeypatch.setattr("jgo.maven._resolver.http.get", _refuse)
    with pytest.raises(LocalStackError, match=r"cannot download till-1\.2\.jar") as raised:
        jars.class_path(tmp_path / "cache")
    assert "SHOPLOOP_KAFKA" in raised.value.cure


def test_a_jar_with_other_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody between us and the repository could run code on the machine."""
    (jar,) = jars.read_lock(_lock(tmp_path / "lock", b"classes"))

    def deliver(artifact: object) -> Path:
        jar.path(tmp_path).parent.mkdir(parents=True, exist_ok=True)
        jar.path(tmp_path).write_bytes(b"ssalccc")
        return jar.path(tmp_path)

    monkeypatch.setattr("jgo.maven.Artifact.resolve", deliver)
    with pytest.raises(LocalStackError, match="is not the file pinned"):
        jars._fetch(jar, tmp_path)
    assert not jar.path(tmp_path).exists()


def _refuse(*args: object, **kwargs: object) -> object:
    raise ConnectionError("no route to host")


read = jars.read_lock

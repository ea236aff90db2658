from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from shared.tools.local import kafka
from shared.tools.local.errors import LocalStackError
from shared.tools.local.java import Java
from shared.tools.local.kafka import LocalKafka


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalKafka:
    """A broker that was formatted before, as its cluster `abc`."""
    monkeypatch.setattr(kafka.jars, "class_path", lambda cache: "a.jar:b.jar")
    folder = tmp_path / "kafka"
    (folder / "data").mkdir(parents=True)
    (folder / "cluster-id").write_text("abc")
    (folder / "data" / "meta.properties").write_text("#\nversion=1\ncluster.id=abc\nnode.id=1\n")
    return LocalKafka(folder, 9092, 9093, Java(Path("/jdk/bin/java"), 17), tmp_path)


def test_formatted_data_is_kept(broker: LocalKafka) -> None:
    """A restart would format again and lose every event."""
    before = (broker.folder / "data" / "meta.properties").read_text()
    broker.prepare()
    assert (broker.folder / "data" / "meta.properties").read_text() == before


def test_only_loopback_is_listened_to(broker: LocalKafka) -> None:
    """A broker without a password would be open to the network."""
    broker.prepare()
    lines = (broker.folder / "server.properties").read_text().splitlines()
    assert "listeners=BROKER://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093" in lines
    assert "auto.create.topics.enable=false" in lines


def test_data_of_another_cluster_is_refused(broker: LocalKafka) -> None:
    """Offsets committed for one log would be applied to another."""
    (broker.folder / "cluster-id").write_text("xyz")
    with pytest.raises(LocalStackError, match="belongs to the Kafka cluster abc, not to xyz"):
        broker.prepare()


def test_data_without_its_identity_is_refused(broker: LocalKafka) -> None:
    """Formatting over a damaged folder would destroy what could still be saved."""
    (broker.folder / "data" / "meta.properties").rename(broker.folder / "data" / "topic-0")
    with pytest.raises(LocalStackError, match=r"holds files but no meta\.properties") as raised:
        broker.prepare()
    assert f"rm -r {broker.folder}" in raised.value.cure


def test_a_new_cluster_id_is_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """One first start in sixty-four would fail, since Kafka's tools take it for an option."""
    drawn = iter([UUID(int=0b111110 << 122), UUID(int=0)])
    monkeypatch.setattr(kafka.uuid, "uuid4", lambda: next(drawn))
    assert kafka._new_cluster_id() == "A" * 22


def test_the_heap_is_bounded(broker: LocalKafka) -> None:
    """Java takes a quarter of the machine by default."""
    assert any(part.startswith("-Xmx") for part in broker.program({}).argv)


def test_loaded_classes_are_archived_once_and_then_used(broker: LocalKafka) -> None:
    """Every start would be twice as slow, or every stop."""
    first = broker.program({})
    assert any("-XX:ArchiveClassesAtExit=" in part for part in first.argv)
    (broker.folder / "classes.new").write_text("archive")
    first.stopped()
    (archive,) = broker.cache.glob("classes-*.jsa")
    assert f"-XX:SharedArchiveFile={archive}" in broker.program({}).argv


def test_a_newer_java_gets_the_archive_that_it_can_use(broker: LocalKafka) -> None:
    """The wheel's Java would start without any archive, three times as slow."""
    newer = replace(broker, java=Java(Path("/jdk/bin/java"), 25))
    assert any("-XX:AOTCacheOutput=" in part for part in newer.program({}).argv)
    assert newer.program({}).stop_s > 10


def test_a_kill_before_the_archive_leaves_nothing_half_made(broker: LocalKafka) -> None:
    """A later Java could map a torn archive."""
    broker.program({}).stopped()
    assert not list(broker.cache.glob("classes-*"))

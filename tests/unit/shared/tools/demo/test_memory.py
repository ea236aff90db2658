"""What a home remembers of earlier demos."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from shared.tools.demo.memory import FILE, Memory

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=9)


def test_the_year_stays_where_it_was_put(tmp_path: Path) -> None:
    """A basket that is sent again would get another time than the first one has."""
    Memory.read(tmp_path, kafka="", now=NOW).write(tmp_path)
    assert Memory.read(tmp_path, kafka="", now=LATER).ends == NOW


def test_another_kafka_has_none_of_it(tmp_path: Path) -> None:
    """The demo would skip the load and train on nothing."""
    Memory(ends=NOW, seed=1, households=100, met=(2,)).write(tmp_path)
    elsewhere = Memory.read(tmp_path, kafka="broker:9092", now=LATER)
    assert elsewhere == Memory(ends=LATER, kafka="broker:9092")


def test_a_torn_file_is_a_beginning(tmp_path: Path) -> None:
    """A demo that was killed while it wrote would never run again in this home."""
    (tmp_path / FILE).write_text('{"ends":')
    assert Memory.read(tmp_path, kafka="", now=NOW) == Memory(ends=NOW)


def test_a_part_of_what_is_there_is_there() -> None:
    """Everything would be sent again for fewer households, or too little for more."""
    known = Memory(ends=NOW, seed=7, households=100)
    assert known.holds(seed=7, households=100)
    assert known.holds(seed=7, households=60)
    assert not known.holds(seed=7, households=101)
    assert not known.holds(seed=8, households=60)

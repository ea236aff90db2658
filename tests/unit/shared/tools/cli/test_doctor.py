from pathlib import Path

import pytest

from shared.contracts.errors import Retryable
from shared.runtime import keys
from shared.runtime.bus import admin
from shared.tools.cli import doctor
from shared.tools.local import state


def test_a_dead_process_is_named(tmp_path: Path) -> None:
    """An operator would search all logs for the one that matters."""
    dead = state.RunningProcess(name="collector/http", pid=1, born=1.0)
    running = state.RunState(1, 1.0, "k:1", "redis://r", ready=True, processes=(dead,))
    (finding,) = doctor.stack(running)
    assert finding.health == "ill"
    assert "collector/http" in finding.cure


def test_topics_that_differ_are_grouped_by_their_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty missing topics would fill the screen and hide the one that is too small."""
    drifts = [
        admin.Drift("orders", "does not exist", "create it"),
        admin.Drift("catalog", "has 1 partition", "grow it"),
        admin.Drift("models", "does not exist", "create it"),
    ]
    monkeypatch.setattr(admin, "check_topics", lambda address, wanted, **connection: drifts)
    found, *ill = doctor.broker("k:1")
    assert found.health == "well"
    assert [(f.detail, f.cure) for f in ill] == [
        ("orders, models: does not exist", "create it"),
        ("catalog: has 1 partition", "grow it"),
    ]


def test_a_broker_that_is_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command made for this case would end with a traceback."""

    def away(address: str, wanted: object, **connection: object) -> list[admin.Drift]:
        raise Retryable("no Kafka broker answers at k:1")

    monkeypatch.setattr(admin, "check_topics", away)
    (finding,) = doctor.broker("k:1")
    assert finding == ("Kafka", "ill", "no Kafka broker answers at k:1", finding.cure)


def test_keys_that_cannot_be_read_are_a_fault_and_missing_ones_are_not(tmp_path: Path) -> None:
    """A fresh checkout would look broken, or a broken vault fine."""
    file = tmp_path / "keys.json"
    assert [f.health for f in doctor.secrets(file)] == ["later"]
    keys.load_or_generate(file)
    assert [f.health for f in doctor.secrets(file)] == ["well"]
    file.write_text("{")
    assert [f.health for f in doctor.secrets(file)] == ["ill"]


def test_nothing_running_is_no_fault() -> None:
    """The exit code would be useless in a script that only wants to know if it can start."""
    findings = [*doctor.stack(None), *doctor.broker(""), *doctor.store("")]
    assert {finding.health for finding in findings} == {"later"}


def test_wrong_settings_are_named_before_a_process_meets_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every service would end at its start, with the reason in eight logs."""
    monkeypatch.setenv("SHOPLOOP_REDIS", "redis+sentinel://a:1/m")
    monkeypatch.setenv("SHOPLOOP_KAFKA_SECURITY", "SASL_SSL")
    found = [*doctor.environment()]
    assert {finding.health for finding in found} == {"ill"}
    named = " ".join(finding.detail for finding in found)
    assert all(f"SHOPLOOP_{n}=" in named for n in ("REDIS", "KAFKA_USER", "KAFKA_PASSWORD"))
    assert [f.health for f in doctor.broker("k:1")] == ["later"]

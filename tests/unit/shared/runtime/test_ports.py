"""What a process is given, from its settings; nothing is connected to."""

from pathlib import Path
from typing import Any

import pytest

from shared.contracts.service import Process, Service
from shared.runtime import ports
from shared.runtime.bus.kafka import KafkaBus
from shared.runtime.code import code_version
from shared.runtime.keys import generate
from shared.runtime.settings import Settings

SERVICE = Service("shop", "", (Process("p", ""),))


@pytest.fixture
def bus_given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the bus is made with."""
    given: dict[str, Any] = {}

    def bus(*args: Any, **named: Any) -> KafkaBus:
        given.update(named)
        return KafkaBus(*args, **named)

    monkeypatch.setattr(ports, "KafkaBus", bus)
    return given


async def test_a_dead_letter_names_the_code_that_refused_it(
    tmp_path: Path, bus_given: dict[str, Any]
) -> None:
    """Whoever re-drives dead letters must know which deploy was wrong."""
    for named in (None, "v7"):
        settings = Settings(home=tmp_path, code_version=named)
        opened = ports.open_ports(SERVICE, settings, generate())
        assert bus_given["release"] == (named or code_version("shop"))
        await opened.close()


async def test_the_bus_logs_in_as_the_environment_says(
    tmp_path: Path, bus_given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service would knock at a secured broker without a password."""
    for name, value in {"SECURITY": "SASL_PLAINTEXT", "USER": "ann", "PASSWORD": "p"}.items():
        monkeypatch.setenv(f"SHOPLOOP_KAFKA_{name}", value)
    opened = ports.open_ports(SERVICE, Settings(home=tmp_path), generate())
    assert bus_given["settings"].connection == {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "ann",
        "sasl_plain_password": "p",
    }
    await opened.close()

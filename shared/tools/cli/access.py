"""How the command line reaches the services of this machine: addresses and a key."""

import os
from pathlib import Path
from typing import Any

from shared.contracts.errors import Invalid, NotFound
from shared.contracts.service import Service
from shared.runtime import keys
from shared.runtime.bus.kafka import KafkaBus
from shared.runtime.bus.settings import KafkaSettings, connection
from shared.runtime.clock import SystemClock
from shared.runtime.settings import Settings, read
from shared.tools.local import state
from shared.tools.local.paths import Home, default_home
from shared.tools.local.services import manifest


def address(service: str, home: Home | None = None) -> str:
    """Return the URL of a service's facade: that of the running stack, else of its usual port."""
    running = state.read(home or default_home())
    if running is not None and running.is_alive():
        for process in running.processes:
            if process.url and process.name.partition("/")[0] == service:
                return process.url
    ports = [process.port for process in manifest(service).processes if process.port]
    if not ports:
        raise Invalid(f"{service} has no facade")
    return f"http://127.0.0.1:{ports[0]}"


def api_key(scope: keys.Granted, home: Home | None = None) -> str:
    """Return a key with `scope`: SHOPLOOP_KEY, else one that was made with the installation."""
    named = os.environ.get("SHOPLOOP_KEY")
    if named:
        return named
    file = Path(os.environ.get("SHOPLOOP_KEYS") or (home or default_home()).root / "keys.json")
    for key in keys.load(file).api_keys:
        if key.key is not None and key.may(scope):
            return key.key
    raise NotFound(f"no key with the scope {scope!r} is kept in {file}: name one in SHOPLOOP_KEY")


def kafka_address(home: Home | None = None) -> str:
    """Return the broker's address: SHOPLOOP_KAFKA, else that of the running stack."""
    named = os.environ.get("SHOPLOOP_KAFKA")
    if named:
        return named
    running = state.read(home or default_home())
    if running is not None and running.is_alive():
        return running.kafka
    return "127.0.0.1:9092"


def kafka_connection() -> dict[str, Any]:
    """Return how the environment wants Kafka to be reached: in the clear, or with TLS and SASL."""
    return connection(read(Settings))


def kafka_bus(service: Service) -> KafkaBus:
    """Return a bus for `service`, to be closed."""
    settings = KafkaSettings(connection=kafka_connection())
    return KafkaBus(kafka_address(), service, clock=SystemClock(), settings=settings)

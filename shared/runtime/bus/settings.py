"""How Kafka is reached, and how `KafkaBus` uses it."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.runtime.settings import PREFIX, Settings, WrongSettings


@dataclass(frozen=True)
class KafkaSettings:
    """Limits and waits of one bus; the defaults suit a broker in the same network.

    Attributes
    ----------
    publish_timeout_s : float
        After this long without an acknowledgement a publish raises `Retryable`.
    fetch_wait_ms : int
        How long the broker holds an empty fetch. New records end it at once, so this is no latency;
        it is the longest that a partition waits for its first fetch after `resume`, and the idle
        cost is one request in this time.
    batch_bytes : int
        Of one batch of one partition.
    session_timeout_ms : int
        A member that is silent for so long loses its partitions to the others.
    connection : mapping
        Further arguments of every client, as `connection` makes them.
    """

    publish_timeout_s: float = 10.0
    commit_timeout_s: float = 5.0
    join_timeout_s: float = 60.0
    health_timeout_s: float = 2.0
    request_timeout_ms: int = 10_000
    retry_backoff_ms: int = 100
    batch_bytes: int = 256 << 10
    request_bytes: int = 1_040_000
    fetch_wait_ms: int = 50
    fetch_bytes_per_partition: int = 512 << 10
    session_timeout_ms: int = 6_000
    heartbeat_ms: int = 1_500
    rebalance_timeout_ms: int = 30_000
    connection: Mapping[str, Any] = field(default_factory=dict)


def connection(settings: Settings) -> dict[str, Any]:
    """Return the arguments with which aiokafka and kafka-python open a connection as is set.

    Reads the certificates.

    Raises
    ------
    WrongSettings
        A file is no certificate or key in PEM.
    """
    arguments: dict[str, Any] = {"security_protocol": settings.kafka_security}
    if settings.kafka_security.endswith("SSL"):
        arguments["ssl_context"] = _tls(settings)
    if settings.kafka_security.startswith("SASL"):
        assert settings.kafka_password is not None, "read checks it"
        arguments["sasl_mechanism"] = settings.kafka_mechanism
        arguments["sasl_plain_username"] = settings.kafka_user
        arguments["sasl_plain_password"] = settings.kafka_password.get_secret_value()
    return arguments


def _tls(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ca)
        if settings.kafka_certificate is not None:
            context.load_cert_chain(settings.kafka_certificate, settings.kafka_certificate_key)
    except (ssl.SSLError, OSError) as error:
        raise WrongSettings(
            f"{PREFIX}KAFKA_CA, _CERTIFICATE or _CERTIFICATE_KEY cannot be used: {error}"
        ) from None
    return context

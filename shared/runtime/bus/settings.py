"""How `KafkaBus` uses a broker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
        Further arguments of every aiokafka client: `security_protocol`, `ssl_context`, `sasl_…`.
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

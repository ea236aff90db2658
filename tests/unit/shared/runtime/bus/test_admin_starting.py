import pytest
from kafka.errors import InvalidReplicationFactorError, TopicAuthorizationFailedError

from shared.contracts.errors import Retryable
from shared.runtime.bus import admin


class Broker:
    """An admin client whose every use fails."""

    def __init__(self, **connection: object) -> None:
        pass

    def close(self) -> None:
        """Do nothing."""


def test_a_broker_that_is_just_starting_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services that start together with Kafka would die of `All brokers are currently fenced`."""
    monkeypatch.setattr(admin, "KafkaAdminClient", Broker)
    with pytest.raises(Retryable), admin.admin("k:1"):
        raise InvalidReplicationFactorError


def test_what_waiting_cannot_cure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing permission would be waited for in silence, for ever."""
    monkeypatch.setattr(admin, "KafkaAdminClient", Broker)
    with pytest.raises(TopicAuthorizationFailedError), admin.admin("k:1"):
        raise TopicAuthorizationFailedError

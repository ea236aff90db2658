"""Settings from the environment."""

from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from shared.runtime.settings import MASK, Settings, WrongSettings, read


class Own(Settings):
    """A service's settings."""

    page_size: int = Field(10, ge=1, description="items a page")
    mail_password: SecretStr = SecretStr("hunter2")


def test_the_environment_wins_over_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment could not be configured."""
    monkeypatch.setenv("SHOPLOOP_PAGE_SIZE", "7")
    monkeypatch.setenv("SHOPLOOP_HOME", "/data")
    settings = read(Own)
    assert settings.page_size == 7
    assert settings.keys_file == Path("/data/keys.json")
    assert read(Own, page_size=3).page_size == 3


def test_every_wrong_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator would restart once for each mistake."""
    wrong = {"PAGE_SIZE": "0", "PORT": "http", "KAFKA": "broker", "REDIS": "http://:pw@x"}
    for name, value in wrong.items():
        monkeypatch.setenv(f"SHOPLOOP_{name}", value)
    with pytest.raises(WrongSettings) as refused:
        read(Own)
    text = str(refused.value)
    assert "SHOPLOOP_PAGE_SIZE='0': Input should be greater than or equal to 1" in text
    assert "(items a page)" in text
    assert all(f"SHOPLOOP_{name}=" in text for name in wrong)
    assert "pw" not in text


@pytest.mark.parametrize(
    "kafka", ["", " ", "host", ":9092", "a:1,b", "host:port", "a:²", "a:９０", "a:0", "a:65536"]
)
def test_a_broker_address_has_host_and_port(kafka: str) -> None:
    """A typing error would show only as a broker that never answers."""
    with pytest.raises(WrongSettings, match="KAFKA"):
        read(Own, kafka=kafka)


def test_what_is_logged_holds_no_secret() -> None:
    """Passwords would be in every log."""
    described = read(Own, redis="rediss://user:p@ss@redis:6379/1").described()
    assert described["redis"] == f"rediss://{MASK}@redis:6379/1"
    assert described["mail_password"] == MASK
    assert described["page_size"] == 10
    assert "hunter2" not in str(described)


@pytest.mark.parametrize(
    "url",
    ["redis+cluster://a:1", "rediss+sentinel://a:1/mymaster", "redis://a:1,b:2", "redis://u:p,w@a:1,b:2"],
)  # fmt: skip
def test_a_cluster_of_redis_is_refused(url: str) -> None:
    """Keys would land on one node of several, and nobody would know until it fails."""
    with pytest.raises(WrongSettings, match="Cluster and Sentinel are not supported yet"):
        read(Own, redis=url)
    assert read(Own, redis="redis://:p,w@a:1").described()["redis"] == f"redis://{MASK}@a:1"


@pytest.mark.parametrize(
    "url", ["redis://h:port/0", "redis://h:65536/0", "redis://:hun?ter2@h:1/0", "redis://:hunter2@[::1"]
)  # fmt: skip
def test_an_address_that_cannot_be_read_is_told_with_the_rest(url: str) -> None:
    """An operator would read a stack trace with a part of the password in it."""
    with pytest.raises(WrongSettings, match="REDIS") as refused:
        read(Own, redis=url)
    assert "hun" not in str(refused.value)


@pytest.mark.parametrize("seconds", ["inf", "nan", "-inf"])
def test_a_time_is_a_number(monkeypatch: pytest.MonkeyPatch, seconds: str) -> None:
    """A process would fail where the time is first used, or never end."""
    monkeypatch.setenv("SHOPLOOP_SHUTDOWN_S", seconds)
    with pytest.raises(WrongSettings, match="SHUTDOWN_S"):
        read(Own)


def test_a_password_behind_the_address_is_not_logged() -> None:
    """The library takes it there, too."""
    described = read(Own, redis="rediss://a:1/0?password=hunter2&ssl_ca_certs=/x").described()
    assert described["redis"] == "rediss://a:1/0"


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files pass on variables that nobody set, and every service would refuse to start."""
    monkeypatch.setenv("SHOPLOOP_PORT", "")
    assert read(Own).port is None

"""Settings: from the environment only, read once, every wrong value listed at once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, FilePath, SecretStr, ValidationError, ValidationInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "SHOPLOOP_"
MASK = "********"

S = TypeVar("S", bound="Settings")
V = TypeVar("V")


def _address(text: str) -> str:
    for server in text.split(","):
        host, colon, port = server.strip().rpartition(":")
        number = int(port) if port.isascii() and port.isdigit() else 0
        if not colon or not host or not 0 < number < 65536:
            raise ValueError(f"{server!r} is not host:port")
    return text


def _with_sasl(value: V, info: ValidationInfo) -> V:
    if value is None and str(info.data.get("kafka_security")).startswith("SASL"):
        raise ValueError("is needed for SASL")
    return value


def _redis_url(url: SecretStr) -> SecretStr:
    scheme, _, rest = url.get_secret_value().partition("://")
    if "cluster" in scheme or "sentinel" in scheme or "," in rest.rpartition("@")[2]:
        raise ValueError("Redis Cluster and Sentinel are not supported yet: name one server")
    if scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("starts with redis://, rediss:// or unix://")
    try:
        _ = urlsplit(url.get_secret_value()).port
    except ValueError:
        # Without what it says, which may be a part of the password.
        raise ValueError("its host and port cannot be read; escape what is odd in it") from None
    return url


class Settings(BaseSettings):
    """What every process reads; a service adds its own in a subclass in its `settings.py`.

    A field ``page_size`` is the environment variable ``SHOPLOOP_PAGE_SIZE``. Units are in the
    names. Services share one prefix, so one name means the same in all of them.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore", allow_inf_nan=False
    )

    environment: Literal["local", "production"] = Field(
        "local", description="production: nothing is generated, topics get their replicas"
    )
    home: Path = Field(Path(".shoploop"), description="folder for what a process keeps on disk")
    kafka: Annotated[str, AfterValidator(_address)] = Field(
        "127.0.0.1:9092", description="bootstrap servers, host:port,…"
    )
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="SSL: encrypted; SASL: with user and password"
    )
    kafka_ca: FilePath | None = Field(
        None,
        description="PEM file of the authorities that brokers are checked by; default: the system's",
    )
    kafka_certificate: FilePath | None = Field(
        None, description="PEM file of the certificate that we show to brokers"
    )
    kafka_certificate_key: FilePath | None = Field(
        None, description="PEM file of its key, where that is not in the same file"
    )
    kafka_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_user: Annotated[str | None, AfterValidator(_with_sasl)] = Field(
        None, validate_default=True, description="as whom SASL logs in"
    )
    kafka_password: Annotated[SecretStr | None, AfterValidator(_with_sasl)] = Field(
        None, validate_default=True, description="of that user"
    )
    redis: Annotated[SecretStr, AfterValidator(_redis_url)] = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="address, with password if there is one; rediss://…?ssl_ca_certs=FILE for TLS",
    )
    code_version: str | None = Field(
        None, description="name of the code, in dead letters and releases; default: a hash of it"
    )
    keys: Path | None = Field(
        None, description="the installation's secrets; default HOME/keys.json"
    )
    host: str = Field("127.0.0.1", description="interface to listen on")
    port: int | None = Field(
        None, ge=0, le=65535, description="port to listen on; default: the manifest's"
    )
    shared_port: int | None = Field(
        None, ge=1, le=65535, description="port that replicas on one machine answer on together"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    access_log: bool = Field(False, description="a line for each request, not only for failures")

    max_body_bytes: int = Field(1 << 20, ge=1024, description="larger requests are refused")
    max_in_flight: int = Field(1000, ge=1, description="requests answered at once; more get 503")
    request_timeout_s: float = Field(30.0, gt=0, description="longest time for one answer")
    keep_alive_s: int = Field(
        20, ge=1, description="connections without a request are closed after this"
    )
    key_rate_per_s: float = Field(20_000.0, gt=0, description="requests/s for one secret key")
    ip_rate_per_s: float = Field(
        1000.0, gt=0, description="requests/s from one address without a secret key"
    )
    trusted_proxies: int = Field(
        0, ge=0, description="proxies in front whose X-Forwarded-For is believed"
    )
    drain_s: float = Field(0.0, ge=0, description="time between unready and the end of intake")
    shutdown_s: float = Field(10.0, gt=0, description="deadline for finishing what is under way")

    @property
    def production(self) -> bool:
        """Whether this is a production environment."""
        return self.environment == "production"

    @property
    def keys_file(self) -> Path:
        """Where the installation's secrets are."""
        return self.keys or self.home / "keys.json"

    def described(self) -> dict[str, Any]:
        """Return every value as it may be logged: secrets masked."""
        return {name: _loggable(getattr(self, name)) for name in type(self).model_fields}


class WrongSettings(SystemExit):
    """Ends the process with all wrong values and what each should be."""


def read(settings: type[S], **given: Any) -> S:
    """Return the settings from the environment; `given` values win over it.

    Raises
    ------
    WrongSettings
        Its text has one line for each wrong value.
    """
    try:
        return settings(**given)
    except ValidationError as error:
        lines = "\n".join(_complaints(settings, error))
        raise WrongSettings(f"these settings are wrong:\n{lines}") from None


def _complaints(settings: type[Settings], error: ValidationError) -> Iterator[str]:
    for item in error.errors(include_url=False):
        name = str(item["loc"][0]) if item["loc"] else ""
        field = settings.model_fields.get(name)
        secret = field is not None and field.annotation in (SecretStr, SecretStr | None)
        got = MASK if secret else repr(item.get("input"))
        about = f" ({field.description})" if field is not None and field.description else ""
        yield f"  {PREFIX}{name.upper()}={got}: {item['msg']}{about}"


def _loggable(value: Any) -> Any:
    if isinstance(value, SecretStr):
        scheme, mark, rest = value.get_secret_value().partition("://")
        if not mark:
            return MASK
        _, at, place = rest.rpartition("@")
        place = place.partition("?")[0]
        return f"{scheme}://{MASK}@{place}" if at else f"{scheme}://{place}"
    return str(value) if isinstance(value, Path) else value

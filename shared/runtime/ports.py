"""Opens a process's ways out: Kafka, Redis, releases, secrets. Nothing connects before it is used."""

import os
import platform
from dataclasses import dataclass

import msgspec
import numpy as np
from redis.asyncio import Redis

from shared.contracts.envelope import utc
from shared.contracts.errors import UndeclaredTopic
from shared.contracts.events import ReleaseChanged
from shared.contracts.ids import uuid7
from shared.contracts.service import Service
from shared.contracts.topics import MODELS, wrap
from shared.runtime import trace
from shared.runtime.app import Ports
from shared.runtime.bus.kafka import KafkaBus
from shared.runtime.bus.port import Bus
from shared.runtime.bus.settings import KafkaSettings, connection
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.code import code_version
from shared.runtime.keys import Secrets
from shared.runtime.kv import RedisKeyValue, connect
from shared.runtime.privacy import HmacPseudonyms, RedisVault
from shared.runtime.releases.folder import ReleaseFolder
from shared.runtime.releases.redis import RedisReleases, Storage
from shared.runtime.releases.report import Report, unreported
from shared.runtime.releases.signing import Signer, Verifier
from shared.runtime.settings import Settings

MAX_RELEASE_BYTES = 2 << 30


@dataclass(frozen=True)
class OpenPorts:
    """Ports, and how to close what is below them."""

    ports: Ports
    redis: Redis

    async def close(self) -> None:
        """Flush what was published and free the connections."""
        await self.ports.bus.close()
        await self.ports.kv.close()
        await self.redis.aclose()


def open_ports(service: Service, settings: Settings, secrets: Secrets) -> OpenPorts:
    """Return the ports of one process of `service`."""
    clock = SystemClock()
    url = settings.redis.get_secret_value()
    redis = connect(url)
    bus = KafkaBus(
        settings.kafka,
        service,
        clock=clock,
        settings=KafkaSettings(connection=connection(settings)),
        release=settings.code_version or code_version(service.name),
    )
    kv = RedisKeyValue(connect(url), service, clock=clock)
    ports = Ports(
        bus=bus,
        kv=kv,
        releases=_releases(redis, service, settings, secrets, _report(bus, service, clock), clock),
        pseudonyms=HmacPseudonyms(secrets.pseudonym_key),
        vault=RedisVault(kv, secrets.vault_key),
        clock=clock,
        rng=np.random.default_rng(),
    )
    return OpenPorts(ports, redis)


def _releases(
    redis: Redis, service: Service, settings: Settings, secrets: Secrets, report: Report, clock: Clock
) -> RedisReleases:  # fmt: skip
    verifier = Verifier(secrets.release_public)
    storage = Storage(
        shared=ReleaseFolder(settings.home / "releases", verifier, MAX_RELEASE_BYTES),
        cache=ReleaseFolder(settings.home / service.name / "releases", verifier, MAX_RELEASE_BYTES),
    )
    signer = (
        Signer(secrets.release_private) if service.releases and secrets.release_private else None
    )
    return RedisReleases(
        redis=redis,
        service=service,
        storage=storage,
        verifier=verifier,
        clock=clock,
        signer=signer,
        report=report,
    )


def _report(bus: Bus, service: Service, clock: Clock) -> Report:
    """Return what tells the topic `models` of a change, where the service may."""
    try:
        service.may_write(MODELS)
    except UndeclaredTopic:
        return unreported

    replica = f"{service.name}@{platform.node()}"

    async def report(change: ReleaseChanged) -> None:
        now_s = clock.now()
        if change.change in {"loaded", "rejected"}:
            change = msgspec.structs.replace(change, replica=replica)
        envelope = wrap(
            MODELS,
            change,
            id=uuid7(int(now_s * 1000), os.urandom(10)),
            source=service.name,
            time=utc(now_s),
            traceparent=trace.traceparent(),
        )
        await bus.publish(MODELS, envelope)

    return report

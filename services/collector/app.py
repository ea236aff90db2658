"""Where the collector's HTTP process is put together."""

import os
from collections.abc import Callable
from typing import Any

from starlette.routing import Route

from services.collector.api import router, routes
from services.collector.core.bots import Paces
from services.collector.core.incoming import Parsed
from services.collector.described import DESCRIBED
from services.collector.door import Door
from services.collector.intake import Desk
from services.collector.receipts import Receipts
from services.collector.relay.kafka import KafkaSink
from services.collector.relay.relay import Begin, Relay
from services.collector.relay.sink import Sink
from services.collector.sealing import seal
from services.collector.settings import CollectorSettings
from services.collector.spool import Spool
from shared.contracts.errors import Retryable
from shared.contracts.topics import (
    BEHAVIOUR,
    BEHAVIOUR_REJECTED,
    CATALOG,
    IDENTITIES,
    ORDERS,
    SHOPPERS,
)
from shared.runtime.app import App, Check, Ports
from shared.runtime.bus.settings import connection
from shared.runtime.erasure import keep_forgotten
from shared.runtime.http.erasures import erasures as erasure_door

DOOR_TOPICS = (BEHAVIOUR, BEHAVIOUR_REJECTED, ORDERS, CATALOG, SHOPPERS, IDENTITIES)


def build(
    process: str,
    settings: CollectorSettings,
    ports: Ports,
    *,
    sink: Callable[[str], Sink] | None = None,
    entropy: Callable[[int], bytes] = os.urandom,
) -> App:
    """Return the collector's HTTP process.

    Parameters
    ----------
    process : str
        ``http``; the stream runs itself.
    settings : CollectorSettings
        Read once by the caller.
    ports : Ports
        Of these, clock, pseudonyms and vault are used: the relay has its own way to Kafka.
    sink : callable, optional
        Where the relay writes to, for the log with the given id; Kafka by default.
    entropy : callable, optional
        Returns that many random bytes, for the ids of events that come without.
    """
    assert process == "http", process
    spool = Spool(settings, DOOR_TOPICS, ports.clock)
    door = Door(
        spool.log,
        spool.seen,
        spool.rejections,
        ports.pseudonyms,
        Paces(human=settings.human_events_per_minute),
        entropy=entropy,
    )
    desk = Desk(door, spool, settings, ports.clock)

    def kafka(log: str) -> Sink:
        return KafkaSink(settings.kafka, log=log, topics=spool.topics, **connection(settings))

    async def start() -> None:
        await spool.open()
        door.resume(spool.opened.newest_ms)

    async def relay() -> None:
        await Relay(
            spool.log,
            (sink or kafka)(spool.log.id),
            ports.clock,
            topics=[name for name, _ in spool.topics],
            on_published=spool.note,
            begin=Begin(known=spool.index.last, doubtful=spool.log.last),
        ).run()

    async def sealed(parsed: Parsed[Any], gpc: bool) -> Parsed[Any]:
        return await seal(parsed, ports.vault, ports.pseudonyms, gpc=gpc)

    async def relayed() -> None:
        if not await spool.published(spool.log.last, within_s=settings.kafka_ack_s):
            raise Retryable("Kafka has not taken yet what was accepted before")

    async def forgotten() -> None:
        await keep_forgotten(ports)

    forget = Route("/v1/erasures", erasure_door(ports, "collector", relayed), methods=["POST"])
    return App(
        router=router(desk, Receipts(spool), spool),
        routes=[*routes(desk, sealed), forget],
        described=DESCRIBED,
        tasks={
            "relay": relay,
            "tidy": spool.tidy,
            "forgotten": forgotten,
        },
        checks=(Check("log", spool.ready),),
        start=start,
        stop=spool.close,
    )

"""The faults that a test can make happen; what they are worth depends on their being real."""

import pytest

from shared.contracts.envelope import utc
from shared.contracts.errors import Retryable
from shared.contracts.events import Product
from shared.contracts.service import Service
from shared.contracts.topics import CATALOG, wrap
from shared.runtime.bus.memory import MemoryBroker, MemoryBus
from shared.runtime.clock import FakeClock

SERVICE = Service("svc", "", (), reads=(CATALOG,), views=(CATALOG,), writes=(CATALOG,))
MILK = wrap(CATALOG, Product(id="milk", title="Milk"), id="1", source="test", time=utc(0))


@pytest.mark.parametrize(("appended", "kept"), [(False, 1), (True, 3)])
async def test_a_publish_fails_as_often_as_asked(appended: bool, kept: int) -> None:
    """A test of a relay would pass though the relay loses or doubles events."""
    broker = MemoryBroker()
    bus = MemoryBus(broker, SERVICE, clock=FakeClock())
    broker.fail_next_publish(2, appended=appended)
    for _ in range(2):
        with pytest.raises(Retryable):
            await bus.publish(CATALOG, MILK)
    await bus.publish(CATALOG, MILK)
    assert len(broker.records("catalog")) == kept


async def test_a_broker_that_is_down_answers_nothing() -> None:
    """A service's outage test would test nothing."""
    broker = MemoryBroker()
    bus = MemoryBus(broker, SERVICE, clock=FakeClock())
    broker.down = True
    assert not await bus.healthy()
    for attempt in (
        bus.publish(CATALOG, MILK),
        bus.tombstone(CATALOG, "milk"),
        bus.view([CATALOG]),
    ):
        with pytest.raises(Retryable):
            await attempt
    broker.down = False
    await bus.publish(CATALOG, MILK)
    assert await bus.healthy()


async def test_records_carry_the_clocks_time() -> None:
    """Lag in seconds and a replay by time are computed from it."""
    clock, broker = FakeClock(1_000.5), MemoryBroker()
    await MemoryBus(broker, SERVICE, clock=clock).publish(CATALOG, MILK)
    [record] = broker.records("catalog")
    assert record.timestamp_ms == 1_000_500

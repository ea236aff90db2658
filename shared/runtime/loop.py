"""The only consumer loop: a service's share of its topics, with one lane for each partition.

Lanes run side by side, each strictly in order. What is done is committed a few times a second, on
every hand-over and at the end, so that a crash repeats little; handlers make a repeat harmless.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.contracts.errors import Retryable
from shared.contracts.service import Service
from shared.contracts.topics import Topic
from shared.runtime import metrics
from shared.runtime.bus.port import Bus, Handler, Record, TopicPartition, Work
from shared.runtime.clock import Clock
from shared.runtime.delivery import BackOff, Delivery, Effects, Refusal
from shared.runtime.lane import DeadLetterLimit, Lane
from shared.runtime.stopping import unless
from shared.runtime.telemetry import log

_log = log(__name__)


@dataclass(frozen=True)
class Limits:
    """The bounds of a consumer loop.

    Attributes
    ----------
    batch : int
        Most records that a handler is given at once.
    poll : int
        Most records taken from the broker at once; unpacking 1,000 takes the event loop some 5 ms.
    lane : int
        With so many records in hand a partition is paused; memory holds at most
        ``lane + poll`` records of each partition.
    poll_s, commit_s : float
        How often to look for a stop while idle, and to commit.
    hand_over_s : float
        How long a handler may go on after its partition is taken away or the loop is stopped.
    """

    batch: int = 1_000
    poll: int = 2_000
    lane: int = 2_000
    poll_s: float = 0.1
    commit_s: float = 0.2
    hand_over_s: float = 10.0
    back_off: BackOff = field(default_factory=BackOff)
    dead_letters: DeadLetterLimit = field(default_factory=DeadLetterLimit)


class WorkLoop:
    """Consumes topics in a group; built once for a process, `run` once.

    Parameters
    ----------
    handlers : mapping
        Topic to handler; the topics are in the service's `reads`.
    group : str
        The consumer group; the members of one group have the same handlers.
    """

    def __init__(
        self,
        bus: Bus,
        service: Service,
        handlers: Mapping[Topic[Any], Handler],
        *,
        clock: Clock,
        group: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._bus = bus
        self._topics = tuple(handlers)
        self._group = group or service.name
        self._service = service.name
        self._clock = clock
        self._limits = limits or Limits()
        self._effects = Effects(
            {t.name: (t, h) for t, h in handlers.items()},
            service.name,
            clock,
            self._limits.back_off,
        )
        self._lanes: dict[TopicPartition, Lane] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._work: Work | None = None
        self._crash: BaseException | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set: then finish what is in a handler, commit, leave the group.

        A broker that is away is waited for. Whatever a handler raises beside `Invalid` and
        `Retryable` comes out of here, after the others' work was committed.
        """
        failures = 0
        while not stop.is_set():
            try:
                joining = self._bus.work(self._topics, group=self._group, rebalance=self)
                self._work = await unless(stop, joining)
                failures = 0
                if self._work is not None:
                    await self._consume(self._work, stop)
            except Retryable as error:
                failures += 1
                seconds = self._limits.back_off.wait_s(failures, error)
                _log.warning("will join again", group=self._group, reason=str(error), in_s=seconds)
                await unless(stop, self._clock.sleep(seconds))
            finally:
                await self._leave()
            self._raise_crash()

    def unready(self) -> str | None:
        """Return what keeps this process from doing its job, or None."""
        stopped = [
            f"{p} stopped: {lane.stopped}" for p, lane in self._lanes.items() if lane.stopped
        ]
        return "; ".join(stopped) or None

    async def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Rebalance.assigned`."""
        metrics.CONSUMER_REBALANCES.labels(self._group).inc()
        _log.info("partitions assigned", group=self._group, count=len(partitions))

    async def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Rebalance.revoked`."""
        await self._hand_over(partitions)

    async def _consume(self, work: Work, stop: asyncio.Event) -> None:
        limits = self._limits
        next_commit = self._clock.monotonic() + limits.commit_s
        while not stop.is_set():
            found = await work.poll(max_records=limits.poll, timeout_s=limits.poll_s)
            for partition, records in found.items():
                self._lane(partition).take(records)
            self._raise_crash()
            if self._clock.monotonic() >= next_commit:
                self._observe()
                await self._commit(work)
                next_commit = self._clock.monotonic() + limits.commit_s

    def _raise_crash(self) -> None:
        for lane in self._lanes.values():
            self._crash = self._crash or lane.failure
        if self._crash is not None:
            raise self._crash

    def _lane(self, partition: TopicPartition) -> Lane:
        if partition not in self._lanes:
            work, limits = self._work, self._limits
            assert work is not None

            async def refuse(record: Record, refusal: Refusal) -> None:
                lane.check_limit()
                await self._dead_letter(record, refusal)
                lane.put_aside()

            lane = Lane(
                Delivery(self._effects, refuse),
                batch=limits.batch,
                full=limits.lane,
                limit=limits.dead_letters,
                pause=lambda: work.pause(partition),
                resume=lambda: work.resume(partition),
            )
            self._lanes[partition] = lane
        return self._lanes[partition]

    async def _dead_letter(self, record: Record, refusal: Refusal) -> None:
        await self._bus.dead_letter(record, reason=refusal.reason, attempt=refusal.attempt)
        metrics.DEAD_LETTERS.labels(self._service, refusal.kind).inc()
        _log.warning("dead letter", position=str(record.position), reason=refusal.reason)

    async def _commit(self, work: Work) -> None:
        done = {
            p: lane.done
            for p, lane in self._lanes.items()
            if lane.done is not None and self._committed.get(p) != lane.done
        }
        if not done:
            return
        try:
            await work.commit(done)
        except Retryable as error:
            _log.warning("offsets not stored yet", group=self._group, reason=str(error))
        else:
            self._committed |= done

    async def _hand_over(self, partitions: Sequence[TopicPartition]) -> None:
        """Let the handlers of `partitions` end, commit what is done, forget the rest."""
        lanes = [self._lanes[p] for p in partitions if p in self._lanes]
        await asyncio.gather(*(lane.end(self._limits.hand_over_s) for lane in lanes))
        for lane in lanes:
            self._crash = self._crash or lane.failure
        try:
            if self._work is not None:
                await self._commit(self._work)
        finally:
            # A lane that ended must not stay: the partition may come back to us.
            for partition in partitions:
                self._lanes.pop(partition, None)
                self._committed.pop(partition, None)

    async def _leave(self) -> None:
        await self._hand_over(list(self._lanes))
        work, self._work = self._work, None
        if work is not None:
            await work.close()

    def _observe(self) -> None:
        oldest: dict[str, float] = {t.name: 0.0 for t in self._topics}
        now = self._clock.now()
        for partition, lane in self._lanes.items():
            metrics.CONSUMER_STOPPED.labels(
                self._group, partition.topic, str(partition.partition)
            ).set(lane.stopped is not None)
            if lane.oldest_ms is not None:
                age = max(0.0, now - lane.oldest_ms / 1000)
                oldest[partition.topic] = max(oldest.get(partition.topic, 0.0), age)
        for topic, age in oldest.items():
            metrics.CONSUMER_LAG_SECONDS.labels(self._group, topic).set(age)

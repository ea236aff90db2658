"""One partition in hand: its records in order, how far they are done, when to stop."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat

from shared.runtime.bus.port import Record
from shared.runtime.delivery import Abandoned, Delivery
from shared.runtime.telemetry import log

_log = log(__name__)


@dataclass(frozen=True)
class DeadLetterLimit:
    """A bad release must not drain a topic into the dead letters.

    A partition stops when more than `share` of its last `window` records were put aside, once
    `least` of them have been seen.
    """

    share: float = 0.5
    window: int = 200
    least: int = 100

    def __str__(self) -> str:
        return f"{self.share:.0%} of the last {self.window} records"


class TooManyDeadLetters(Exception):
    """The partition is beyond its `DeadLetterLimit`."""


class Lane:
    """Works through the records of one partition in a task of its own.

    `done` is the offset to commit: the one behind the last record that is dealt with. `stopped`
    says why the lane does nothing any more.
    """

    def __init__(
        self,
        delivery: Delivery,
        *,
        batch: int,
        full: int,
        limit: DeadLetterLimit,
        pause: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        self.done: int | None = None
        self.stopped: str | None = None
        self._delivery = delivery
        self._batch = batch
        self._full = full
        self._limit = limit
        self._pause = pause
        self._resume = resume
        self._records: list[Record] = []
        self._outcomes: deque[bool] = deque(maxlen=limit.window)
        self._aside = 0
        self._task: asyncio.Task[None] | None = None
        self._paused = False

    @property
    def oldest_ms(self) -> int | None:
        """Timestamp of the first record not yet dealt with, None if there is none in hand."""
        return self._records[0].timestamp_ms if self._records else None

    @property
    def failure(self) -> BaseException | None:
        """What the handler raised that is no matter of this loop; the lane then does no more."""
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception()

    def take(self, records: Sequence[Record]) -> None:
        """Add records behind those in hand, and pause the partition when there are too many."""
        if self.stopped or self._delivery.leaving:
            return
        self._records.extend(records)
        if len(self._records) >= self._full and not self._paused:
            self._paused = True
            self._pause()
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def end(self, seconds: float) -> None:
        """Let the handler finish the batch it has, for at most `seconds`, then abandon it."""
        self._delivery.leaving = True
        task = self._task
        if task is None:
            return
        if not self._delivery.waiting:
            await asyncio.wait({task}, timeout=seconds)
        task.cancel()
        await asyncio.wait({task})

    def check_limit(self) -> None:
        """Raise `TooManyDeadLetters` when the limit is passed: no more may be put aside."""
        seen = len(self._outcomes)
        if seen >= self._limit.least and sum(self._outcomes) > self._limit.share * seen:
            raise TooManyDeadLetters(f"more than {self._limit} were put aside")

    def put_aside(self) -> None:
        """Count a dead letter."""
        self._outcomes.append(True)
        self._aside += 1

    async def _run(self) -> None:
        try:
            while self._records and not self._delivery.leaving:
                self._aside = 0
                self._advance(await self._delivery.some(self._records[: self._batch]))
        except Abandoned:
            return
        except TooManyDeadLetters as error:
            self._stop(str(error))
        self._task = None

    def _advance(self, taken: int) -> None:
        if taken:
            self.done = self._records[taken - 1].offset + 1
            self._outcomes.extend(repeat(False, min(taken - self._aside, self._limit.window)))
            del self._records[:taken]
        if self._paused and len(self._records) < self._batch:
            self._paused = False
            self._resume()

    def _stop(self, reason: str) -> None:
        self.stopped = reason
        del self._records[1:]
        self._pause()
        _log.error("partition stopped", reason=reason, position=str(self._records[0].position))

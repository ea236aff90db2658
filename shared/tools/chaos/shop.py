"""A shop that keeps publishing through every fault, as a backend with an outbox does."""

import itertools
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

import httpx
import msgspec

_BATCH = 20
_PAUSE_S = 0.05
_AGAIN_S = 0.2
_GIVE_UP_S = 120.0


class Shop:
    """Posts numbered events from a thread of its own; one that was not acknowledged is sent again.

    Parameters
    ----------
    url : str
        The collector's address.
    key : str
        An API key with the scope `events`.
    run : int
        Keeps the ids of this run apart from those of others.
    shoppers, items : int
        The events go round-robin over so many of each.
    """

    def __init__(
        self, url: str, key: str, *, run: int, shoppers: int = 40, items: int = 25
    ) -> None:
        self.acknowledged: set[str] = set()
        self.views: Counter[str] = Counter()
        self.repeated = 0
        self.failure: BaseException | None = None
        self._run, self._shoppers, self._items = run, shoppers, items
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=10
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._publish, name="shop", daemon=True)

    def open(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def close(self) -> None:
        """Finish the batch under way and stop; raises what ended the thread early."""
        self._stop.set()
        self._thread.join(_GIVE_UP_S + 10)
        self._client.close()
        if self.failure is not None:
            raise self.failure

    def item(self, number: int) -> str:
        """Return the item of the event with this number."""
        return f"chaos-{self._run}-{number % self._items}"

    def _publish(self) -> None:
        try:
            for first in itertools.count(step=_BATCH):
                if self._stop.wait(_PAUSE_S):
                    return
                self._deliver(range(first, first + _BATCH))
        except (httpx.HTTPError, RuntimeError) as error:
            self.failure = error

    def _deliver(self, numbers: range) -> None:
        body = msgspec.json.encode([self._event(n) for n in numbers])
        until = time.monotonic() + _GIVE_UP_S
        while not self._accepted(body):
            if time.monotonic() > until:
                raise RuntimeError(f"events {numbers} were refused for {_GIVE_UP_S:.0f} s")
            self.repeated += len(numbers)
            time.sleep(_AGAIN_S)
        self.acknowledged.update(self._id(n) for n in numbers)
        self.views.update(self.item(n) for n in numbers)

    def _accepted(self, body: bytes) -> bool:
        try:
            answer = self._client.post("/v1/events", content=body)
        except httpx.HTTPError:
            return False
        if 400 <= answer.status_code < 500 and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
            raise RuntimeError(f"the collector answers {answer.status_code}: {answer.text[:300]}")
        return answer.is_success

    def _id(self, number: int) -> str:
        return str(UUID(int=(self._run << 64) | number))

    def _event(self, number: int) -> dict[str, object]:
        return {
            "id": self._id(number),
            "userid": f"chaos-{number % self._shoppers}",
            "time": datetime.now(UTC).isoformat(),
            "data": {"action": "view_item", "items": [{"id": self.item(number)}]},
        }

"""Batches to the collector, with patience."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import msgspec

from shared.contracts.errors import Invalid, Retryable
from shared.tools.load.columns import Kind

PATHS: dict[Kind, str] = {
    "behaviour": "/v1/events",
    "catalog": "/v1/catalog",
    "orders": "/v1/orders",
    "shoppers": "/v1/shoppers",
}
_PATIENCE_S = 120.0


class Told(msgspec.Struct):
    """What the collector says of one refused event."""

    index: int
    reason: str
    field: str | None = None


class Answer(msgspec.Struct):
    """What the collector says of a batch."""

    accepted: int = 0
    duplicates: int = 0
    errors: list[Told] = []


class Sender:
    """Sends batches one after another, so that each shopper's events keep their order.

    Waits out a collector that is away, full or restarting, for two minutes at most; what was sent
    and not answered is sent again under the same ids and counts once.
    """

    def __init__(
        self,
        client: httpx.Client,
        kind: Kind,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._path = client, PATHS[kind]
        self._sleep, self._monotonic = sleep, monotonic

    def send(self, events: Sequence[dict[str, Any]]) -> Answer:
        """Return the answer to a batch.

        Raises
        ------
        Invalid
            The collector refuses the request as a whole: the key, or the size.
        Retryable
            It was away for longer than two minutes.
        """
        body = msgspec.json.encode(events)
        deadline = self._monotonic() + _PATIENCE_S
        while True:
            wait_s, why = 1.0, ""
            try:
                answer = self._client.post(self._path, content=body)
            except httpx.TransportError as error:
                why = f"{type(error).__name__}: {error}"
            else:
                if answer.status_code in (202, 422):
                    return msgspec.json.decode(answer.content, type=Answer)
                if answer.status_code not in (429, 500, 502, 503, 504):
                    raise Invalid(f"the collector answers {answer.status_code}: {answer.text}")
                why = f"the collector answers {answer.status_code}"
                wait_s = float(answer.headers.get("retry-after", "1"))
            if self._monotonic() + wait_s > deadline:
                raise Retryable(f"{why}; run the same command again to go on where it stopped")
            self._sleep(wait_s)

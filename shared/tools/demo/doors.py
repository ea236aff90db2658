"""The running services as the demo sees them: through their HTTP interfaces, as any shop would."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from shared.contracts.errors import Invalid, Retryable
from shared.runtime import keys
from shared.tools.demo.bodies import Body

CONNECTIONS = 3
PATIENCE_S = 60.0
EXPLAINED_S = 3.0
_COME_BACK = frozenset({429, 500, 502, 503, 504})
KEY_FOR: Mapping[str, str] = {"collector": "owner", "trainer": "trainer", "recommender": "shop"}
"""Service to the key, of those made with the installation, that the demo comes with."""


def keys_in(file: Path) -> dict[str, str]:
    """Return name to text of the keys that were made with the installation, making it if need be.

    Raises
    ------
    Invalid
        The texts of the keys that the demo needs are not kept there.
    """
    kept = keys.load_or_generate(file)
    texts = {key.name: key.key for key in kept.api_keys if key.key is not None}
    if missing := sorted(set(KEY_FOR.values()) - set(texts)):
        raise Invalid(
            f"{file} does not hold the keys that were made with a local installation "
            f"({', '.join(missing)}); choose another folder with --home"
        )
    return texts


@dataclass(frozen=True)
class Accepted:
    """What the collector made of what was sent."""

    accepted: int = 0
    duplicates: int = 0

    def __add__(self, other: "Accepted") -> "Accepted":
        return Accepted(self.accepted + other.accepted, self.duplicates + other.duplicates)


@dataclass(frozen=True)
class Doors:
    """Clients of the three facades; every method raises `Retryable` if one stays away."""

    collector: httpx.Client
    trainer: httpx.Client
    recommender: httpx.Client

    def send(self, path: str, body: Body) -> Accepted:
        """Post events to the collector; raises `Invalid` if it refused any."""
        return self._sent(path, body, {})[0]

    def _sent(self, path: str, body: Body, asked: Mapping[str, str]) -> tuple[Accepted, str]:
        """Return what was made of the events, and how far they are: on disk, or in Kafka."""
        said = _patiently(lambda: self.collector.post(path, content=body.content, params=asked))
        if said.get("errors") or said["accepted"] + said.get("duplicates", 0) != body.events:
            raise Invalid(f"the collector did not take everything at {path}: {str(said)[:500]}")
        return Accepted(said["accepted"], said.get("duplicates", 0)), str(said["ack"])

    def send_all(self, path: str, bodies: Sequence[Body], sent: Callable[[int], None]) -> Accepted:
        """Post many bodies over several connections; `sent` is told of the events of each.

        Returns when all of them are in Kafka: a training learns from what it finds there.
        """
        total = Accepted()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            try:
                answers = pool.map(lambda body: self.send(path, body), bodies)
                for body, said in zip(bodies, answers, strict=True):
                    total += said
                    sent(body.events)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        if bodies and not wait_for(lambda: self._relayed(path, bodies[-1]), timeout_s=PATIENCE_S):
            raise Retryable("Kafka has not taken what the collector accepted")
        return total

    def _relayed(self, path: str, body: Body) -> bool:
        """Whether Kafka has all that the collector had: what is known already waits for that too."""
        return self._sent(path, body, {"ack": "kafka"})[1] == "kafka"

    def recommend(self, user: str, **asked: Any) -> dict[str, Any]:
        """Ask for a list for a known shopper."""
        at = f"/v1/recommendations/{user}"
        return _patiently(lambda: self.recommender.get(at, params=asked))

    def because(self, request_id: str, item: str, lang: str) -> str | None:
        """Return in words why an item was in a list; None if that is not told within seconds."""
        at, said = f"/v1/explanations/{request_id}", [httpx.Response(404)]

        def told() -> bool:
            said[0] = self.recommender.get(at, params={"lang": lang})
            return said[0].is_success

        if not wait_for(told, timeout_s=EXPLAINED_S):
            return None
        reasons = {one["item_id"]: one["because"] for one in said[0].json()["items"]}
        return reasons.get(item)

    def job(self, name: str, why: str) -> dict[str, Any]:
        """Ask for a training."""
        asked = {"job": name, "why": why}
        return _patiently(lambda: self.trainer.post("/v1/jobs", json=asked))

    def progress(self, job: str) -> dict[str, Any]:
        """Tell how far a training is."""
        return _patiently(lambda: self.trainer.get(f"/v1/jobs/{job}"))

    def model(self, name: str) -> dict[str, Any]:
        """Return the release in service with its card."""
        return _patiently(lambda: self.trainer.get(f"/v1/models/{name}"))

    def feedback(self) -> list[dict[str, Any]]:
        """Return what the lists of each release and scenario brought."""
        rows = _patiently(lambda: self.trainer.get("/v1/reports/feedback"))["rows"]
        assert isinstance(rows, list)
        return rows


@contextmanager
def open_doors(url: Callable[[str], str], texts: Mapping[str, str]) -> Iterator[Doors]:
    """Give clients of the facades; `url` gives the address of a service, `texts` the keys."""
    with ExitStack() as open_clients:
        clients = {
            service: open_clients.enter_context(
                httpx.Client(
                    base_url=url(service),
                    headers={"Authorization": f"Bearer {texts[key]}"},
                    timeout=30,
                )
            )
            for service, key in KEY_FOR.items()
        }
        yield Doors(**clients)


def wait_for(met: Callable[[], bool], *, timeout_s: float, every_s: float = 0.1) -> bool:
    """Wait until `met`; False if it was not in time."""
    deadline = time.monotonic() + timeout_s
    while not met():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def _patiently(ask: Callable[[], httpx.Response]) -> dict[str, Any]:
    """Return the answer's JSON; a service that is away or busy is asked again for a minute."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        wait_s, why = 0.5, ""
        try:
            answer = ask()
        except httpx.TransportError as error:
            why = f"{type(error).__name__}: {error}"
        else:
            if answer.is_success:
                said = answer.json()
                assert isinstance(said, dict)
                return said
            why = f"{answer.request.url} answers {answer.status_code}: {answer.text[:300]}"
            if answer.status_code not in _COME_BACK:
                raise Invalid(why)
            wait_s = float(answer.headers.get("retry-after", wait_s))
        if time.monotonic() + wait_s > deadline:
            raise Retryable(why)
        time.sleep(wait_s)

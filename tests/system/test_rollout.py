"""Releases meet shoppers: a bad one is taken back by itself, a good one comes into service."""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.learning.models.bundle import Bundle
from shared.learning.models.ids import IdIndex
from shared.runtime import keys
from shared.runtime.clock import SystemClock
from shared.runtime.kv import connect
from shared.runtime.releases import Provenance
from shared.runtime.releases.folder import ReleaseFolder
from shared.runtime.releases.redis import RedisReleases, Storage
from shared.runtime.releases.signing import Signer, Verifier
from shared.tools.cli.main import main
from shared.tools.local.services import manifest
from shared.tools.local.stack import Stack
from tests.fixtures.clients import clients_of
from tests.system import test_loop
from tests.system.test_loop import (
    SERVICES,
    Clients,
    a_shop,
    recommended,
    send,
    shown,
    train,
    until,
)

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.timeout(600)]

MODEL = "recommend"
ENVIRON = {
    **test_loop.ENVIRON,
    "SHOPLOOP_CANARY_PERCENT": "50",
    "SHOPLOOP_CANARY_MARGIN": "0.9",
    "SHOPLOOP_CANARY_LOOK_S": "0.5",
    "SHOPLOOP_LAKE_FLUSH_S": "0.5",
    "SHOPLOOP_TRAIN_FIRST_EVENTS": "1000000000",
}
KINDS = ("tea", "coffee")
SHOPPERS = 240
_numbers = count()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything, on free ports, with canaries for half of the shoppers."""
    home, environ = tmp_path_factory.mktemp("rollout"), {**os.environ, **ENVIRON}
    with Stack(home=home, services=SERVICES, random_ports=True, environ=environ) as running:
        yield running


@pytest.fixture(scope="module")
def clients(stack: Stack) -> Iterator[Clients]:
    """A client with all rights for each service."""
    with clients_of(stack, SERVICES) as opened:
        yield opened


def model(clients: Clients) -> dict[str, Any]:
    """What the trainer says of the release in service."""
    answer = clients["trainer"].get(f"/v1/models/{MODEL}")
    return answer.raise_for_status().json()  # type: ignore[no-any-return]


def shop(clients: Clients, release: str) -> int:
    """Let newcomers look at a thing of their kind, read a list, and click its top if it is one too.

    Begins when somebody is shown the release; returns how many lists were of it.
    """
    until(
        lambda: any(recommended(clients, f"shopper-{n}")["release"] == release for n in range(40))
    )
    people = {f"newcomer-{next(_numbers)}": KINDS[n % 2] for n in range(SHOPPERS)}
    views = [
        _event(user, "view_item", f"{kind}-{n % 12}")
        for n, (user, kind) in enumerate(people.items())
    ]
    send(clients, "/v1/events", views)
    clicks, read = [], Counter[str]()
    for user, kind in people.items():
        page = until(lambda user=user: _personal(clients, user))
        read[page["release"]] += 1
        if shown(page)[0].startswith(kind):
            clicks.append(
                _event(user, "select_item", shown(page)[0], request_id=page["request_id"])
            )
    send(clients, "/v1/events", clicks)
    return read[release]


def _personal(clients: Clients, user: str) -> dict[str, Any] | None:
    page = recommended(clients, user, k=3)
    return page if page["personalised"] else None


def _event(user: str, action: str, item: str, **more: Any) -> dict[str, Any]:
    data = {"action": action, "items": [{"id": item}], **more}
    return {"id": f"{user}-{action}", "userid": user, "data": data}


def shuffled(stack: Stack, golden: Sequence[Mapping[str, Any]] = ()) -> str:
    """Publish the release in service with its items mixed up, signed as the trainer signs."""
    home = Path(str(stack.home))
    secrets = keys.load(home / "keys.json")

    async def published() -> str:
        assert secrets.release_private is not None
        client, verifier = connect(stack.redis), Verifier(secrets.release_public)
        folder = ReleaseFolder(home / "releases", verifier, 1 << 30)
        releases = RedisReleases(
            redis=client, service=manifest("trainer"), storage=Storage(folder, folder),
            verifier=verifier, clock=SystemClock(), signer=Signer(secrets.release_private),
        )  # fmt: skip
        live = await releases.manifest(MODEL, str((await releases.pointer(MODEL)).current))
        bundle = Bundle.from_artifact(await releases.fetch(live))
        items = bundle.ids["items"].ids
        mixed = np.random.default_rng(3).permutation(len(items))
        ids = {**bundle.ids, "items": IdIndex(items[n] for n in mixed)}
        bad = Bundle(ids, bundle.models, bundle.meta)
        nothing = Provenance(trained_on={}, metrics={}, card={}, golden=golden)
        try:
            return (await releases.publish(MODEL, bad.to_artifact(), nothing)).version
        finally:
            await client.aclose()

    return asyncio.run(published())


@pytest.fixture(scope="module")
def live(clients: Clients) -> str:
    """A release that knows the shop's two tastes and is in service."""
    a_shop(clients)
    version = str(train(clients, job=MODEL)["version"])
    until(lambda: recommended(clients, "shopper-1")["release"] == version)
    return version


@pytest.fixture
def operator(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what runs ``shoploop release`` beside the stack; it must succeed."""
    for name, value in stack.service_env().items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["release", *arguments])
        assert not ended.value.code

    return run


def taken_back(clients: Clients, version: str) -> dict[str, Any]:
    """Wait until the release is no canary any more; return what the history says of it."""
    until(lambda: model(clients)["history"][0]["change"] != "canary")
    until(lambda: model(clients)["canary"] is None)
    newest = model(clients)["history"][0]
    assert (newest["change"], newest["version"], newest["by"]) == ("taken_back", version, "trainer")
    return newest  # type: ignore[no-any-return]


def test_what_a_replica_refuses_is_taken_back_before_anybody_gets_it(
    stack: Stack, clients: Clients, live: str, operator: Callable[..., None]
) -> None:
    """Shoppers would find out which release cannot be served."""
    broken = shuffled(stack, golden=[{"history": ["tea-1"], "top": {"no such model": ["tea-2"]}}])
    operator("canary", MODEL, broken, "--percent", "0")
    reason = taken_back(clients, broken)["reason"]
    assert reason.startswith("recommender@")
    assert "no such model is missing" in reason
    assert recommended(clients, "shopper-1")["release"] == live


def test_a_bad_canary_is_taken_back_and_a_good_one_promoted(
    stack: Stack, clients: Clients, live: str, operator: Callable[..., None]
) -> None:
    """Shoppers would see junk until somebody wakes up, or a better release would never come."""
    bad = shuffled(stack)
    operator("canary", MODEL, bad, "--percent", "50")
    assert shop(clients, bad) > SHOPPERS / 4
    assert "worse beyond doubt: clicked" in taken_back(clients, bad)["reason"]
    assert model(clients)["version"] == live

    job = train(clients, job=MODEL)
    until(lambda: _job(clients, job)["stage"] == "canary")
    stack.restart("trainer/worker")
    assert shop(clients, job["version"]) > SHOPPERS / 4
    until(lambda: model(clients)["version"] == job["version"])
    until(lambda: _job(clients, job)["stage"] == "in service")
    assert _job(clients, job)["stage_reason"].startswith("no harm found: clicked")
    assert model(clients)["pointer"]["previous"] == live


def _job(clients: Clients, job: dict[str, Any]) -> dict[str, Any]:
    answer = clients["trainer"].get(f"/v1/jobs/{job['id']}")
    return answer.raise_for_status().json()  # type: ignore[no-any-return]

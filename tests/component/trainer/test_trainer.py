"""The trainer from events to a release that is served, and what happens when it may not be."""

from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from shared.contracts.events import Behaviour, Erasure, Product, Touched
from shared.contracts.topics import BEHAVIOUR, CATALOG, ERASURES, MODELS
from shared.learning.features.history import History
from shared.learning.models.bundle import Bundle
from shared.learning.models.filled_svd import FilledSvd
from shared.learning.models.ranking import top
from tests.component.trainer.conftest import START_S, Trainer, around_event, viewed
from tests.fixtures.service import Surroundings

Start = Callable[..., Awaitable[Trainer]]
Shop = Callable[[], Awaitable[None]]


async def bundle_of(around: Surroundings, model: str = "recommend") -> Bundle:
    pointer = await around.releases.pointer(model)
    manifest = await around.releases.manifest(model, str(pointer.current))
    return Bundle.from_artifact(await around.releases.fetch(manifest))


async def test_events_become_a_release_that_knows_the_tastes(
    trainer: Start, shop: Shop, around: Surroundings
) -> None:
    """The loop would not turn: what shoppers do would never change what they are shown."""
    await shop()
    running = await trainer()
    job = await running.train()
    assert (job["state"], job["share"]) == ("done", 1.0)
    bundle = await bundle_of(around)
    items = bundle.ids["items"]
    history = History.sequence(items.numbers(["item-1", "item-2"]))
    shown = top(bundle.models["slim"].scores(history), 5, history.items)  # type: ignore[attr-defined]
    assert {items.name(int(n)) for n in shown.items} <= {f"item-{n}" for n in range(20)}
    card = await running.get("/v1/models/recommend")
    assert card["version"] == job["version"]
    assert set(card["card"]["offline"]) >= {"candidate", "popularity", "slim", "ials", "pure-svd"}
    assert card["trained_on"]["shoppers"] == 120
    assert card["trained_on"]["offsets"]["behaviour"]


async def test_an_empty_lake_ends_the_job_with_a_reason(trainer: Start) -> None:
    """An operator of a new shop would see a stack trace instead of what is missing."""
    running = await trainer()
    job = await running.train()
    assert job["state"] == "failed"
    assert "no events yet" in job["reason"]


async def test_an_empty_catalogue_ends_the_job_with_a_reason(
    trainer: Start, around: Surroundings
) -> None:
    """A release of products that nobody can show would be made."""
    await around.bus.publish_all(BEHAVIOUR, [viewed("a", "x", 0), viewed("b", "y", 1)])
    job = await (await trainer()).train()
    assert job["state"] == "failed"
    assert "catalogue is empty" in job["reason"]


async def test_the_same_history_is_released_again_only_when_it_is_due(
    trainer: Start, shop: Shop, around: Surroundings
) -> None:
    """Each schedule would swap models for no gain, or an operator's request would do nothing."""
    await shop()
    running = await trainer()
    first = await running.train()
    second = await running.train(why="new settings")
    assert second["state"] == "done"
    assert second["version"] != first["version"]
    assert "new settings" in second["verdict"]["reasons"]
    assert (await around.releases.pointer("recommend")).previous == first["version"]


async def test_a_tuned_recipe_stays_in_use(trainer: Start, shop: Shop) -> None:
    """Each schedule would throw away what tuning found."""
    await shop()
    running = await trainer()
    assert (await running.train(tune=1))["state"] == "done"
    first = (await running.get("/v1/models/recommend"))["card"]
    assert (await running.train())["state"] == "done"
    second = (await running.get("/v1/models/recommend"))["card"]
    assert (first["tuned"], second["tuned"]) == (True, True)
    assert second["recipe"]["penalty"] == first["recipe"]["penalty"]
    wrong = await running.http.http.post("/v1/jobs", json={"job": "ratings", "tune": 1})
    assert wrong.status_code == 422


async def test_a_cancelled_job_releases_nothing(
    trainer: Start, shop: Shop, around: Surroundings
) -> None:
    """A job started by mistake could not be stopped."""
    await shop()
    running = await trainer()
    job = await running.post("/v1/jobs", {"job": "recommend"})
    await running.post(f"/v1/jobs/{job['id']}/cancel")
    ended = await running.ended(job["id"])
    assert ended["state"] == "cancelled"
    assert (await around.releases.pointer("recommend")).current is None
    again = await running.http.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert again.status_code == 422


async def test_an_erased_person_is_gone_from_the_next_release(
    trainer: Start, shop: Shop, around: Surroundings
) -> None:
    """A person who asked to be forgotten would go on teaching the models."""
    await shop()
    running = await trainer()
    await running.train()
    around.clock.advance(30 * 86_400)
    await running.worker.publish(ERASURES, Erasure(user="user-7"))
    await running.worker.settle()
    answer = running.worker.published(ERASURES)[-1].data
    assert (answer.service, answer.removed) == ("trainer", {"behaviour": 12})
    job = await running.train()
    assert job["state"] == "done"
    assert (await running.get("/v1/models/recommend"))["trained_on"]["shoppers"] == 119


async def test_ratings_are_predicted_from_ratings(
    trainer: Start, shop: Shop, around: Surroundings
) -> None:
    """Predicted ratings would never appear, or appear without any rating."""
    await shop()
    running = await trainer()
    job = await running.train(job="ratings")
    assert job["state"] == "failed"
    assert "no ratings that may be learnt from" in job["reason"]
    rated = [
        around_event(
            BEHAVIOUR,
            Behaviour(
                action="rate_item", items=(Touched(f"item-{n}"),), rating=1 + n % 3 + shopper % 3
            ),
            f"r{shopper}-{n}",
            START_S + 9e5 + n,
            userid=f"user-{shopper}",
        )
        for shopper in range(30)
        for n in range(shopper % 2, 40, 2)
    ]
    await around.bus.publish_all(BEHAVIOUR, rated)
    job = await running.train(job="ratings")
    assert job["state"] == "done", job
    card = await running.get("/v1/models/ratings")
    offline = card["card"]["offline"]
    assert offline["candidate"]["rmse"]["mean"] < 0.5
    assert set(offline) == {"candidate", "item-mean", "filled-svd"}


async def test_a_small_complete_matrix_is_decomposed_as_in_the_textbook(
    trainer: Start, around: Surroundings
) -> None:
    """What is served as a predicted rating could not be checked by hand."""
    rows = [(4, 3, 2, 1, 5), (5, 4, 5, 4, 3), (3, 2, 1, 3, 2), (4, 2, 3, 2, 4), (3, 5, 4, 5, 3)]
    events = [
        around_event(CATALOG, Product(id=f"i{n}", title=f"I{n}"), f"p{n}", START_S)
        for n in range(5)
    ]
    await around.bus.publish_all(CATALOG, events)
    rated = [
        around_event(
            BEHAVIOUR,
            Behaviour(action="rate_item", items=(Touched(f"i{n}"),), rating=float(rating)),
            f"{user}-{n}",
            START_S - 60,
            userid=f"u{user}",
        )
        for user, row in enumerate(rows)
        for n, rating in enumerate(row)
    ]
    await around.bus.publish_all(BEHAVIOUR, rated)
    running = await trainer()
    for rank, error in ((5, 0.0), (3, 2.9748)):
        job = await running.train(job="ratings", model="filled-svd", rank=rank)
        assert job["state"] == "done", job
        bundle = await bundle_of(around, "ratings")
        model = bundle.models["ratings"]
        assert isinstance(model, FilledSvd)
        assert bundle.ids["users"].ids == tuple(f"u{n}" for n in range(5))
        squares = ((model.matrix() - np.array(rows)) ** 2).sum()
        assert squares == pytest.approx(error, abs=1e-3)
    again = await running.train(job="ratings", why="by the schedule")
    assert again["state"] == "done"
    card = await running.get("/v1/models/ratings")
    assert card["card"]["options"] == {"model": "filled-svd", "rank": 3}


async def test_refusals_and_wrong_requests_are_told(
    trainer: Start, shop: Shop, around: Surroundings
) -> None:
    """Callers would have to guess why nothing happens."""
    running = await trainer()
    wrong = await running.http.http.post("/v1/jobs", json={"job": "prices"})
    assert wrong.status_code == 422
    assert (await running.http.http.get("/v1/models/prices")).status_code == 404
    assert (await running.http.http.get("/v1/models/recommend")).status_code == 404
    assert (await running.http.http.get("/v1/jobs/nothing")).status_code == 404
    assert (await running.http.client("serve").get("/v1/jobs")).status_code == 403
    assert running.http.published(MODELS) == []

"""A release from the gate to everybody, and back: whoever looks, and whenever the worker dies."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from services.trainer.columns import TABLE_OF
from services.trainer.history import Lake
from services.trainer.manifest import RATINGS, RECOMMEND, SERVICE
from services.trainer.rollout import HOUR_S, SETTLE_S, Rollout
from services.trainer.settings import Settings
from services.trainer.store import Canaries, Job, Jobs
from shared.contracts.artifact import Artifact
from shared.contracts.envelope import utc
from shared.contracts.errors import Invalid
from shared.contracts.events import Behaviour, Candidate, Decision, ReleaseChanged, Touched
from shared.contracts.topics import BEHAVIOUR, DECISIONS, MODELS, Topic, wrap
from shared.runtime.app import Ports
from shared.runtime.bus.memory import MemoryBus
from shared.runtime.bus.port import Position, Received, TopicPartition
from shared.runtime.releases import Pointer, Provenance
from shared.runtime.releases.pointer import gets_canary
from tests.fixtures.redis import memory_kv
from tests.fixtures.service import Surroundings

PERCENT = 50
DECISION_LOG = TopicPartition(DECISIONS.name, 0)
PEOPLE = [f"user-{n}" for n in range(400)]


class Killed(BaseException):
    """The worker ends here."""


class Fragile:
    """A port whose process dies before or after the n-th of the calls that change something."""

    CHANGES = frozenset({"canary", "promote", "take_back", "set", "hset", "delete", "publish"})

    def __init__(self, port: Any, dies: Callable[[], bool], *, after: bool) -> None:
        self._port, self._dies, self._after = port, dies, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name not in self.CHANGES:
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            dies = self._dies()
            if dies and not self._after:
                raise Killed
            given = await found(*args, **kwargs)
            if dies:
                raise Killed
            return given

        return call


class Scene:
    """A trainer's rollout over shared Redis, releases and topics; `again` is a new worker."""

    def __init__(self, around: Surroundings, lake: Path) -> None:
        self.around = around
        self.releases = around.releases
        self.lake = Lake(lake)
        self.settings = Settings(home=around.folder, canary_percent=PERCENT, canary_margin=0.3)
        self.kv = memory_kv(SERVICE, clock=around.clock, server=around.redis)
        self.jobs, self.canaries = Jobs(self.kv), Canaries(self.kv)
        self._made = itertools.count(1)
        self.again()

    def again(self, dies: Callable[[], bool] | None = None, *, after: bool = False) -> None:
        """Begin anew with what a dead worker left; `dies` says at which change the next one does."""
        bus = MemoryBus(self.around.broker, SERVICE, clock=self.around.clock)
        kv: Any = memory_kv(SERVICE, clock=self.around.clock, server=self.around.redis)
        releases: Any = self.releases
        if dies is not None:
            kv, releases, bus = (Fragile(p, dies, after=after) for p in (kv, releases, bus))  # type: ignore[assignment]
        nothing: Any = None
        rng = np.random.default_rng(1)
        ports = Ports(bus, kv, releases, nothing, nothing, self.around.clock, rng)
        self.rollout = Rollout(ports, self.settings, self.lake, Jobs(kv), Canaries(kv))

    async def published(self, model: str = RECOMMEND) -> str:
        """Make a release that nobody uses yet."""
        self.around.clock.advance(1)
        content = Artifact("toy", {"x": np.array([next(self._made)])})
        nothing = Provenance(trained_on={}, metrics={}, card={})
        return (await self.releases.publish(model, content, nothing)).version

    async def live(self, model: str = RECOMMEND) -> str:
        version = await self.published(model)
        pointer = await self.releases.pointer(model)
        await self.releases.promote(model, version, epoch=pointer.epoch)
        return version

    async def passed(self, job: str = "j1", model: str = RECOMMEND) -> str:
        """Let a release of a job pass the gate."""
        version = await self.published(model)
        await self.jobs.save(
            Job(id=job, job=model, state="done", asked_at=self.around.clock.now(), by="test")
        )
        await self.rollout.begin(model, version, job=job, reason="better")
        return version

    async def loaded(self, version: str, *, refused: str | None = None) -> None:
        """Let a replica say that it has loaded the release, or why it has not."""
        change = ReleaseChanged(
            model=RECOMMEND, version=version, replica="shop@1",
            change="rejected" if refused else "loaded", reason=refused,
        )  # fmt: skip
        await self.rollout.said(change)
        self.around.clock.advance(SETTLE_S)

    async def shown(self) -> str:
        """Bring a release as far as its first shoppers."""
        version = await self.passed()
        await self.loaded(version)
        await self.look()
        assert (await self.pointer()).canary_percent == PERCENT
        return version

    async def look(self) -> bool:
        return await self.rollout.look(RECOMMEND)

    async def pointer(self) -> Pointer:
        return await self.releases.pointer(RECOMMEND)

    async def job(self, job: str = "j1") -> tuple[str | None, str]:
        found = await self.jobs.get(job)
        return found.stage, str(found.stage_reason)

    def shopped(self, canary: str, current: str, *, likes: Callable[[bool], bool]) -> None:
        """Let everybody see one list; `likes` says by side of the trial whether they click."""
        at = self.around.clock.now() + 1
        shown: list[tuple[str, Any]] = []
        clicks: list[tuple[str, Any]] = []
        for user in PEOPLE:
            ours = gets_canary(canary, user, PERCENT)
            request = f"{canary}-{user}"
            decision = Decision(
                request_id=request, service="recommender", scenario="home", rung="current",
                shown=(Candidate("tea", 0, 1.0),), release=canary if ours else current,
            )  # fmt: skip
            shown.append((user, decision))
            if likes(ours):
                click = Behaviour(action="select_item", items=(Touched("tea"),), request_id=request)
                clicks.append((user, click))
        self._append(DECISIONS, shown, at)
        self._append(BEHAVIOUR, clicks, at + 1)
        self.around.clock.advance(60)

    def met_nothing(self, version: str, *, shoppers: int) -> None:
        """Let so many shoppers get an empty list from a release."""
        answers = []
        for n in range(shoppers):
            decision = Decision(
                request_id=f"r{n}", service="recommender", scenario="home", rung="current",
                release=version, shown=(),
            )  # fmt: skip
            answers.append((f"shopper-{n}", decision))
        self._append(DECISIONS, answers, self.around.clock.now() + 1)
        self.around.clock.advance(60)

    def _append(self, topic: Topic[Any], events: list[tuple[str, Any]], at: float) -> None:
        partition = TopicPartition(topic.name, 0)
        first = self.lake.next_offset(partition)
        received = [
            Received(
                wrap(topic, event, id=f"{topic.name}-{n}", source="t", time=utc(at), userid=user),
                user,
                Position(topic.name, 0, n),
            )
            for n, (user, event) in enumerate(events, start=first)
        ]
        if received:
            rows = TABLE_OF[topic.name].frame(received)
            self.lake.append(partition, rows, first, first + len(events) - 1)


@pytest.fixture
def scene(around: Surroundings, tmp_path: Path) -> Scene:
    return Scene(around, tmp_path / "lake")


def told(scene: Scene) -> list[ReleaseChanged]:
    records = scene.around.broker.records(MODELS.name)
    return [msgspec.json.decode(r.value, type=Any)["data"] for r in records if r.value]


async def test_the_first_release_goes_straight_into_service(scene: Scene) -> None:
    """A new shop would wait for days for its first model, with nothing to hold it against."""
    version = await scene.passed()
    assert (await scene.pointer()).current == version
    assert not await scene.look()


async def test_without_a_share_everybody_gets_it_at_once(scene: Scene) -> None:
    """A shop that wants no canaries would get them."""
    await scene.live()
    scene.rollout.settings = scene.settings.model_copy(update={"canary_percent": 0})
    version = await scene.passed()
    assert (await scene.pointer()).current == version


async def test_a_model_whose_answers_are_not_published_is_not_tried(scene: Scene) -> None:
    """A canary that nothing is known of would wait until its time is over."""
    await scene.live(RATINGS)
    version = await scene.passed(model=RATINGS)
    assert (await scene.releases.pointer(RATINGS)).current == version


async def test_replicas_load_it_before_any_shopper_gets_it(scene: Scene) -> None:
    """Shoppers would find out that a release cannot be loaded."""
    live = await scene.live()
    version = await scene.passed()
    assert not await scene.look()
    pointer = await scene.pointer()
    assert (pointer.current, pointer.canary, pointer.canary_percent) == (live, version, 0)
    await scene.loaded(version)
    await scene.look()
    assert await scene.look()
    pointer = await scene.pointer()
    assert (pointer.current, pointer.canary, pointer.canary_percent) == (live, version, PERCENT)
    assert await scene.job() == ("canary", "shown to 50 % of the shoppers")


async def test_what_a_replica_refuses_is_taken_back(scene: Scene) -> None:
    """A release that is broken on one machine would go on to everybody."""
    live = await scene.live()
    version = await scene.passed()
    await scene.loaded(version, refused="golden examples: wanted tea")
    await scene.look()
    assert await scene.pointer() == Pointer(current=live, epoch=3)
    reason = "shop@1 cannot serve it: golden examples: wanted tea"
    assert await scene.job() == ("taken back", reason)
    assert (await scene.releases.history(RECOMMEND))[0].reason == reason
    assert await scene.canaries.get(RECOMMEND) is None


async def test_harm_is_found_and_ended(scene: Scene) -> None:
    """A release that nobody clicks on would stay in service until an operator wakes up."""
    live = await scene.live()
    version = await scene.shown()
    await scene.look()
    canary = await scene.canaries.get(RECOMMEND)
    assert canary is not None
    assert canary.finding is not None
    assert (canary.finding.action, canary.lists) == ("wait", 0)
    scene.shopped(version, live, likes=lambda ours: not ours)
    await scene.look()
    pointer = await scene.pointer()
    assert (pointer.current, pointer.canary) == (live, None)
    stage, reason = await scene.job()
    assert stage == "taken back"
    assert "clicked 0.00 times as often" in reason
    assert not await scene.look()


async def test_what_does_no_harm_is_promoted(scene: Scene) -> None:
    """A better release would stay with a few shoppers for ever."""
    live = await scene.live()
    version = await scene.shown()
    scene.shopped(version, live, likes=lambda _: True)
    await scene.look()
    pointer = await scene.pointer()
    assert (pointer.current, pointer.previous, pointer.canary) == (version, live, None)
    stage, reason = await scene.job()
    assert stage == "in service"
    assert reason.startswith("no harm found: clicked")


@pytest.mark.parametrize("seen", [True, False])
async def test_after_its_time_it_is_decided(scene: Scene, seen: bool) -> None:
    """A shop too small for proof would never renew its models; or get one that nobody could see."""
    live = await scene.live()
    version = await scene.shown()
    if seen:
        scene.shopped(version, live, likes=lambda _: False)
    await scene.look()
    assert (await scene.pointer()).canary == version
    scene.around.clock.advance(scene.settings.canary_hours * HOUR_S)
    await scene.look()
    assert (await scene.pointer()).current == (version if seen else live)
    stage, reason = await scene.job()
    assert stage == ("in service" if seen else "taken back")
    assert "72 hours" in reason


async def test_what_no_replica_loads_is_taken_back_in_the_end(scene: Scene) -> None:
    """Training would stop for ever, waiting for services that are not there."""
    live = await scene.live()
    await scene.passed()
    scene.around.clock.advance(scene.settings.canary_hours * HOUR_S)
    await scene.look()
    assert (await scene.pointer()).current == live
    assert await scene.job() == ("taken back", "no replica has loaded it in 72 hours")


async def test_a_newer_release_replaces_the_canary(scene: Scene) -> None:
    """Two canaries would be judged by each other's clicks."""
    await scene.live()
    await scene.shown()
    newer = await scene.passed("j2")
    await scene.look()
    pointer = await scene.pointer()
    assert (pointer.canary, pointer.canary_percent) == (newer, 0)
    assert await scene.job() == ("replaced", f"by {newer}")


async def test_an_operator_s_own_change_wins(scene: Scene) -> None:
    """The trainer would undo what an operator has just done by hand."""
    live = await scene.live()
    version = await scene.shown()
    pointer = await scene.pointer()
    await scene.releases.take_back(RECOMMEND, epoch=pointer.epoch, reason="complaints")
    scene.shopped(version, live, likes=lambda _: True)
    await scene.look()
    assert (await scene.pointer()).current == live
    assert await scene.job() == ("taken back", "complaints")
    assert [(c["change"], c["reason"]) for c in told(scene)] == [("taken_back", "complaints")]


async def test_a_move_at_the_same_moment_wins(scene: Scene) -> None:
    """An operator's change between the trainer's look and its move would be overwritten."""
    live = await scene.live()
    version = await scene.shown()
    scene.shopped(version, live, likes=lambda _: True)
    pointer = await scene.pointer()
    promote = scene.releases.promote

    async def overtaken(*args: Any, **kwargs: Any) -> Pointer:
        await scene.releases.canary(RECOMMEND, version, percent=5, epoch=pointer.epoch)
        return await promote(*args, **kwargs)

    scene.releases.promote = overtaken  # type: ignore[method-assign]
    await scene.look()
    now = await scene.pointer()
    assert (now.current, now.canary_percent) == (live, 5)


async def test_a_canary_set_by_hand_is_guarded_and_not_led_on(scene: Scene) -> None:
    """An operator's trial would end by itself; or harm would go on because a person began it."""
    live, version = await scene.live(), await scene.published()
    pointer = await scene.pointer()
    await scene.releases.canary(RECOMMEND, version, percent=PERCENT, epoch=pointer.epoch)
    assert await scene.look()
    scene.shopped(version, live, likes=lambda _: True)
    scene.around.clock.advance(1000 * HOUR_S)
    await scene.look()
    assert (await scene.pointer()).canary == version

    other = await scene.published()
    epoch = (await scene.pointer()).epoch
    await scene.releases.canary(RECOMMEND, other, percent=PERCENT, epoch=epoch)
    await scene.look()
    scene.shopped(other, live, likes=lambda ours: not ours)
    await scene.look()
    assert (await scene.pointer()).canary is None
    assert (await scene.releases.history(RECOMMEND))[0].change == "taken_back"


async def test_a_canary_for_everybody_is_held_against_nobody(scene: Scene) -> None:
    """A release shown to all by hand would be taken back for what happens with any release."""
    await scene.live()
    version = await scene.published()
    epoch = (await scene.pointer()).epoch
    await scene.releases.canary(RECOMMEND, version, percent=100, epoch=epoch)
    await scene.look()
    scene.met_nothing(version, shoppers=1500)
    assert await scene.look()
    assert (await scene.pointer()).canary == version
    canary = await scene.canaries.get(RECOMMEND)
    assert canary is not None
    assert (canary.shoppers, str(canary.finding and canary.finding.action)) == (1500, "wait")


async def test_what_cannot_be_promoted_is_taken_back(scene: Scene) -> None:
    """The trainer would try the same impossible promotion every minute."""
    live = await scene.live()
    version = await scene.shown()
    scene.shopped(version, live, likes=lambda _: True)

    async def refuse(*args: Any, **kwargs: Any) -> Pointer:
        raise Invalid("a chunk is missing")

    scene.releases.promote = refuse  # type: ignore[method-assign]
    await scene.look()
    await scene.look()
    assert (await scene.pointer()).current == live
    assert "a chunk is missing" in (await scene.job())[1]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("good", [False, True])
async def test_a_worker_that_dies_at_any_change_leaves_nothing_undone(
    around: Surroundings, tmp_path: Path, good: bool, after: bool
) -> None:
    """A kill between a decision and the pointer would leave a canary that nobody looks after."""
    for nth in itertools.count(1):
        here = Surroundings(tmp_path / f"{nth}")
        scene = Scene(here, tmp_path / f"lake-{nth}")
        counted = itertools.count(1)
        live = await scene.live()
        version = await scene.published()
        job = Job(id="j1", job=RECOMMEND, state="running", asked_at=here.clock.now(), by="test")
        await scene.jobs.save(job)
        scene.again(lambda nth=nth, counted=counted: next(counted) == nth, after=after)
        died = False
        for turn in range(12):
            try:
                if turn < 4:
                    await scene.rollout.begin(RECOMMEND, version, job="j1", reason="passed")
                await scene.look()
                pointer = await scene.pointer()
                if turn >= 3 and pointer.canary and not pointer.canary_percent:
                    await scene.loaded(version)
                if pointer.canary_percent and not scene.lake.next_offset(DECISION_LOG):
                    scene.shopped(version, live, likes=lambda ours: good or not ours)
            except Killed:
                died = True
                scene.again()
        pointer = await scene.pointer()
        assert (pointer.current, pointer.canary) == (version if good else live, None), nth
        assert (await scene.job())[0] == ("in service" if good else "taken back"), nth
        assert await scene.canaries.get(RECOMMEND) is None, nth
        if not died:
            assert nth > 6
            return

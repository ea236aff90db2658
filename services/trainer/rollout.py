"""A release's way from the gate to everybody, by proof, and back by itself.

It is loaded by replicas, then shown to a share of the shoppers drawn by chance, then promoted when
no harm was found or taken back when harm was. Whatever is decided can be decided again: a worker
that died in between finds the pointer where it was, or where it was to go.
"""

import asyncio
from dataclasses import dataclass, field

from msgspec.structs import replace

from services.trainer.cohorts import Sides, cohorts
from services.trainer.core.canary import Finding, judge
from services.trainer.feedback import Windows
from services.trainer.history import Lake
from services.trainer.manifest import RECOMMEND, SERVICE
from services.trainer.settings import Settings
from services.trainer.store import Canaries, Canary, Jobs, Said, Stage
from shared.contracts.envelope import utc
from shared.contracts.errors import Invalid, NotFound, Retryable
from shared.contracts.events import ReleaseChanged
from shared.contracts.events.loop import Change
from shared.contracts.ids import uuid7
from shared.contracts.topics import MODELS, wrap
from shared.runtime.app import Ports
from shared.runtime.releases import Moved, Pointer
from shared.runtime.releases.report import change_of
from shared.runtime.telemetry import log

JUDGED = (RECOMMEND,)
"""Models whose answers are published as decisions, so that what they bring can be told."""
SETTLE_S = 5.0
"""Other replicas have so long to refuse what a first one has loaded."""
HOUR_S = 3600.0
ENDS: dict[str, tuple[Change, Stage]] = {
    "promoted": ("promoted", "in service"),
    "taken_back": ("taken_back", "taken back"),
}

_log = log(__name__)


@dataclass
class Rollout:
    """Leads the canaries; runs in the worker, of which there is one.

    `reads_lake` is held while it reads the lake; whoever rewrites files takes it too.
    """

    ports: Ports
    settings: Settings
    lake: Lake
    jobs: Jobs
    canaries: Canaries
    reads_lake: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _one: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def run(self) -> None:
        """Look at the canaries for ever; Redis or disk away is waited for. A task of the App."""
        while True:
            pause_s = min(SETTLE_S, self.settings.canary_look_s)
            try:
                if any([await self.look(model) for model in JUDGED]):
                    pause_s = self.settings.canary_look_s
            except (Retryable, Invalid, OSError) as reason:
                _log.warning("canary not looked at", reason=str(reason))
            await self.ports.clock.sleep(pause_s)

    async def begin(self, model: str, version: str, *, job: str, reason: str) -> Stage:
        """Put a published release into service, or on its way there; may be repeated.

        Raises
        ------
        Invalid
            Somebody else moved the pointer in this moment, or the release is not whole.
        """
        async with self._one:
            releases, percent = self.ports.releases, self.settings.canary_percent
            pointer = await releases.pointer(model)
            if version == pointer.current:
                return "in service"
            if version == pointer.canary:
                return "tried by replicas"
            if pointer.current is None or not percent or model not in JUDGED:
                await releases.promote(model, version, epoch=pointer.epoch, reason=reason)
                return "in service"
            earlier, now_s = await self.canaries.get(model), self.ports.clock.now()
            if earlier is not None:
                await self._tell_job(earlier, "replaced", f"by {version}")
                await self.canaries.forget(earlier)
            # Stored first: a canary that nobody knows of would count as set by hand.
            await self.canaries.save(
                Canary(
                    model=model, version=version, epoch=pointer.epoch + 1, percent=0,
                    began_at=now_s, stage_at=now_s, job=job,
                )
            )  # fmt: skip
            await releases.canary(
                model,
                version,
                percent=0,
                epoch=pointer.epoch,
                reason=f"it passed the gate, {reason}",
            )
            return "tried by replicas"

    async def look(self, model: str) -> bool:
        """Decide about the model's canary, once; return whether shoppers are shown one.

        What somebody else did to the pointer counts: their canary is taken for what it is, ours
        is over.
        """
        async with self._one:
            pointer = await self.ports.releases.pointer(model)
            canary = await self.canaries.get(model)
            if canary is not None and not _is(canary, pointer):
                await self._close(canary)
                canary = None
            if pointer.canary is None:
                return False
            if canary is None:
                canary = await self._by_hand(model, pointer)
            elif canary.epoch != pointer.epoch:
                # The worker died before it moved the pointer.
                canary = replace(canary, epoch=pointer.epoch, percent=pointer.canary_percent)
            canary = await self._judged(canary, str(pointer.current))
            await self._act(await self.canaries.save(canary))
            return canary.percent > 0

    async def _by_hand(self, model: str, pointer: Pointer) -> Canary:
        moves = await self.ports.releases.history(model, 1)
        began_s = moves[0].at_s if moves else self.ports.clock.now()
        canary = Canary(
            model=model, version=str(pointer.canary), epoch=pointer.epoch,
            percent=pointer.canary_percent, began_at=began_s, stage_at=began_s,
        )  # fmt: skip
        _log.info("a canary set by hand is guarded", model=model, version=canary.version)
        return canary

    async def _judged(self, canary: Canary, current: str) -> Canary:
        """Return the canary with what was found of it by now."""
        said = await self.canaries.said(canary.model, canary.version)
        for replica, one in said.items():
            if one.refused is not None:
                refused = f"{replica} cannot serve it: {one.refused}"
                return replace(canary, finding=Finding(action="take back", reason=refused))
        if not canary.percent:
            return replace(canary, finding=self._tried(canary, [one.at for one in said.values()]))
        windows = Windows(self.settings.click_minutes, self.settings.purchase_hours)
        sides = Sides(canary.version, canary.percent, current)
        async with self.reads_lake:
            seen = await asyncio.to_thread(
                cohorts, self.lake, sides, since_s=canary.stage_at, windows=windows
            )
        if canary.percent < 100:
            share, margin = canary.percent / 100, self.settings.canary_margin
            finding = judge(seen.counts, share=share, margin=margin)
        else:
            finding = Finding(
                action="wait", reason="shown to everybody, it has nothing to be held against"
            )
        canary = replace(canary, lists=seen.lists, shoppers=seen.shoppers, finding=finding)
        if finding.action == "wait" and self._overdue(canary):
            return replace(canary, finding=_by_time(canary, self.settings.canary_hours))
        return canary

    def _tried(self, canary: Canary, loaded: list[float]) -> Finding:
        if loaded and self.ports.clock.now() - min(loaded) >= SETTLE_S:
            return Finding(action="promote", reason=f"loaded by replicas: {len(loaded)}")
        if self._overdue(canary):
            hours = self.settings.canary_hours
            return Finding(
                action="take back", reason=f"no replica has loaded it in {hours:g} hours"
            )
        return Finding(action="wait", reason=f"waits for replicas; loaded by {len(loaded)}")

    def _overdue(self, canary: Canary) -> bool:
        waited_s = self.ports.clock.now() - canary.began_at
        return canary.job is not None and waited_s >= self.settings.canary_hours * HOUR_S

    async def _act(self, canary: Canary) -> None:
        assert canary.finding is not None
        action, reason = canary.finding.action, canary.finding.reason
        releases, model, at = self.ports.releases, canary.model, canary.epoch
        try:
            if action == "take back":
                await releases.take_back(model, epoch=at, reason=reason)
                await self._close(canary, told=True)
            elif action == "promote" and canary.job is not None:
                if not canary.percent and self.settings.canary_percent:
                    await self._show(canary)
                else:
                    await releases.promote(model, canary.version, epoch=at, reason=reason)
                    await self._close(canary, told=True)
        except (Invalid, NotFound) as refusal:
            await self._stopped(canary, str(refusal))

    async def _show(self, canary: Canary) -> None:
        percent = self.settings.canary_percent
        shown = replace(
            canary, epoch=canary.epoch + 1, percent=percent, stage_at=self.ports.clock.now()
        )
        await self.canaries.save(shown)
        await self.ports.releases.canary(
            canary.model, canary.version, percent=percent, epoch=canary.epoch
        )
        await self._tell_job(shown, "canary", f"shown to {percent} % of the shoppers")

    async def _stopped(self, canary: Canary, refusal: str) -> None:
        """Take back what cannot go on, unless somebody else has moved the pointer: they win."""
        pointer = await self.ports.releases.pointer(canary.model)
        if pointer.epoch == canary.epoch:
            await self.ports.releases.take_back(
                canary.model, epoch=pointer.epoch, reason=f"it cannot be promoted: {refusal}"
            )

    async def _close(self, canary: Canary, *, told: bool = False) -> None:
        """Note how the canary ended, by whomever; repeated if the worker dies over it."""
        moves = await self.ports.releases.history(canary.model)
        last = next((m for m in moves if m.version == canary.version and m.change in ENDS), None)
        stage: Stage = "replaced" if last is None else ENDS[last.change][1]
        reason = "another one, or a change by hand" if last is None else last.reason
        if last is not None and not told:
            await self._tell(canary, last)
        await self._tell_job(canary, stage, reason)
        await self.canaries.forget(canary)
        _log.info(
            "canary ended", model=canary.model, version=canary.version, stage=stage, reason=reason
        )

    async def _tell(self, canary: Canary, last: Moved) -> None:
        """Tell of a move once more: whoever made it may have died before telling."""
        change = ENDS[last.change][0]
        try:
            manifest = await self.ports.releases.manifest(canary.model, canary.version)
            about = change_of(manifest, change)
        except (Invalid, NotFound):
            about = ReleaseChanged(model=canary.model, version=canary.version, change=change)
        now_s = self.ports.clock.now()
        envelope = wrap(
            MODELS,
            replace(about, reason=last.reason, by=last.by),
            id=uuid7(int(now_s * 1000), self.ports.rng.bytes(10)),
            source=SERVICE.name,
            time=utc(now_s),
        )
        await self.ports.bus.publish(MODELS, envelope)

    async def _tell_job(self, canary: Canary, stage: Stage, reason: str | None) -> None:
        if canary.job is None:
            return
        try:
            job = await self.jobs.get(canary.job)
        except NotFound:
            return
        await self.jobs.save(replace(job, stage=stage, stage_reason=reason))

    async def said(self, change: ReleaseChanged) -> None:
        """Keep what a replica says of a release; the next look acts on it."""
        if change.change in {"loaded", "rejected"}:
            refused = change.reason or "no reason given" if change.change == "rejected" else None
            said = Said(at=self.ports.clock.now(), refused=refused)
            await self.canaries.note(
                change.model, change.version, change.replica or "a replica", said
            )


def _is(canary: Canary, pointer: Pointer) -> bool:
    """Whether the pointer still says what was stored, or is just about to."""
    if pointer.canary != canary.version:
        return False
    if pointer.epoch == canary.epoch - 1:
        return True
    return (pointer.epoch, pointer.canary_percent) == (canary.epoch, canary.percent)


def _by_time(canary: Canary, hours: float) -> Finding:
    """Decide about a canary of which too little could be told.

    It has passed the gate, and a shop too small for proof would else never renew its models. But
    what nobody was shown, nobody may be able to serve.
    """
    assert canary.finding is not None
    measured = canary.finding.measured
    if canary.shoppers == 0:
        reason = f"nobody was shown it in {hours:g} hours"
        return Finding(action="take back", reason=reason, measured=measured)
    seen = f"no harm shown in {hours:g} hours to {canary.shoppers} shoppers"
    reason = f"{seen}, and it had passed the gate; {canary.finding.reason}"
    return Finding(action="promote", reason=reason, measured=measured)

"""Events to effects."""

from collections.abc import Mapping, Sequence

from services.trainer.rollout import Rollout
from services.trainer.worker import CATCH_UP_S, Worker
from shared.contracts.errors import Retryable
from shared.contracts.events import ReleaseChanged
from shared.contracts.ids import AnonId, UserId
from shared.runtime.bus import Received
from shared.runtime.bus.port import Handler
from shared.runtime.erasure import Clear


def clear_person(worker: Worker) -> Clear:
    """Return what removes a person from the history, a job that has read them included."""

    async def clear(user: UserId, anonids: tuple[AnonId, ...]) -> Mapping[str, int]:
        # What the person did before must be in the lake to be found there.
        if not await worker.intake.caught_up(CATCH_UP_S):
            raise Retryable("the history is behind the topics")
        return await worker.erase([user, *anonids])

    return clear


def on_release_changed(rollout: Rollout) -> Handler:
    """Return what keeps what replicas say of a release."""

    async def keep(batch: Sequence[Received[ReleaseChanged]]) -> None:
        for received in batch:
            if received.envelope is not None:
                await rollout.said(received.envelope.data)

    return keep

"""Events to effects."""

from collections.abc import Mapping

from services.trainer.worker import CATCH_UP_S, Worker
from shared.contracts.errors import Retryable
from shared.contracts.ids import AnonId, UserId
from shared.runtime.erasure import Clear


def clear_person(worker: Worker) -> Clear:
    """Return what removes a person from the history, a job that has read them included."""

    async def clear(user: UserId, anonids: tuple[AnonId, ...]) -> Mapping[str, int]:
        # What the person did before must be in the lake to be found there.
        if not await worker.intake.caught_up(CATCH_UP_S):
            raise Retryable("the history is behind the topics")
        return await worker.erase([user, *anonids])

    return clear

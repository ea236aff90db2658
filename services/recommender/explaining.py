"""Explanations of lists that were given, from what was kept of them."""

import asyncio
from dataclasses import dataclass

from msgspec import Struct

from services.recommender.core.candidates import history_of
from services.recommender.core.explain import Lang, Part, actions_of, because, parts_of
from services.recommender.core.person import Person
from services.recommender.core.shelf import Shelf
from services.recommender.manifest import RECOMMEND
from services.recommender.serving import Serving
from services.recommender.store import Explanations, Snapshot
from shared.contracts.errors import Invalid, NotFound
from shared.learning.features.history import History
from shared.learning.models.bundle import Bundle


class Reason(Struct, frozen=True, omit_defaults=True):
    """One summand of a score; negative ones speak against the item.

    `item` and `action` name the event of the shopper's history that it comes from.
    """

    source: str
    part: float
    item: str | None = None
    title: str | None = None
    action: str | None = None


class Explained(Struct, frozen=True):
    """An item of the list: its parts add up to its score."""

    item_id: str
    title: str
    score: float
    because: str
    parts: list[Reason]


class Explanation(Struct, frozen=True):
    """Why a list was as it was; `exact` False when its release is not there any more.

    Then a model's part of a score is given as a whole, without the events behind it.
    """

    request_id: str
    scenario: str
    release: str
    rung: str
    exact: bool
    items: list[Explained]


@dataclass(frozen=True)
class Explaining:
    """Explains the lists that `Serving` gave."""

    serving: Serving
    kept: Explanations

    async def explain(self, request_id: str, lang: Lang) -> Explanation:
        """Return the explanation of one list.

        Raises
        ------
        NotFound
            No such list, or one that is older than a day or was pushed out by newer ones.
        Retryable
            Redis is away.
        """
        snapshot = await self.kept.find(request_id)
        if snapshot is None:
            raise NotFound(f"no list {request_id!r} is remembered; lists are kept for a day")
        shelf = await self._shelf(snapshot)
        return _explanation(snapshot, shelf, self.serving, lang)

    async def _shelf(self, snapshot: Snapshot) -> Shelf | None:
        shelf = self.serving.shelves.of(snapshot.release)
        if shelf is not None:
            return shelf
        releases = self.serving.ports.releases
        try:
            artifact = await releases.fetch(await releases.manifest(RECOMMEND, snapshot.release))
        except (NotFound, Invalid):
            return None
        bundle = await asyncio.to_thread(Bundle.from_artifact, artifact)
        return self.serving.shelves.beside(bundle, snapshot.release, snapshot.time_s)


def _explanation(
    snapshot: Snapshot, shelf: Shelf | None, serving: Serving, lang: Lang
) -> Explanation:
    history = History.of([])
    if shelf is not None:
        person = Person(events=snapshot.rows)
        rules, now_s = serving.rules, snapshot.time_s
        history = history_of(person, snapshot.anchors, shelf, rules, now_s)
    actions = actions_of(snapshot.rows, snapshot.anchors)
    catalog = serving.shelves.catalog
    items = []
    for item, told in snapshot.shown:
        parts = parts_of(
            item, told, shelf=shelf, history=history, actions=actions, factors=snapshot.factors
        )
        items.append(
            Explained(
                item,
                catalog.title(item, lang),
                sum(part.part for part in parts),
                because(parts, catalog, lang),
                [_reason(part, serving, lang) for part in parts],
            )
        )
    return Explanation(
        snapshot.request_id, snapshot.scenario, snapshot.release, snapshot.rung,
        shelf is not None, items,
    )  # fmt: skip


def _reason(part: Part, serving: Serving, lang: Lang) -> Reason:
    title = None if part.item is None else serving.shelves.catalog.title(part.item, lang)
    return Reason(part.source, part.part, part.item, title, part.action)

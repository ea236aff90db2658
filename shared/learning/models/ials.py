"""Matrix factorisation of implicit feedback by alternating least squares, with fold-in."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from shared.contracts.artifact import Artifact
from shared.contracts.errors import Invalid
from shared.learning.arrays import Bools, Floats, Ints
from shared.learning.features.history import History
from shared.learning.features.interactions import Interactions
from shared.learning.models.baskets import baskets
from shared.learning.models.csr import Csr
from shared.learning.models.reader import Reader

_CELLS = 4_000_000
"""Floats of gathered factors worked on at once: 16 MB, so that a block stays near the cache."""


@dataclass(frozen=True)
class IalsSettings:
    """Settings of `Ials`.

    Parameters
    ----------
    factors : int
        Length d of a factor vector.
    unobserved : float
        Confidence that an item without event is not wanted (alpha_0 of the source).
    regularisation : float
        Penalty, times the frequency raised to `frequency_exponent`. The model is very sensitive
        to it: choose it by validation.
    frequency_exponent : float
        In [0, 1]; 1 penalises frequent users and items in proportion to their events.
    iterations : int
        Rounds of solving users, then items.
    recency : float
        In (0, 1]: strength left of an event one moment older, when a live history is folded in.
    max_history : int
        Newest events of a user that training and serving look at.
    """

    factors: int = 64
    unobserved: float = 0.1
    regularisation: float = 0.01
    frequency_exponent: float = 1.0
    iterations: int = 8
    recency: float = 1.0
    max_history: int = 200

    def __post_init__(self) -> None:
        if min(self.factors, self.iterations, self.max_history) < 1:
            raise Invalid("factors, iterations and max_history must be positive")
        if self.unobserved <= 0 or self.regularisation <= 0 or not 0 < self.recency <= 1:
            raise Invalid("unobserved and regularisation must be positive, recency in (0, 1]")


@dataclass(frozen=True)
class Ials:
    """iALS with frequency-scaled regularisation (Rendle et al. 2021, arXiv 2110.14037).

    Only item factors are kept: a user is folded in from the live history, so a new event
    counts at once and nothing about a person is stored.

    Parameters
    ----------
    item_factors : (n_items, d) float32
    settings : IalsSettings
    weight_scale : float
        Mean weight of the training events, which live weights are divided by.
    """

    KIND: ClassVar[str] = "ials"

    item_factors: Floats
    settings: IalsSettings
    weight_scale: float

    @classmethod
    def fit(
        cls,
        interactions: Interactions,
        settings: IalsSettings | None = None,
        *,
        seed: int = 0,
        workers: int = 2,
    ) -> Self:
        """Learn from positive events, the greatest weight of a user with an item counting.

        Parameters
        ----------
        interactions : Interactions
            At most the newest `max_history` of each user are used.
        settings : IalsSettings, optional
            The defaults suit a shop with short histories.
        seed : int
            The same seed gives the same model.
        workers : int
            Threads; the result does not depend on their number.
        """
        chosen = settings or IalsSettings()
        events = interactions.positive().newest(chosen.max_history)
        matrix, scale = baskets(events)
        by_user, by_item = Csr.of(matrix), Csr.of(matrix.T)
        rng = np.random.default_rng(seed)
        items = rng.normal(0, 0.1, (events.n_items, chosen.factors)).astype(np.float32)
        with ThreadPoolExecutor(workers) as pool:
            for _ in range(chosen.iterations):
                users = _solve_side(by_user, items, chosen, pool)
                items = _solve_side(by_item, users, chosen, pool)
        return cls(items, chosen, scale)

    @property
    def n_items(self) -> int:
        """How many items the model scores."""
        return len(self.item_factors)

    @cached_property
    def _gram(self) -> Floats:
        return np.asarray(self.settings.unobserved * (self.item_factors.T @ self.item_factors))

    def read(self, history: History) -> tuple[Ints, Floats]:
        """Return the distinct items that the model looks at and the confidence in each."""
        seen = history.newest(self.settings.max_history).distinct()
        strength = seen.weights * self.settings.recency**seen.age_rank / self.weight_scale
        liked = strength > 0
        return seen.items[liked], strength[liked].astype(np.float32)

    def fold_in(self, history: History) -> Floats:
        """Return the (d,) factors of the shopper with this history; zero when it is empty."""
        items, strength = self.read(history)
        factors = self.item_factors[items]
        left = self._left(factors, strength)
        return np.asarray(np.linalg.solve(left, strength @ factors))

    def _left(self, factors: Floats, strength: Floats) -> Floats:
        left = self._gram + factors.T @ (factors * strength[:, None])
        diagonal = np.einsum("ii->i", left)
        diagonal += _penalty(self.settings, len(factors), self.n_items)
        return left

    def scores(self, history: History) -> Floats:
        """Return the (n_items,) scores; all zero for an empty history."""
        return self.item_factors @ self.fold_in(history)

    def contributions(self, history: History, item: int) -> tuple[Ints, Floats]:
        """Return history items and their signed parts, which add up to the score of `item`.

        The source is Hu, Koren and Volinsky 2008, section 5.
        """
        items, strength = self.read(history)
        factors = self.item_factors[items]
        pull = np.linalg.solve(self._left(factors, strength), self.item_factors[item])
        return items, strength * (factors @ pull)

    def to_artifact(self) -> Artifact:
        """Return the factors as an array and the settings as JSON."""
        return Artifact(
            kind=self.KIND,
            arrays={"item_factors": self.item_factors},
            meta={**vars(self.settings), "weight_scale": self.weight_scale},
            blobs={},
        )

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """Rebuild the model; Invalid when the artifact is of another kind or damaged."""
        read = Reader(artifact, cls.KIND)
        settings = IalsSettings(
            factors=read.int("factors"),
            unobserved=read.float("unobserved"),
            regularisation=read.float("regularisation"),
            frequency_exponent=read.float("frequency_exponent"),
            iterations=read.int("iterations"),
            recency=read.float("recency"),
            max_history=read.int("max_history"),
        )
        factors = read.floats("item_factors", -1, settings.factors)
        return cls(factors, settings, read.float("weight_scale"))


def _penalty(settings: IalsSettings, events: int | Ints, others: int) -> Floats:
    frequency = np.asarray(events, dtype=np.float32) + settings.unobserved * others
    return np.asarray(settings.regularisation * frequency**settings.frequency_exponent)


def _solve_side(
    rows: Csr, others: Floats, settings: IalsSettings, pool: ThreadPoolExecutor
) -> Floats:
    """Return the factors of one side, each row's ridge regression on the other side's factors."""
    # In the basis of its eigenvectors the shared part of all left-hand sides is diagonal.
    values, basis = np.linalg.eigh(settings.unobserved * (others.T @ others))
    rotated = others @ basis
    solved = np.zeros((len(rows.indptr) - 1, settings.factors), dtype=np.float32)

    def solve(block: Ints) -> None:
        starts = rows.indptr[block]
        lengths = rows.indptr[block + 1] - starts
        places = np.minimum(starts[:, None] + np.arange(lengths.max()), len(rows.indices) - 1)
        present = np.arange(lengths.max()) < lengths[:, None]
        factors = rotated[rows.indices[places]] * present[..., None]
        ridge = np.maximum(values, 0) + _penalty(settings, lengths, len(others))[:, None]
        short = lengths.max() < settings.factors
        solved[block] = (_few if short else _many)(factors, rows.values[places], present, ridge)

    list(pool.map(solve, _blocks(np.diff(rows.indptr), settings.factors)))
    return np.asarray(solved @ basis.T)


def _many(factors: Floats, weights: Floats, present: Bools, ridge: Floats) -> Floats:
    """Solve ``(diag(ridge) + Fᵀ W F) x = Fᵀ w`` for (rows, events, d) factors F."""
    weighted = factors * (weights * present)[..., None]
    left = factors.transpose(0, 2, 1) @ weighted
    d = np.arange(factors.shape[2])
    left[:, d, d] += ridge
    return np.asarray(np.linalg.solve(left, weighted.sum(axis=1)[..., None])[..., 0])


def _few(factors: Floats, weights: Floats, present: Bools, ridge: Floats) -> Floats:
    """Solve the same through an (events x events) matrix: ``x = R⁻¹ Fᵀ (W⁻¹ + F R⁻¹ Fᵀ)⁻¹ 1``."""
    scaled = factors / ridge[:, None, :]
    left = scaled @ factors.transpose(0, 2, 1)
    n = np.arange(factors.shape[1])
    left[:, n, n] += 1 / np.where(present, weights, 1)
    pull = np.linalg.solve(left, present[..., None].astype(np.float32))
    return np.asarray((scaled * pull).sum(axis=1))


def _blocks(lengths: Ints, factors: int) -> Iterator[Ints]:
    """Yield rows with events, alike in length, so that padding them costs little."""
    order = np.argsort(lengths, kind="stable")
    order = order[np.searchsorted(lengths[order], 1) :]
    start = 0
    while start < len(order):
        # A row takes its factors and, for its left-hand side, no more than d x d.
        cost = lengths[order[start:]] * factors * 2
        rows = np.arange(1, len(cost) + 1)
        end = start + max(1, int(np.searchsorted(cost * rows, _CELLS, side="right")))
        yield order[start:end]
        start = end

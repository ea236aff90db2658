"""Predicted ratings: biased matrix factorisation fitted by variational Bayes."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np

from shared.contracts.artifact import Artifact
from shared.contracts.errors import Invalid
from shared.learning.arrays import Floats, Ints
from shared.learning.features.interactions import Interactions
from shared.learning.models.reader import Reader
from shared.learning.sparse import Sparse, csr


class Rating(NamedTuple):
    """A predicted rating and its parts; `value` is their sum, cut to the scale."""

    value: float
    mean: float
    user_bias: float
    item_bias: float
    interaction: float


@dataclass(frozen=True)
class RatingSettings:
    """Settings of `BiasedFactors`.

    Parameters
    ----------
    factors : int
        Length d of a factor vector; superfluous factors are switched off by the fit itself.
    iterations : int
        Rounds of updating users, then items.
    lowest, highest : float
        The scale; predictions are cut to it.
    """

    factors: int = 10
    iterations: int = 30
    lowest: float = 1.0
    highest: float = 5.0

    def __post_init__(self) -> None:
        if min(self.factors, self.iterations) < 1 or self.lowest >= self.highest:
            raise Invalid("factors and iterations must be positive, lowest below highest")


@dataclass(frozen=True)
class BiasedFactors:
    """``rating = mean + user bias + item bias + user factors · item factors``.

    Each vector has a Gaussian posterior (Lim and Teh 2007, variational Bayes for the Netflix
    prize), so that a user with few ratings is drawn to the mean as strongly as the data ask
    for: the regularisation of every factor and bias is learnt, not tuned.

    Parameters
    ----------
    mean : float
    users : (n_users, d + 1) float32
        Factors and, last, the bias of every user; zero for one without ratings.
    items : (n_items, d + 1) float32
    prior : (d + 1,) float32
        Variances of a user's factors and bias, for folding in.
    noise : float
        Variance of a rating around its prediction.
    settings : RatingSettings
    """

    KIND: ClassVar[str] = "ratings"

    mean: float
    users: Floats
    items: Floats
    prior: Floats
    noise: float
    settings: RatingSettings

    @classmethod
    def fit(
        cls, ratings: Interactions, settings: RatingSettings | None = None, *, seed: int = 0
    ) -> Self:
        """Learn from ratings (the `weight` column); the same seed gives the same model.

        A user's repeated ratings of one item count as their mean.
        """
        chosen = settings or RatingSettings()
        mean = float(ratings.weight.mean()) if len(ratings) else _middle(chosen)
        centred, counts = _matrices(ratings, mean)
        rng = np.random.default_rng(seed)
        users = _Side.start(ratings.n_users, chosen.factors, rng)
        items = _Side.start(ratings.n_items, chosen.factors, rng)
        noise = 1.0
        for _ in range(chosen.iterations if len(ratings) else 0):
            users = users.updated(items, centred, counts, noise)
            items = items.updated(users, centred.T.tocsr(), counts.T.tocsr(), noise)
            noise = _noise(users, items, centred)
        return cls(
            mean,
            _without_cold(users.means, counts).astype(np.float32),
            _without_cold(items.means, counts.T.tocsr()).astype(np.float32),
            users.prior.astype(np.float32),
            noise,
            chosen,
        )

    def predict(self, user: int | None, item: int | None) -> Rating:
        """Return the predicted rating; None stands for a user or item never seen in training."""
        nobody = np.zeros(self.settings.factors + 1, dtype=np.float32)
        return self.predict_for(nobody if user is None else self.users[user], item)

    def predict_for(self, user: Floats, item: int | None) -> Rating:
        """Return the rating of a user given as (d + 1,) vector, as `fold_in` makes it."""
        thing = np.zeros_like(user) if item is None else self.items[item]
        interaction = float(user[:-1] @ thing[:-1])
        total = self.mean + float(user[-1]) + float(thing[-1]) + interaction
        value = min(max(total, self.settings.lowest), self.settings.highest)
        return Rating(value, self.mean, float(user[-1]), float(thing[-1]), interaction)

    def predict_many(self, users: Ints, items: Ints) -> Floats:
        """Return the predicted ratings of pairs known in training, cut to the scale."""
        mine, thing = self.users[users], self.items[items]
        total = self.mean + mine[:, -1] + thing[:, -1] + (mine[:, :-1] * thing[:, :-1]).sum(axis=1)
        return np.asarray(np.clip(total, self.settings.lowest, self.settings.highest))

    def fold_in(self, items: Ints, ratings: Floats) -> Floats:
        """Return the (d + 1,) vector of a user with these ratings, without retraining."""
        factors = self.items[items].copy()
        wanted = ratings - self.mean - factors[:, -1]
        factors[:, -1] = 1.0
        # A factor that the fit switched off has a prior variance near zero.
        left = factors.T @ factors / self.noise + np.diag(1 / np.maximum(self.prior, 1e-9))
        return np.asarray(np.linalg.solve(left, factors.T @ wanted / self.noise))

    def to_artifact(self) -> Artifact:
        """Return the vectors as arrays and the settings as JSON."""
        return Artifact(
            kind=self.KIND,
            arrays={"users": self.users, "items": self.items, "prior": self.prior},
            meta={"mean": self.mean, "noise": self.noise, **vars(self.settings)},
            blobs={},
        )

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """Rebuild the model; Invalid when the artifact is of another kind or damaged."""
        read = Reader(artifact, cls.KIND)
        settings = RatingSettings(
            read.int("factors"), read.int("iterations"), read.float("lowest"), read.float("highest")
        )
        width = settings.factors + 1
        return cls(
            read.float("mean"),
            read.floats("users", -1, width),
            read.floats("items", -1, width),
            read.floats("prior", width),
            read.float("noise"),
            settings,
        )


@dataclass(frozen=True)
class _Side:
    """Posterior of one side's vectors: d factors and the bias."""

    means: Floats
    covariances: Floats
    prior: Floats

    @classmethod
    def start(cls, n: int, factors: int, rng: np.random.Generator) -> Self:
        means = np.c_[rng.normal(0, 0.1, (n, factors)), np.zeros(n)]
        prior = np.full(factors + 1, 0.1)
        return cls(means, np.zeros((n, factors + 1, factors + 1)), prior)

    def updated(self, other: Self, centred: Sparse, counts: Sparse, noise: float) -> Self:
        """Return this side's posterior given the other's: a ridge regression for each row."""
        d = len(self.prior) - 1
        features = np.c_[other.means[:, :d], np.ones(len(other.means))]
        bias = other.means[:, d]
        second = features[:, :, None] * features[:, None, :]
        second[:, :d, :d] += other.covariances[:, :d, :d]
        taken = features * bias[:, None]
        taken[:, :d] += other.covariances[:, :d, d]
        flat = counts @ second.reshape(len(second), -1)
        precision = flat.reshape(-1, d + 1, d + 1) / noise + np.diag(1 / self.prior)
        covariances = np.linalg.inv(precision)
        right = (centred @ features - counts @ taken) / noise
        means = (covariances @ right[..., None])[..., 0]
        spread = np.diagonal(covariances, axis1=1, axis2=2)
        prior = np.maximum((means**2 + spread).mean(axis=0), 1e-6)
        return type(self)(means, covariances, prior)


def _matrices(ratings: Interactions, mean: float) -> tuple[Sparse, Sparse]:
    """Return the (n_users, n_items) centred ratings and a 1 for each, with equal entries."""
    shape = (ratings.n_users, ratings.n_items)
    counts = csr(ratings.user, ratings.item, np.ones(len(ratings)), shape).astype(np.float64)
    pair = ratings.user.astype(np.int64) * ratings.n_items + ratings.item
    _, place = np.unique(pair, return_inverse=True)
    total = np.bincount(place, weights=ratings.weight - mean, minlength=counts.nnz)
    centred = counts.copy()
    centred.data = total / counts.data
    counts.data = np.ones_like(counts.data)
    return centred, counts


def _noise(users: _Side, items: _Side, centred: Sparse) -> float:
    """Return the expected squared error over the ratings, with the spread of the posteriors."""
    d = len(users.prior) - 1
    user = np.repeat(np.arange(centred.shape[0]), np.diff(centred.indptr))
    total = 0.0
    for start in range(0, centred.nnz, 1 << 16):
        span = slice(start, start + (1 << 16))
        u, i = user[span], centred.indices[span]
        p, q, s, t = users.means[u], items.means[i], users.covariances[u], items.covariances[i]
        error = centred.data[span] - p[:, d] - q[:, d] - (p[:, :d] * q[:, :d]).sum(axis=1)
        spread = (s[:, :d, :d] * t[:, :d, :d]).sum(axis=(1, 2))
        spread += _quadratic(np.c_[q[:, :d], np.ones(len(q))], s)
        spread += _quadratic(np.c_[p[:, :d], np.ones(len(p))], t)
        total += float((error**2 + spread).sum())
    return max(total / float(centred.nnz), 1e-6)


def _quadratic(vectors: Floats, matrices: Floats) -> Floats:
    return np.asarray(np.einsum("ni,nij,nj->n", vectors, matrices, vectors, optimize=True))


def _without_cold(means: Floats, counts: Sparse) -> Floats:
    return np.where((np.diff(counts.indptr) > 0)[:, None], means, 0.0)


def _middle(settings: RatingSettings) -> float:
    return (settings.lowest + settings.highest) / 2

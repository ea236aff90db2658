"""Ratings by the singular value decomposition of the filled rating matrix."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from shared.contracts.artifact import Artifact
from shared.contracts.errors import Invalid
from shared.learning.arrays import Floats
from shared.learning.features.interactions import Interactions
from shared.learning.models.reader import Reader


@dataclass(frozen=True)
class FilledSvd:
    """Ratings as inner products of user and item vectors (Sarwar et al. 2000).

    The matrix of all ratings, its gaps filled, is replaced by the closest matrix of rank k in
    squared error (Eckart and Young 1936). With the full rank the filled matrix comes back.

    Parameters
    ----------
    users : (n_users, k) floats
        Left singular vectors times the square roots of the singular values.
    items : (n_items, k) floats
    user_means : (n_users,) floats
        Added to each product; zero when the matrix was not centred.
    """

    KIND: ClassVar[str] = "filled-svd"

    users: Floats
    items: Floats
    user_means: Floats

    @classmethod
    def fit(cls, ratings: Interactions, *, rank: int, centre: bool = False) -> Self:
        """Fill, decompose and cut.

        A gap takes the mean of its item's ratings, or the mean of all where there is none.

        Parameters
        ----------
        ratings : Interactions
            Ratings in the `weight` column; repeated ratings count as their mean.
        rank : int
            From 1 to the smaller side of the matrix; the dense matrix must fit in memory.
        centre : bool
            Subtract each user's mean of the filled row first, and add it to predictions.
        """
        if not 1 <= rank <= min(ratings.n_users, ratings.n_items):
            raise Invalid(f"must lie in 1 … {min(ratings.n_users, ratings.n_items)}", field="rank")
        matrix = filled(ratings)
        means = matrix.mean(axis=1) if centre else np.zeros(len(matrix))
        left, values, right = np.linalg.svd(matrix - means[:, None], full_matrices=False)
        root = np.sqrt(values[:rank])
        return cls(left[:, :rank] * root, right[:rank].T * root, means)

    def predict(self, user: int, item: int) -> float:
        """Return the predicted rating, not cut to any scale."""
        return float(self.user_means[user] + self.users[user] @ self.items[item])

    def matrix(self) -> Floats:
        """Return all (n_users, n_items) predicted ratings."""
        return self.user_means[:, None] + self.users @ self.items.T

    def to_artifact(self) -> Artifact:
        """Return the vectors as arrays."""
        arrays = {"users": self.users, "items": self.items, "user_means": self.user_means}
        return Artifact(self.KIND, arrays, {"rank": self.users.shape[1]}, {})

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """Rebuild the model; Invalid when the artifact is of another kind or damaged."""
        read = Reader(artifact, cls.KIND)
        rank = read.int("rank")
        users = read.floats("users", -1, rank)
        return cls(users, read.floats("items", -1, rank), read.floats("user_means", len(users)))


def filled(ratings: Interactions) -> Floats:
    """Return the dense (n_users, n_items) ratings; gaps hold the item's mean, else the mean."""
    shape = (ratings.n_users, ratings.n_items)
    place = ratings.user.astype(np.int64) * ratings.n_items + ratings.item
    counts = np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape)
    total = np.bincount(place, weights=ratings.weight, minlength=counts.size).reshape(shape)
    overall = float(ratings.weight.mean()) if len(ratings) else 0.0
    item_counts = counts.sum(axis=0)
    means = np.where(item_counts > 0, total.sum(axis=0) / np.maximum(item_counts, 1), overall)
    return np.where(counts > 0, total / np.maximum(counts, 1), means)

"""What happened, as columns: the only input of the recommender's models."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from shared.contracts.errors import Invalid
from shared.learning.arrays import Bools, Floats, Ints
from shared.learning.features import frames
from shared.learning.models.ids import IdIndex

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Interactions:
    """Events of users with items, one a row.

    Parameters
    ----------
    user, item : (n,) integers
        Dense numbers below `n_users` and `n_items`.
    time_s : (n,) floats
        Seconds; events of a user with equal times happened together (a basket).
    weight : (n,) floats
        Strength of the event (type weight and decay), or the rating for rating models.

    Raises
    ------
    Invalid
        Columns of unequal length, numbers out of range, or values that are not finite.
    """

    user: Ints
    item: Ints
    time_s: Floats
    weight: Floats
    n_users: int
    n_items: int

    def __post_init__(self) -> None:
        columns = (self.user, self.item, self.time_s, self.weight)
        if any(c.ndim != 1 or len(c) != len(self.user) for c in columns):
            raise Invalid("user, item, time_s and weight must be columns of one length")
        for name, column, bound in (
            ("user", self.user, self.n_users),
            ("item", self.item, self.n_items),
        ):
            if len(column) and not (column.min() >= 0 and column.max() < bound):
                raise Invalid(f"must lie in 0 … {bound - 1}", field=name)
        if not (np.isfinite(self.time_s).all() and np.isfinite(self.weight).all()):
            raise Invalid("time_s and weight must be finite")

    def __len__(self) -> int:
        return len(self.user)

    @classmethod
    def of_sequences(cls, sequences: list[Ints], n_items: int) -> Self:
        """Return events of weight 1 whose time is the position in each user's sequence."""
        lengths = np.array([len(s) for s in sequences], dtype=np.int64)
        item = np.concatenate([*sequences, np.zeros(0, dtype=np.int32)]).astype(np.int32)
        time = np.concatenate([*map(np.arange, lengths), np.zeros(0)]).astype(np.float64)
        user = np.repeat(np.arange(len(sequences), dtype=np.int32), lengths)
        return cls(user, item, time, np.ones(len(item)), len(sequences), n_items)

    @classmethod
    def from_frame(
        cls,
        frame: "pd.DataFrame",
        *,
        user: str = "user",
        item: str = "item",
        time: str = "time",
        weight: str | None = None,
    ) -> tuple[Self, IdIndex, IdIndex]:
        """Return the rows of a pandas table as events, and the ids of its users and items.

        Parameters
        ----------
        frame : pandas.DataFrame
            One event a row, in any order; the index and other columns are not looked at.
        user, item : str
            Columns of ids, strings or whole numbers. They are numbered as they first appear.
        time : str
            Column of moments (without a zone: UTC) or of seconds.
        weight : str, optional
            Column of strengths or ratings; without one every event weighs 1.

        Raises
        ------
        Invalid
            A column is not there, of another type, or has a gap; it names column and row.
        """
        user_numbers, users = frames.ids(frame, user)
        item_numbers, items = frames.ids(frame, item)
        weights = np.ones(len(frame)) if weight is None else frames.numbers(frame, weight)
        time_s = frames.seconds(frame, time)
        events = cls(user_numbers, item_numbers, time_s, weights, len(users), len(items))
        return events, users, items

    def where(self, keep: Bools | Ints) -> Self:
        """Return the events chosen by a mask or by positions; the numbering stays."""
        return type(self)(
            self.user[keep],
            self.item[keep],
            self.time_s[keep],
            self.weight[keep],
            self.n_users,
            self.n_items,
        )

    def ordered(self) -> Self:
        """Return the events by user, then time; events at one moment keep their order."""
        same = self.user[1:] == self.user[:-1]
        later = np.where(same, self.time_s[1:] >= self.time_s[:-1], self.user[1:] > self.user[:-1])
        if later.all():
            return self
        return self.where(np.lexsort((self.time_s, self.user)))

    def newest(self, per_user: int) -> Self:
        """Return each user's newest `per_user` events, ordered."""
        events = self.ordered()
        last = np.cumsum(np.bincount(events.user, minlength=self.n_users))
        age = last[events.user] - 1 - np.arange(len(events))
        return events.where(age < per_user)

    def positive(self) -> Self:
        """Return the events of positive weight."""
        return self.where(self.weight > 0)

    def time_rank(self) -> Ints:
        """Return for ordered events how many distinct moments of their user came before."""
        if len(self) == 0:
            return np.zeros(0, dtype=np.int64)
        new_user = np.r_[True, self.user[1:] != self.user[:-1]]
        step = np.r_[False, self.time_s[1:] != self.time_s[:-1]] & ~new_user
        total = np.cumsum(step)
        lengths = np.diff(np.r_[np.flatnonzero(new_user), len(self)])
        return np.asarray(total - np.repeat(total[new_user], lengths))

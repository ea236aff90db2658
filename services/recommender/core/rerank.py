"""From the best to a good list: no category takes it over, no item repeats its neighbour."""

from collections import Counter

import numpy as np

from shared.learning.arrays import Floats, Ints


def reranked(
    scores: Floats,
    categories: Ints,
    k: int,
    *,
    cap: int,
    diversity: float = 0.0,
    vectors: Floats | None = None,
) -> list[int]:
    """Return the positions of `k` candidates in the order in which they are to be shown.

    Maximal marginal relevance (Carbonell and Goldstein 1998): next comes the candidate with the
    greatest ``(1 - diversity) * score - diversity * (greatest cosine with what stands above)``,
    among those whose category has fewer than `cap` places; when only full categories are left,
    their best follow.

    Parameters
    ----------
    scores : (n,) floats
        Scaled so that the best is 1, for scores and cosines to weigh alike.
    categories : (n,) integers
        0 stands for no category and is never capped.
    k, cap : int
        Places in the list, and of one category.
    diversity : float
        In [0, 1].
    vectors : (n, d) floats of length 1, optional
        A zero vector is like nothing. Without them only the caps count.
    """
    alike = None if vectors is None else (vectors @ vectors.T) * np.float32(diversity)
    value = ((1 - diversity) * scores).astype(np.float32)
    chosen = _chosen(value, alike, categories, min(k, len(scores)), cap)
    return chosen + _rest(scores, chosen, min(k, len(scores)) - len(chosen))


def _chosen(
    value: Floats, alike: Floats | None, categories: Ints, count: int, cap: int
) -> list[int]:
    """Pick by value less likeness until the list or the categories are full; uses `value` up."""
    nearest = np.zeros(len(value), dtype=np.float32)
    taken: Counter[int] = Counter()
    chosen: list[int] = []
    kinds = categories.tolist()
    while len(chosen) < count:
        pick = int((value if alike is None else value - nearest).argmax())
        if value[pick] == -np.inf:
            break
        chosen.append(pick)
        value[pick] = -np.inf
        category = kinds[pick]
        taken[category] += 1
        if category and taken[category] == cap:
            value[categories == category] = -np.inf
        if alike is not None:
            np.maximum(nearest, alike[pick], out=nearest)
    return chosen


def _rest(scores: Floats, chosen: list[int], count: int) -> list[int]:
    if count <= 0:
        return []
    above = set(chosen)
    order = np.argsort(-scores, kind="stable").tolist()
    return [position for position in order if position not in above][:count]

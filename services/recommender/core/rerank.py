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
    value = ((1 - diversity) * scores).astype(np.float32)
    beside = None if vectors is None else value - (vectors @ vectors.T) * np.float32(diversity)
    chosen = _chosen(value, beside, categories, min(k, len(scores)), cap)
    return chosen + _rest(scores, chosen, min(k, len(scores)) - len(chosen))


def _chosen(
    value: Floats, beside: Floats | None, categories: Ints, count: int, cap: int
) -> list[int]:
    """Pick the greatest value until the list or the categories are full; uses `value` up.

    ``beside[i, j]`` is all that j is still worth once i is chosen.
    """
    taken: Counter[int] = Counter()
    chosen: list[int] = []
    kinds = categories.tolist()
    while len(chosen) < count:
        pick = int(value.argmax())
        if value[pick] == -np.inf:
            break
        chosen.append(pick)
        value[pick] = -np.inf
        category = kinds[pick]
        taken[category] += 1
        if category and taken[category] == cap:
            value[categories == category] = -np.inf
        if beside is not None:
            np.minimum(value, beside[pick], out=value)
    return chosen


def _rest(scores: Floats, chosen: list[int], count: int) -> list[int]:
    if count <= 0:
        return []
    above = set(chosen)
    order = np.argsort(-scores, kind="stable").tolist()
    return [position for position in order if position not in above][:count]

"""Sources in both their forms."""

import numpy as np

from services.recommender.core.source import Few, Source


def test_few_parts_are_what_many_parts_are() -> None:
    """What is bought again would get another score in the list than in its explanation."""
    parts = np.array([0, 0.25, 0, -0.5], dtype=np.float32)
    for source in (Source("s", 1.0, parts), Few("s", 1.0, {1: 0.25, 3: -0.5})):
        total = np.ones(6, dtype=np.float32)
        source.add_to(total)
        assert total.tolist() == [1, 1.25, 1, 0.5, 1, 1]
        assert source.at([3, 5, 1, 0]) == [-0.5, 0.0, 0.25, 0.0]

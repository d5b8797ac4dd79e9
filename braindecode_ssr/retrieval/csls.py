"""Cross-domain similarity local scaling (Conneau et al. 2018, arXiv:1710.04087, equation 3)."""

from __future__ import annotations

import numpy as np

NEIGHBOURS = 10


def csls(similarity: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Similarities from which those that everybody is near to are marked down.

    Twice the similarity, less the mean similarity of the query to its nearest candidates, less the mean
    similarity of the candidate to its nearest *queries*.

    **Transductive**: the last term needs all test queries at once, so that the answer to one depends on which
    others are asked. A decoder that meets one brain response at a time can't compute it.

    Parameters
    ----------
    similarity : ndarray, shape (q, g)
        Cosines.
    neighbours : int
        How many are near; all, where there are fewer.

    Returns
    -------
    ndarray, shape (q, g)
    """
    to_candidates = _mean_of_largest(similarity, neighbours)
    to_queries = _mean_of_largest(similarity.T, neighbours)
    return 2 * similarity - to_candidates[:, None] - to_queries[None, :]


def _mean_of_largest(rows: np.ndarray, count: int) -> np.ndarray:
    """Mean of the largest values of each row; sorted first, so that equal rows give equal means."""
    return np.sort(rows, axis=1)[:, -count:].mean(axis=1)

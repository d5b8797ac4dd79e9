"""From embeddings to ranks: pure functions on arrays."""

from __future__ import annotations

import numpy as np

from ..errors import DataError

TIE = 1e-12  # scores nearer than this are equal: rounding must not break a tie in our favour


def cosine(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Cosine similarity of every query with every candidate.

    Parameters
    ----------
    queries : ndarray, shape (q, e)
        Brain embeddings.
    gallery : ndarray, shape (g, e)
        Image embeddings.

    Returns
    -------
    ndarray, shape (q, g)
        In float64, so that equal rows get equal scores.

    Raises
    ------
    DataError
        If a row has no direction: zero length, NaN or infinite.
    """
    return _unit(queries, "query") @ _unit(gallery, "gallery").T


def rank_of_target(similarity: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Rank of each query's own image, counted from 1; ties count against us.

    Parameters
    ----------
    similarity : ndarray, shape (q, g)
        Higher is nearer.
    targets : ndarray of int, shape (q,)
        Column of each query's own image.

    Returns
    -------
    ndarray of int, shape (q,)
        Number of candidates that score at least as high as the own image, itself included.
    """
    own = similarity[np.arange(len(targets)), targets]
    return (similarity >= own[:, None] - TIE).sum(axis=1)


def best(similarity: np.ndarray, k: int) -> np.ndarray:
    """Columns of the ``k`` nearest candidates of each query, nearest first, shape (q, k)."""
    return np.argsort(-similarity, axis=1, kind="stable")[:, :k]


def _unit(rows: np.ndarray, what: str) -> np.ndarray:
    rows = np.asarray(rows, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(norms[:, 0]) | (norms[:, 0] == 0))
    if len(bad):
        raise DataError(
            f"{what} embeddings of finite, non-zero length",
            f"{len(bad)} without, the first in row {bad[0]}",
            "train again with a lower --set train.lr or check the features",
        )
    return rows / norms

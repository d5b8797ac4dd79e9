"""In which space embeddings are compared: how near a query is to a candidate, by the name of the space.

In the Euclidean space it is the cosine. In hyperbolic space, where embeddings are tangent vectors at the
origin, it is minus the Lorentz distance of their points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import DataError
from ..registry import unknown_name
from .ranks import cosine


def minus_distance(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Minus the Lorentz distance of the point of every query from that of every candidate.

    Parameters
    ----------
    queries : ndarray, shape (q, e)
        Brain embeddings: tangent vectors at the origin.
    gallery : ndarray, shape (g, e)
        Image embeddings, of the same kind.

    Returns
    -------
    ndarray, shape (q, g)
        In float64; equal candidates get equal scores to the last bit.

    Raises
    ------
    DataError
        If a row is NaN or infinite.
    """
    import torch

    from ..hyperbolic import expmap0, pairwise_distance

    different, place = np.unique(_finite(gallery, "gallery"), axis=0, return_inverse=True)
    tangents = _finite(queries, "query"), different
    points = (expmap0(torch.from_numpy(rows)) for rows in tangents)
    return -pairwise_distance(*points).numpy()[:, place.reshape(-1)]


SPACES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "euclidean": cosine,
    "hyperbolic": minus_distance,
}
"""Name of a space to a function of queries (q, e) and gallery (g, e); higher is nearer."""


def similarity(queries: np.ndarray, gallery: np.ndarray, space: str = "euclidean") -> np.ndarray:
    """How near every query is to every candidate, shape (q, g).

    Raises
    ------
    UsageError
        If there is no space of that name.
    """
    if space not in SPACES:
        raise unknown_name("space", space, list(SPACES))
    return SPACES[space](queries, gallery)


def space_of(part: Any) -> str:
    """The space in which a model's embeddings, or those that a loss takes, are compared."""
    return getattr(part, "space", "euclidean")


def _finite(rows: np.ndarray, what: str) -> np.ndarray:
    rows = np.asarray(rows, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise DataError(
            f"{what} embeddings that are finite",
            f"{len(bad)} that are not, the first in row {bad[0]}",
            "train again with a lower --set train.lr or check the features",
        )
    return rows

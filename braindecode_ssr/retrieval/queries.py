"""The tidy table every number comes from: one row per query."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .corrections import correct
from .ranks import best, rank_of_target
from .spaces import similarity

N_BEST = 5
AT_ONCE = 1 << 24
"""Similarities in memory at a time, unless a correction needs all of them."""


def query_table(
    queries: np.ndarray,
    gallery: np.ndarray,
    images: pd.DataFrame,
    gallery_ids: list[str],
    correction: str = "none",
    space: str = "euclidean",
) -> pd.DataFrame:
    """Rank the gallery for each query.

    Parameters
    ----------
    queries : ndarray, shape (q, e)
        Brain embeddings.
    gallery : ndarray, shape (g, e)
        Image embeddings of the candidates.
    images : DataFrame, q rows
        ``subject``, ``image_id`` and ``concept`` of each query.
    gallery_ids : list of str, length g
        Image id of each candidate; holds the image of every query.
    correction : str
        One of ``CORRECTIONS``; all but ``"none"`` are transductive.
    space : str
        One of ``SPACES``: how embeddings are compared.

    Returns
    -------
    DataFrame
        ``subject, image_id, concept, rank, score, top_1 ... top_5``; score is the cosine with the
        query's own image, or minus the distance from it, without the correction.
    """
    targets = pd.Index(gallery_ids).get_indexer(images["image_id"])
    table = images[["subject", "image_id", "concept"]].reset_index(drop=True)
    size = max(1, AT_ONCE // len(gallery)) if correction == "none" else max(1, len(queries))
    if size < len(queries):
        similarity(queries, gallery[:1], space)  # an error names the row among all queries
    ranks, scores, nearest = [], [], []
    for first in range(0, max(1, len(queries)), size):
        own = targets[first : first + size]
        near = similarity(queries[first : first + size], gallery, space)
        ranked = correct(near, own, correction)
        ranks.append(rank_of_target(ranked, own))
        scores.append(near[np.arange(len(own)), own])
        nearest.append(best(ranked, N_BEST).copy())
    table["rank"], table["score"] = np.concatenate(ranks), np.concatenate(scores)
    nearest = np.concatenate(nearest)
    for place in range(nearest.shape[1]):
        table[f"top_{place + 1}"] = np.asarray(gallery_ids, dtype=object)[nearest[:, place]]
    return table

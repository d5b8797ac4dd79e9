"""From ranks to numbers. Accuracies are fractions in 0..1."""

from __future__ import annotations

import numpy as np
import pandas as pd

METRICS = {
    "top1": lambda rank: (rank <= 1).astype(float),
    "top5": lambda rank: (rank <= 5).astype(float),
    "mrr": lambda rank: 1.0 / rank,
    "mean_rank": lambda rank: rank.astype(float),
}
"""Metrics that are means over queries: name to what a query's rank contributes."""


def per_query(queries: pd.DataFrame, metric: str) -> pd.Series:
    """What each query contributes to a metric; the mean of it is the metric.

    Parameters
    ----------
    queries : DataFrame
        With ``rank``; where it also has a column of the metric's name that is not empty, as under n-way
        retrieval, that is the contribution.
    metric : {"top1", "top5", "mrr", "mean_rank"}

    Returns
    -------
    Series of float
        With the index of ``queries``.
    """
    from_rank = METRICS[metric](queries["rank"])
    return queries[metric].fillna(from_rank) if metric in queries else from_rank


def top_k(ranks: np.ndarray, k: int) -> float:
    """Fraction of queries whose own image is among the ``k`` nearest candidates."""
    return float(np.mean(np.asarray(ranks) <= k))


def mean_reciprocal_rank(ranks: np.ndarray) -> float:
    """Mean of 1 / rank."""
    return float(np.mean(1.0 / np.asarray(ranks)))


def summarise(ranks: np.ndarray) -> dict[str, float]:
    """All the numbers that a table shows of a run.

    Parameters
    ----------
    ranks : ndarray of int, shape (q,)
        Counted from 1.

    Returns
    -------
    dict
        ``top1``, ``top5``, ``mean_rank``, ``median_rank``, ``mrr``.
    """
    return {
        "top1": top_k(ranks, 1),
        "top5": top_k(ranks, 5),
        "mean_rank": float(np.mean(ranks)),
        "median_rank": float(np.median(ranks)),
        "mrr": mean_reciprocal_rank(ranks),
    }


def chance(n_gallery: int) -> dict[str, float]:
    """What guessing gives among ``n_gallery`` candidates."""
    return {"chance_top1": 1 / n_gallery, "chance_top5": min(1.0, 5 / n_gallery)}

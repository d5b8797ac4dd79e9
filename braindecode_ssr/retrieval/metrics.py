"""From ranks, counted from 1, to numbers. Accuracies are fractions of 0 to 1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from ..errors import UsageError

FLAGS = {
    "test-selection": "the epoch, layer or setting was chosen on the test itself",
    "test-images": "test images, though not the tested trials, were used in training or in a choice",
    "altered-gallery": "the candidates are altered copies of the test images, not the images that were shown",
    "class-templates": "the candidates are means of other images of a concept, not images that were shown",
    "transductive": "all test queries were used together: the answer to one depends on the others",
    "oracle-union": "a hit of any of several modalities counts as a hit",
    "fewer-candidates": "each query is ranked among only some of the test images",
    "test-in-whitening": "their authors whitened these files with the noise of training and test trials",
    "same-recording": "two of the subjects, training or tested, have the same recording",
    "ensemble": "similarities of several models were averaged; the name of the method says of how many",
    "finetuned": "trained further on some trials of the tested subject, of which all set the whitening",
    "pretrained-elsewhere": "training started from weights that may have seen the tested concepts",
}
"""Flag to what a reader must know. A row of a table with any of them is not comparable to one without."""

METRICS: dict[str, Callable[[pd.Series], pd.Series]] = {
    "top1": lambda rank: (rank <= 1).astype(float),
    "top5": lambda rank: (rank <= 5).astype(float),
    "mrr": lambda rank: 1.0 / rank,
    "mean_rank": lambda rank: rank.astype(float),
}
"""Metrics that are means over queries: name to what a query's rank contributes."""


def per_query(queries: pd.DataFrame, metric: str) -> pd.Series:
    """What each query contributes to a metric, which is the mean of it.

    If ``queries`` has a column of the metric's name, as under n-way retrieval, its values are used where
    they are not empty, otherwise those of the column ``rank``.
    """
    from_rank = METRICS[metric](queries["rank"])
    return queries[metric].fillna(from_rank) if metric in queries else from_rank


def top_k(ranks: np.ndarray, k: int) -> float:
    """Fraction of queries whose own image is among the ``k`` nearest candidates."""
    return float(np.mean(np.asarray(ranks) <= k))


def mean_reciprocal_rank(ranks: np.ndarray) -> float:
    """Mean of 1 / rank."""
    return float(np.mean(1.0 / np.asarray(ranks)))


def summarize(ranks: np.ndarray) -> dict[str, float]:
    """``top1``, ``top5``, ``mean_rank``, ``median_rank`` and ``mrr`` of ranks of shape (q,)."""
    return {
        "top1": top_k(ranks, 1),
        "top5": top_k(ranks, 5),
        "mean_rank": float(np.mean(ranks)),
        "median_rank": float(np.median(ranks)),
        "mrr": mean_reciprocal_rank(ranks),
    }


def chance(n_gallery: int) -> dict[str, float]:
    """The accuracy of guessing among ``n_gallery`` candidates."""
    return {"chance_top1": 1 / n_gallery, "chance_top5": min(1.0, 5 / n_gallery)}


def retrieval_numbers(
    queries: pd.DataFrame, n_gallery: int, n_way: int | None = None
) -> tuple[pd.DataFrame, dict[str, float]]:
    """A table of queries as it is kept, and its metrics, chance and counts.

    With ``n_way``, both are expectations over all choices of so many candidates, see :func:`n_way_table`.
    """
    ranks = queries["rank"].to_numpy()
    metrics = summarize(ranks)
    if n_way is not None:
        queries = n_way_table(queries, n_gallery, n_way)
        metrics = {name: float(per_query(queries, name).mean()) for name in METRICS}
        metrics["median_rank"] = median_rank(ranks, n_gallery, n_way)
        n_gallery = n_way
    counts = {"n_queries": len(queries), "n_gallery": n_gallery}
    return queries, {**metrics, **chance(n_gallery), **counts}


def rank_probabilities(ranks: np.ndarray, n_gallery: int, n_way: int) -> np.ndarray:
    """Probability of each rank among ``n_way`` candidates, given the rank among all: hypergeometric.

    Parameters
    ----------
    ranks : ndarray of int, shape (q,)
        Among all ``n_gallery`` candidates.
    n_gallery, n_way : int
        Number of candidates in total and per query, both with the own image.

    Returns
    -------
    ndarray, shape (q, n_way)
        Column ``r`` is the probability of rank ``r + 1``; rows sum to 1.

    Raises
    ------
    UsageError
        If ``n_way`` exceeds ``n_gallery``.
    """
    from scipy.stats import hypergeom

    if n_way > n_gallery:
        raise UsageError(
            f"n_way = {n_way} exceeds the number of candidates, {n_gallery} test images",
            "lower evaluation.n_way or leave it out",
        )
    above = np.asarray(ranks) - 1
    return hypergeom.pmf(np.arange(n_way), n_gallery - 1, above[:, None], n_way - 1)


def n_way_table(queries: pd.DataFrame, n_gallery: int, n_way: int) -> pd.DataFrame:
    """A table of queries with its mean over all choices of ``n_way`` candidates, computed exactly.

    Parameters
    ----------
    queries : DataFrame
        As of :func:`~braindecode_ssr.retrieval.ranks.query_table`.

    Returns
    -------
    DataFrame
        With the expected ``rank``, and the expected ``top1``, ``top5`` and ``mrr`` of each query, which
        :func:`per_query` uses instead of the rank. ``top_1`` to ``top_5`` remain those of the whole gallery.
    """
    probable = rank_probabilities(queries["rank"].to_numpy(), n_gallery, n_way)
    places = np.arange(1, n_way + 1)
    return queries.assign(
        rank=probable @ places,
        top1=probable[:, :1].sum(axis=1),
        top5=probable[:, :5].sum(axis=1),
        mrr=probable @ (1 / places),
    )


def median_rank(ranks: np.ndarray, n_gallery: int, n_way: int) -> float:
    """Median of the ranks of all queries over all choices of candidates."""
    below = np.cumsum(rank_probabilities(ranks, n_gallery, n_way).mean(axis=0))
    rounding = 1e-12
    lower = np.argmax(below >= 0.5 - rounding)
    upper = np.argmax(below > 0.5 + rounding)
    return float(lower + upper) / 2 + 1

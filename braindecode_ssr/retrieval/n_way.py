"""Retrieval among fewer candidates: what random choices of them give on average, exactly.

Of the other ``g - 1`` candidates of a query, ``rank - 1`` score at least as high as its own image. How many
of these are among ``n - 1`` that are drawn without return is hypergeometric, so that no draw is needed.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import UsageError


def rank_probabilities(ranks: np.ndarray, n_gallery: int, n_way: int) -> np.ndarray:
    """How probable each rank is among ``n_way`` candidates, given the rank among all.

    Parameters
    ----------
    ranks : ndarray of int, shape (q,)
        Among all ``n_gallery`` candidates, counted from 1.
    n_gallery, n_way : int
        Candidates there are, and candidates per query, the own image included in both.

    Returns
    -------
    ndarray, shape (q, n_way)
        Column ``r`` is the probability of rank ``r + 1``; rows sum to 1.

    Raises
    ------
    UsageError
        If more candidates are asked for than there are.
    """
    from scipy.stats import hypergeom

    if n_way > n_gallery:
        raise UsageError(
            f"at most {n_gallery} candidates, as many as there are test images",
            f"n_way = {n_way}",
            "lower evaluation.n_way or leave it out",
        )
    above = np.asarray(ranks) - 1
    return hypergeom.pmf(np.arange(n_way), n_gallery - 1, above[:, None], n_way - 1)


def n_way_table(queries: pd.DataFrame, n_gallery: int, n_way: int) -> pd.DataFrame:
    """A table of queries as it is on average over all choices of candidates.

    Parameters
    ----------
    queries : DataFrame
        As of :func:`~braindecode_ssr.retrieval.queries.query_table`.

    Returns
    -------
    DataFrame
        With the expected ``rank``, and with the expected ``top1``, ``top5`` and ``mrr`` of each query; these,
        and not the rank, are what :func:`~braindecode_ssr.retrieval.metrics.per_query` takes. ``top_1`` to
        ``top_5`` remain those of the whole gallery.
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

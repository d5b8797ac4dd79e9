"""From embeddings to ranks: pure functions on arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..errors import DataError
from ..registry import unknown_name

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

    from .hyperbolic import expmap0, pairwise_distance

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


def hungarian(similarity: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Similarities with the candidate that is assigned to a query above all others.

    **Transductive**: it uses that every test image was shown and belongs to one query, which nobody knows of
    a single brain response, and it answers all queries together: an easy query takes its image away from a
    hard one.

    Parameters
    ----------
    similarity : ndarray, shape (q, g)
        Higher is nearer. With more queries than candidates, some get none.
    targets : ndarray of int, shape (q,)
        Column of each query's own image; used only to break ties *against* it, as everywhere: of assignments
        that are equally good the one with the fewest hits is taken.

    Returns
    -------
    ndarray, shape (q, g)
        As given, but the assigned candidate of a query is nearer than any other.
    """
    from scipy.optimize import linear_sum_assignment

    against = np.array(similarity, dtype=np.float64)
    against[np.arange(len(targets)), targets] -= TIE
    rows, columns = linear_sum_assignment(against, maximize=True)
    assigned = np.array(similarity, dtype=np.float64)
    assigned[rows, columns] = assigned.max() + 1
    return assigned


TEMPERATURE = 0.05
ITERATIONS = 1000
TOLERANCE = 1e-9


def sinkhorn(
    similarity: np.ndarray, temperature: float = TEMPERATURE, iterations: int = ITERATIONS
) -> np.ndarray:
    """Logarithm of the plan whose rows sum to 1 and whose columns sum to q / g.

    The plan is ``exp(similarity / temperature)`` with rows and columns scaled in turn (arXiv:1306.0895,
    algorithm 1), in logarithms, until no sum of a row changes by more than a billionth.

    **Transductive**: it uses that every test image is asked for equally often, which nobody knows of a single
    brain response, and the answer to one query depends on all others.

    Parameters
    ----------
    similarity : ndarray, shape (q, g)
        Cosines.
    temperature : float
        The smaller, the nearer to the best assignment of one candidate to each query.
    iterations : int
        At most.

    Returns
    -------
    ndarray, shape (q, g)
    """
    from scipy.special import logsumexp

    n_queries, n_gallery = similarity.shape
    plan = np.asarray(similarity, dtype=np.float64) / temperature
    plan = plan - logsumexp(plan, axis=1, keepdims=True)
    share = np.log(n_queries / n_gallery)
    for _ in range(iterations):
        plan = plan + share - logsumexp(plan, axis=0, keepdims=True)
        rows = logsumexp(plan, axis=1, keepdims=True)
        plan = plan - rows
        if np.abs(np.expm1(rows)).max() < TOLERANCE:
            break
    return plan


CORRECTIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "none": lambda similarity, targets: similarity,
    "csls": lambda similarity, targets: csls(similarity),
    "hungarian": hungarian,
    "sinkhorn": lambda similarity, targets: sinkhorn(similarity),
}
"""Name to a function of similarities (q, g) and the columns of the own images (q,)."""


def correct(similarity: np.ndarray, targets: np.ndarray, correction: str = "none") -> np.ndarray:
    """Similarities as they are to be ranked, shape (q, g).

    Raises
    ------
    UsageError
        If there is no correction of that name.
    """
    if correction not in CORRECTIONS:
        raise unknown_name("correction", correction, list(CORRECTIONS))
    return CORRECTIONS[correction](similarity, targets)


def embed_trials(
    model: torch.nn.Module, x: Any, batch_size: int = 512, subject_index: Tensor | None = None
) -> np.ndarray:
    """Brain embeddings of trials, shape (n, c, t) to (n, e), without gradients.

    Trials of known subjects, as in training, go through their own parts of the model. Without
    ``subject_index`` a model that has such parts gives the mean over all of them: nothing of who saw the
    trials is used.
    """
    if subject_index is None:
        return _in_batches(model, model, batch_size, x)
    return _in_batches(
        model, lambda x, who: model(x, subject_index=who), batch_size, x, subject_index
    )


def embed_images(model: torch.nn.Module, features: Any, batch_size: int = 4096) -> np.ndarray:
    """Image embeddings of features, shape (n, d) to (n, e), without gradients."""
    return _in_batches(model, model.image_head, batch_size, features)


def has_own_parts(model: torch.nn.Module) -> bool:
    """Whether each training subject goes through a part of its own."""
    return getattr(model, "n_subjects", None) is not None and getattr(
        model, "takes_subjects", False
    )


def _in_batches(
    model: torch.nn.Module, function: Callable[..., Tensor], batch_size: int, *rows: Any
) -> np.ndarray:
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    with torch.no_grad():
        parts = [
            function(
                *(torch.as_tensor(part[start : start + batch_size]).to(device) for part in rows)
            )
            .float()
            .cpu()
            for start in range(0, len(rows[0]), batch_size)
        ]
    model.train(training)
    return torch.cat(parts).numpy()


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

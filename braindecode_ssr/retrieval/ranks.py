"""From embeddings to ranks, counted from 1, and from ranks to numbers; accuracies are fractions of 0 to 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import DataError, UsageError
from ..registry import check_name

if TYPE_CHECKING:
    import torch
    from torch import Tensor


FLAGS = {
    "test-selection": "the epoch, layer or setting was chosen on the test itself",
    "test-images": "test images, though not the tested trials, were used in training or in a choice",
    "altered-gallery": "the candidates are altered copies of the test images, not the images that were shown",
    "class-templates": "the candidates are means of other images of a concept, not images that were shown",
    "transductive": "all test queries were used together: the answer to one depends on the others",
    "transductive-whitening": "the tested trials were whitened with their own noise, all together",
    "oracle-union": "a hit of any of several modalities counts as a hit",
    "fewer-candidates": "each query is ranked among only some of the test images",
    "test-in-whitening": "their authors whitened these files with the noise of training and test trials",
    "same-recording": "two of the subjects, training or tested, have the same recording",
    "ensemble": "similarities of several models were averaged; the name of the method says of how many",
    "finetuned": "trained further on some trials of the tested subject, of which all set the whitening",
    "pretrained-elsewhere": "training started from weights that may have seen the tested concepts",
}
"""Flag to what a reader must know. A row of a table with any of them is not comparable to one without."""

METRICS: dict[str, Callable[[Any], Any]] = {
    "top1": lambda rank: (rank <= 1).astype(float),
    "top5": lambda rank: (rank <= 5).astype(float),
    "mrr": lambda rank: 1.0 / rank,
    "mean_rank": lambda rank: rank.astype(float),
}
"""Metrics that are means over queries: name to what a query's rank contributes."""


def per_query(queries: pd.DataFrame, metric: str) -> pd.Series:
    """The contribution of each query to a metric: the column of its name where there is one, else by rank."""
    from_rank = METRICS[metric](queries["rank"])
    return queries[metric].fillna(from_rank) if metric in queries else from_rank


def summarize(ranks: np.ndarray) -> dict[str, float]:
    """``top1``, ``top5``, ``mean_rank``, ``median_rank`` and ``mrr`` of ranks of shape (q,)."""
    means = {name: float(np.mean(of(np.asarray(ranks)))) for name, of in METRICS.items()}
    return {**means, "median_rank": float(np.median(ranks))}


def chance(n_gallery: int) -> dict[str, float]:
    """The accuracy of guessing among ``n_gallery`` candidates."""
    return {"chance_top1": 1 / n_gallery, "chance_top5": min(1.0, 5 / n_gallery)}


def retrieval_numbers(
    queries: pd.DataFrame, n_gallery: int, n_way: int | None = None
) -> tuple[pd.DataFrame, dict[str, float]]:
    """A table of queries as it is saved, and its metrics, chance levels and counts.

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


def mean_over_trials(queries: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float]]:
    """One row per image from a table in which each trial is a query; and its metrics and counts.

    ``rank``, ``score``, ``top1``, ``top5`` and ``mrr`` of an image are the means over its trials, so that the
    trials of an image are not taken for independent ones; ``top_1`` to ``top_5`` are those of its first.
    """
    each = queries.assign(**{name: per_query(queries, name) for name in ("top1", "top5", "mrr")})
    numbers = ["rank", "score", "top1", "top5", "mrr"]
    means = each.groupby("image_id", sort=False)[numbers].mean().reset_index(drop=True)
    table = each.drop_duplicates("image_id").reset_index(drop=True)
    table[numbers] = means
    metrics = {name: float(per_query(table, name).mean()) for name in METRICS}
    return table, {**metrics, "n_queries": len(table)}


def rank_probabilities(ranks: np.ndarray, n_gallery: int, n_way: int) -> np.ndarray:
    """Probability of each rank among ``n_way`` candidates, given the ranks (q,) among all: hypergeometric.

    Both numbers of candidates include the own image. Shape (q, n_way): column ``r`` is the probability of
    rank ``r + 1``. UsageError if ``n_way`` exceeds ``n_gallery``.
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
    """A table of :func:`query_table` with its mean over all choices of ``n_way`` candidates, exactly.

    It has the expected ``rank``, and the expected ``top1``, ``top5`` and ``mrr`` of each query, which
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


Similarities = np.ndarray
TIE = 1e-12  # scores closer than this are equal: rounding must not break a tie in our favor


def embed_trials(
    model: torch.nn.Module, x: Any, batch_size: int = 512, subject_index: Tensor | None = None
) -> np.ndarray:
    """Brain embeddings of trials, shape (n, c, t) to (n, e), without gradients.

    With ``subject_index``, trials of known subjects go through their own parts of the model. Without it, a
    model with such parts returns the mean over all of them: who saw the trials is not used.
    """
    if subject_index is None:
        return _in_batches(model, model, batch_size, x)

    def of_subjects(x: Tensor, who: Tensor) -> Tensor:
        return model(x, subject_index=who)

    return _in_batches(model, of_subjects, batch_size, x, subject_index)


def embed_images(model: torch.nn.Module, features: Any, batch_size: int = 4096) -> np.ndarray:
    """Image embeddings of features, shape (n, d) to (n, e), without gradients."""
    head: Any = model.image_head
    return _in_batches(model, head, batch_size, features)


def has_own_parts(model: torch.nn.Module) -> bool:
    """Whether each training subject has a part of its own."""
    known = getattr(model, "n_subjects", None) is not None
    return known and getattr(model, "takes_subjects", False)


def _in_batches(
    model: torch.nn.Module, function: Callable[..., Tensor], batch_size: int, *rows: Any
) -> np.ndarray:
    import torch

    device = next(model.parameters()).device
    training = model.training
    model.eval()
    found = []
    with torch.no_grad():
        for start in range(0, len(rows[0]), batch_size):
            batch = (torch.as_tensor(part[start : start + batch_size]) for part in rows)
            found.append(function(*(part.to(device) for part in batch)).float().cpu())
    model.train(training)
    return torch.cat(found).numpy()


def cosine(queries: np.ndarray, gallery: np.ndarray) -> Similarities:
    """Cosine similarity of every query with every candidate, (q, e) and (g, e) to (q, g).

    In float64, so that equal rows get equal scores. DataError if a row is zero, NaN or infinite.
    """
    checked = _checked(queries, gallery, nonzero=True)
    q, g = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in checked)
    return q @ g.T


def minus_distance(queries: np.ndarray, gallery: np.ndarray) -> Similarities:
    """Minus the Lorentz distance of every query from every candidate, (q, e) and (g, e) to (q, g).

    Rows are tangent vectors at the origin. In float64; equal candidates get equal scores to the last bit.
    DataError if a row is NaN or infinite.
    """
    import torch

    from .hyperbolic import expmap0, pairwise_distance

    queries, gallery = _checked(queries, gallery)
    distinct, place = np.unique(gallery, axis=0, return_inverse=True)
    of, to = (expmap0(torch.from_numpy(rows)) for rows in (queries, distinct))
    return -pairwise_distance(of, to).numpy()[:, place.reshape(-1)]


def minus_squared_distance(queries: np.ndarray, gallery: np.ndarray) -> Similarities:
    r"""Minus half the squared distance of each query from each candidate, (q, e) and (g, e) to (q, g).

    Up to a constant of each query, the Gaussian log-likelihood :math:`q \cdot p - \|p\|^2 / 2` of a
    candidate that predicts :math:`p`, with noise of unit variance. Equal candidates get equal scores.
    """
    q, gallery = _checked(queries, gallery)
    p, place = np.unique(gallery, axis=0, return_inverse=True)
    scores = q @ p.T - (p**2).sum(1) / 2 - (q**2).sum(1, keepdims=True) / 2
    return scores[:, place.reshape(-1)]


def _checked(
    queries: np.ndarray, gallery: np.ndarray, nonzero: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Both in float64; a DataError if a row is not finite, or zero where that is asked for."""
    rows = np.asarray(queries, np.float64), np.asarray(gallery, np.float64)
    for part, what in zip(rows, ("query", "gallery"), strict=True):
        norms = np.linalg.norm(part, axis=1)
        bad = np.flatnonzero(~np.isfinite(norms) | (nonzero & (norms == 0)))
        if len(bad):
            raise DataError(
                f"{len(bad)} {what} embeddings are NaN{', zero' if nonzero else ''} or infinite, the first "
                f"in row {bad[0]}",
                "train again with a lower --set train.lr, or check the features",
            )
    return rows


SPACES: dict[str, Callable[[np.ndarray, np.ndarray], Similarities]] = {
    "euclidean": cosine,
    "hyperbolic": minus_distance,
    "gaussian": minus_squared_distance,
}
"""Space to a function of queries (q, e) and gallery (g, e); larger is nearer."""


def similarity(queries: np.ndarray, gallery: np.ndarray, space: str = "euclidean") -> Similarities:
    """How near every query is to every candidate of a space, shape (q, g)."""
    check_name("space", space, SPACES)
    return SPACES[space](queries, gallery)


def space_of(part: Any) -> str:
    """The space of a model's embeddings, or of those that a loss compares."""
    return getattr(part, "space", "euclidean")


def rank_of_target(similarity: Similarities, targets: np.ndarray) -> np.ndarray:
    """Rank of each query's own image, counted from 1; ties count against us.

    The number of candidates that score at least as high as the own image, itself included. Similarities
    (q, g) are larger for nearer candidates; ``targets`` (q,) is the column of each query's own image.
    """
    own = similarity[np.arange(len(targets)), targets]
    return (similarity >= own[:, None] - TIE).sum(axis=1)


def best(similarity: Similarities, k: int) -> np.ndarray:
    """Columns of the ``k`` nearest candidates of each query, nearest first, shape (q, k)."""
    return np.argsort(-similarity, axis=1, kind="stable")[:, :k]


def csls(similarity: Similarities, neighbors: int = 10) -> Similarities:
    """Similarities (q, g) minus those of hubs: cross-domain similarity local scaling (arXiv:1710.04087).

    Twice the cosine, minus the mean cosine of the query with its nearest candidates, minus the mean cosine
    of the candidate with its nearest *queries*: **transductive**, because that needs all queries at once.
    """
    to_candidates = _mean_of_largest(similarity, neighbors)
    to_queries = _mean_of_largest(similarity.T, neighbors)
    return 2 * similarity - to_candidates[:, None] - to_queries[None, :]


def _mean_of_largest(rows: np.ndarray, count: int) -> np.ndarray:
    return np.sort(rows, axis=1)[:, -count:].mean(axis=1)  # sorted: equal rows give equal means


def hungarian(similarity: Similarities, targets: np.ndarray) -> Similarities:
    """Similarities (q, g) with the candidate that is assigned to a query above all others.

    **Transductive**: it uses that every test image belongs to one query, so that an easy query takes its
    image away from a hard one. With more queries than candidates, some get none. ``targets`` (q,), the
    columns of the own images, only break ties against us: of equally good assignments, the one with the
    fewest hits is taken.
    """
    from scipy.optimize import linear_sum_assignment

    against = np.array(similarity, dtype=np.float64)
    against[np.arange(len(targets)), targets] -= TIE
    rows, columns = linear_sum_assignment(against, maximize=True)
    assigned = np.array(similarity, dtype=np.float64)
    assigned[rows, columns] = assigned.max() + 1
    return assigned


def sinkhorn(
    similarity: Similarities, temperature: float = 0.05, iterations: int = 1000
) -> Similarities:
    """Logarithm of the plan (q, g) whose rows sum to 1 and whose columns sum to q / g.

    The plan is ``exp(similarity / temperature)`` with rows and columns scaled in turn (arXiv:1306.0895,
    algorithm 1), in logarithms, until no sum of a row changes by more than a billionth. The smaller the
    temperature, the closer it is to the best assignment of one candidate to each query. **Transductive**: it
    uses that every test image is shown equally often.
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
        if np.abs(np.expm1(rows)).max() < 1e-9:
            break
    return plan


CORRECTIONS: dict[str, Callable[[Similarities, np.ndarray], Similarities]] = {
    "none": lambda similarity, targets: similarity,
    "csls": lambda similarity, targets: csls(similarity),
    "hungarian": hungarian,
    "sinkhorn": lambda similarity, targets: sinkhorn(similarity),
}
"""Name to a function of similarities (q, g) and the columns of the own images (q,)."""


def correct(
    similarity: Similarities, targets: np.ndarray, correction: str = "none"
) -> Similarities:
    """Similarities (q, g) as they are ranked."""
    check_name("correction", correction, CORRECTIONS)
    return CORRECTIONS[correction](similarity, targets)


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
    queries, gallery : ndarray, shape (q, e) and (g, e)
        Brain embeddings, and image embeddings of the candidates.
    images : DataFrame, q rows
        ``subject``, ``image_id`` and ``concept`` of each query.
    gallery_ids : list of str, length g
        Image id of each candidate; contains the image of every query.
    correction, space : str
        One of ``CORRECTIONS``, of which all but ``"none"`` are transductive, and one of ``SPACES``.

    Returns
    -------
    DataFrame
        ``subject, image_id, concept, rank, score, top_1 ... top_5``; score is the cosine with the
        query's own image, or minus the distance from it, without the correction.
    """
    size = max(1, AT_ONCE // len(gallery)) if correction == "none" else max(1, len(queries))
    if size < len(queries):
        similarity(queries, gallery[:1], space)  # so that an error names the row among all queries
    tables = []
    for first in range(0, max(1, len(queries)), size):
        near = similarity(queries[first : first + size], gallery, space)
        tables.append(rank_table(near, images[first : first + size], gallery_ids, correction))
    return pd.concat(tables, ignore_index=True)


def rank_table(
    near: Similarities, images: pd.DataFrame, gallery_ids: list[str], correction: str = "none"
) -> pd.DataFrame:
    """As :func:`query_table`, from similarities (q, g)."""
    targets = pd.Index(gallery_ids).get_indexer(images["image_id"])
    if (targets < 0).any():
        lost = images["image_id"].iloc[int((targets < 0).argmax())]
        raise DataError(
            f"the image {lost!r} that was seen is not among the candidates",
            "prepare the trials again with `ssr-bd data prepare`, or check the list of images",
        )
    ranked = correct(near, targets, correction)
    table = images[["subject", "image_id", "concept"]].reset_index(drop=True)
    table["rank"] = rank_of_target(ranked, targets)
    table["score"] = near[np.arange(len(targets)), targets]
    for place, column in enumerate(best(ranked, N_BEST).T):
        table[f"top_{place + 1}"] = np.asarray(gallery_ids, dtype=object)[column]
    return table


def ensemble(parts: Sequence[Similarities], weights: Sequence[float]) -> Similarities:
    """Weighted mean of similarities (q, g), each standardized over the candidates of each query.

    Every row gets mean 0 and standard deviation 1, so that cosines of another spread, distances and
    likelihoods count alike. The answer to one query does not depend on other queries.
    """
    mean = np.zeros(parts[0].shape)
    for near, weight in zip(parts, weights, strict=True):
        row = near - near.mean(axis=1, keepdims=True)
        spread = row.std(axis=1, keepdims=True)
        mean += weight / sum(weights) * row / np.where(spread > TIE, spread, 1.0)
    return mean

"""Intervals of means over subjects, seeds and queries, by resampling all three."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import DataError, UsageError
from ..labels import natural
from ..registry import unknown_name
from .column import ROW, check_one
from .metrics import METRICS, per_query

DRAWS = 10_000


@dataclass(frozen=True)
class Interval:
    """A mean over subjects and what it may be, by resampling.

    Parameters
    ----------
    mean : float
        Mean over subjects of the means over seeds and queries.
    low, high : float
        Ends of the interval.
    level : float
        Its nominal coverage, such as 0.95.
    n_subjects : int
    n_seeds : int
        The fewest of any subject.
    n_queries : int
        The fewest of any subject, per seed.
    """

    mean: float
    low: float
    high: float
    level: float
    n_subjects: int
    n_seeds: int
    n_queries: int

    @property
    def levels(self) -> tuple[str, ...]:
        """What was resampled, of subjects, seeds and queries: that of which there is more than one."""
        counts = {
            "subjects": self.n_subjects,
            "seeds": self.n_seeds,
            "queries": self.n_queries,
        }
        return tuple(name for name, count in counts.items() if count > 1)


def interval(
    queries: pd.DataFrame,
    metric: str = "top1",
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """The mean of a metric with its interval, by hierarchical bootstrap.

    Parameters
    ----------
    queries : DataFrame
        One row per query: ``subject``, ``image_id``, ``rank``, perhaps ``seed``; all of one method under one
        protocol and evaluation.
    metric : {"top1", "top5", "mrr", "mean_rank"}
    level : float
        Nominal coverage.
    draws : int
        Resamplings.
    seed : int
        Of the resampling.

    Returns
    -------
    Interval

    Raises
    ------
    DataError
        If the rows are of several columns of a table, or a subject's seeds saw different queries.
    """
    return intervals(queries, (metric,), level, draws, seed)[metric]


def intervals(
    queries: pd.DataFrame,
    metrics: Sequence[str] = ("top1", "top5"),
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Interval]:
    """As :func:`interval`, of several metrics under the same resamplings."""
    check_one(queries, ROW, "queries of one method under one protocol and evaluation")
    _check_choices(metrics, level, draws)
    values = pd.DataFrame({metric: per_query(queries, metric) for metric in metrics})
    blocks = blocks_of(queries, values)
    resampled = bootstrap(blocks, draws, np.random.default_rng(seed))
    ends = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    means = np.mean([block.mean(axis=(0, 1)) for block in blocks], axis=0)
    counts = (len(blocks), *(min(block.shape[axis] for block in blocks) for axis in (0, 1)))
    return {
        metric: Interval(float(mean), float(low), float(high), level, *counts)
        for metric, mean, low, high in zip(metrics, means, *ends, strict=True)
    }


def blocks_of(queries: pd.DataFrame, values: pd.DataFrame) -> list[np.ndarray]:
    """What each query contributes, per subject.

    Parameters
    ----------
    queries : DataFrame
        ``subject``, ``image_id``, perhaps ``seed``.
    values : DataFrame
        One row per query, one column per metric.

    Returns
    -------
    list of ndarray, shape (seeds, queries, metrics)
        One per subject, in the order of subjects, seeds and image ids: the order of rows does not matter.

    Raises
    ------
    DataError
        If a query is there twice, or not under every seed of its subject, or has no value.
    """
    keys = queries[["subject", "image_id"]].assign(seed=queries.get("seed", 0))
    keys = keys[["subject", "seed", "image_id"]].reset_index(drop=True)
    place = {label: n for n, label in enumerate(sorted(set(keys["subject"]), key=natural))}
    by = {"subject": keys["subject"].map(place)}
    order = keys.assign(**by).sort_values(list(keys)).index.to_numpy()
    keys, array = keys.iloc[order], values.to_numpy(dtype=float)[order]
    _check_keys(keys, array)
    rows = keys.reset_index(drop=True).groupby("subject", sort=False)
    return [_block(part, array[part.index]) for _, part in rows]


def bootstrap(blocks: list[np.ndarray], draws: int, rng: np.random.Generator) -> np.ndarray:
    """Means of resampled subjects, of their resampled seeds, of their resampled queries.

    A subject's queries are the same averaged trials under each of its seeds, so that one draw of queries
    holds for all seeds of a drawn subject: treating them as independent would make intervals too narrow.

    Parameters
    ----------
    blocks : list of ndarray, shape (seeds, queries, metrics)
        One per subject.
    draws : int
    rng : Generator

    Returns
    -------
    ndarray, shape (draws, metrics)
    """
    drawn = rng.integers(0, len(blocks), (draws, len(blocks))).ravel()
    means = np.empty((drawn.size, blocks[0].shape[2]))
    for subject, block in enumerate(blocks):
        places = np.flatnonzero(drawn == subject)
        n_seeds, n_queries, _ = block.shape
        seeds = _counts(n_seeds, len(places), rng) / n_seeds
        queries = _counts(n_queries, len(places), rng) / n_queries
        means[places] = np.stack(
            [((queries @ values.T) * seeds).sum(axis=1) for values in np.moveaxis(block, 2, 0)], 1
        )
    return means.reshape(draws, len(blocks), -1).mean(axis=1)


def _block(keys: pd.DataFrame, values: np.ndarray) -> np.ndarray:
    """The values of one subject, shape (seeds, queries, metrics)."""
    n_seeds, images = keys["seed"].nunique(), keys["image_id"].to_numpy()
    per_seed = len(images) // n_seeds
    if len(images) % n_seeds or (images.reshape(n_seeds, -1) != images[:per_seed]).any():
        raise DataError(
            f"the same queries under every seed of subject {keys['subject'].iloc[0]}",
            f"{len(images)} rows that differ between {n_seeds} seeds",
            "leave out the run that was cut short, or test it again",
        )
    return values.reshape(n_seeds, per_seed, -1)


def _counts(n: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of ``n`` things is drawn in ``n`` draws with replacement, shape (draws, n)."""
    drawn = rng.integers(0, n, (draws, n)) + n * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * n).reshape(draws, n)


def _check_keys(keys: pd.DataFrame, values: np.ndarray) -> None:
    twice = keys.duplicated()
    if twice.any():
        subject, seed, image_id = keys[twice].iloc[0]
        raise DataError(
            "one row per subject, seed and query",
            f"{int(twice.sum())} more, the first of subject {subject}, seed {seed}, {image_id!r}",
            "give runs that differ in other settings one at a time",
        )
    if not np.isfinite(values).all():
        raise DataError(
            "a value for every query",
            f"{int((~np.isfinite(values)).any(axis=1).sum())} without",
            "test the run again with `ssr-bd evaluate`",
        )


def _check_choices(metrics: Sequence[str], level: float, draws: int) -> None:
    for metric in metrics:
        if metric not in METRICS:
            raise unknown_name("metric of queries", metric, list(METRICS))
    if not 0 < level < 1:
        raise UsageError("a level between 0 and 1", f"{level}", "write 0.95 for 95 %")
    if draws < 1:
        raise UsageError("at least one draw", f"{draws}", "take some thousands")

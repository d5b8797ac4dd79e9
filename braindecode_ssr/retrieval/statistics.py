"""What makes numbers comparable: one dataset, preset, protocol and evaluation, one column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, UsageError
from ..labels import natural
from ..registry import unknown_name
from .metrics import METRICS, per_query

COLUMN = ("dataset", "preset", "protocol", "evaluation")
"""What all numbers of a column have in common."""

ROW = (*COLUMN, "method", "backbone")
"""What all runs behind one number have in common."""


def check_one(table: pd.DataFrame, names: Sequence[str], what: str) -> None:
    """Raise if rows differ where they must not; a name that the table lacks is the same everywhere.

    Parameters
    ----------
    table : DataFrame
    names : sequence of str
        Columns with one value each.
    what : str
        What the rows are to be, for the message.

    Raises
    ------
    DataError
        If there are no rows, or rows of several kinds.
    """
    if not len(table):
        raise DataError(what, "no rows", "finish a run first, with `ssr-bd train` or `benchmark`")
    present = [name for name in names if name in table]
    kinds = table[present].drop_duplicates()
    if present and len(kinds) > 1:
        first, second = (_told(kinds.iloc[place], kinds) for place in (0, 1))
        raise DataError(
            what,
            f"{len(kinds)} kinds, such as {first} and {second}",
            f"take one of them: they differ in {', '.join(_differing(kinds))}",
        )


def labels_of_methods(table: pd.DataFrame) -> pd.Series:
    """The method of each row, with its backbone where a method has several.

    Parameters
    ----------
    table : DataFrame
        With ``method`` and, perhaps, ``backbone``.
    """
    if "backbone" not in table:
        return table["method"]
    several = table.groupby("method")["backbone"].transform("nunique") > 1
    named = table["method"] + " (" + table["backbone"].fillna("") + ")"
    return table["method"].where(~several, named)


def _differing(kinds: pd.DataFrame) -> list[str]:
    return [name for name in kinds if kinds[name].nunique(dropna=False) > 1]


def _told(row: pd.Series, kinds: pd.DataFrame) -> str:
    return " ".join(f"{name} {row[name]!r}" for name in _differing(kinds))


ALPHA = 0.05
DIGITS = 9  # differences nearer than this are equal: rounding must make neither ranks nor ties


def signed_rank(differences: np.ndarray) -> tuple[float, float]:
    """Wilcoxon's signed-rank test, two-sided and exact, with ties too.

    Written here because the command line must answer at once and scipy.stats takes longer to import than
    all the rest, and because scipy approximates where there are ties; it is what tests compare with.

    Parameters
    ----------
    differences : ndarray, shape (n,)
        Differences of zero are left out, as Wilcoxon did.

    Returns
    -------
    statistic : float
        The smaller of the sums of ranks of positive and of negative differences.
    p : float
        Probability of a statistic as small, or smaller, if signs were tossed.
    """
    differences = np.round(np.asarray(differences, dtype=float), DIGITS)
    differences = differences[differences != 0]
    if not len(differences):
        return 0.0, 1.0
    doubled = (2 * pd.Series(np.abs(differences)).rank()).round().astype(int).to_numpy()
    positive = int(doubled[differences > 0].sum())
    smaller = min(positive, int(doubled.sum()) - positive)
    chances = _chances_of_sums(doubled)
    return smaller / 2, min(1.0, 2 * float(chances[: smaller + 1].sum()))


def _chances_of_sums(ranks: np.ndarray) -> np.ndarray:
    """Probability of each sum of whole ranks when each counts with probability one half."""
    chances = np.zeros(int(ranks.sum()) + 1)
    chances[0] = 1.0
    for rank in ranks:
        taken = np.zeros_like(chances)
        taken[rank:] = chances[: len(chances) - rank]
        chances = (chances + taken) / 2
    return chances


def smallest_p(n_subjects: int) -> float:
    """The smallest two-sided p that the signed-rank test can give with so many subjects."""
    return min(1.0, 2.0 ** (1 - n_subjects))


def holm(p: np.ndarray) -> np.ndarray:
    """P values of a family, adjusted by Holm's step-down rule.

    Parameters
    ----------
    p : ndarray, shape (m,)
        NaN where there was no test; such are no part of the family.

    Returns
    -------
    ndarray, shape (m,)
    """
    p = np.asarray(p, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    stepped = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return adjusted


def paired_tests(
    queries: pd.DataFrame, metric: str = "top1", against: str | None = None
) -> pd.DataFrame:
    """Compare methods, each pair over the subjects that both have.

    A subject's value is its mean over seeds and queries. All tests of a call are one family.

    Parameters
    ----------
    queries : DataFrame
        One row per query of all methods; one dataset, preset, protocol and evaluation.
    metric : {"top1", "top5", "mrr", "mean_rank"}
    against : str, optional
        Compare the others with this method only, chosen before the numbers were seen: fewer tests, more
        power. None: every pair.

    Returns
    -------
    DataFrame
        One row per pair: ``metric, first, second, difference`` (mean of first minus second),
        ``n_subjects, statistic, p, p_holm, smallest_p_holm, remark``. ``smallest_p_holm`` is the least that
        could come out; where that is above 0.05 the remark says so.

    Raises
    ------
    DataError
        If rows are of several columns of a table.
    """
    check_one(queries, COLUMN, "queries of one dataset, preset, protocol and evaluation")
    means = subject_means(queries, metric)
    if against is not None and against not in means:
        raise unknown_name("method of this table", against, list(means))
    pairs = (
        list(combinations(means, 2))
        if against is None
        else [(against, other) for other in means if other != against]
    )
    table = pd.DataFrame([_test(means, first, second) for first, second in pairs])
    if not len(table):
        return pd.DataFrame(columns=["metric", *_EMPTY, "p_holm", "smallest_p_holm", "remark"])
    table.insert(0, "metric", metric)
    table["p_holm"] = holm(table["p"].to_numpy())
    family = int(table["p"].notna().sum())
    table["smallest_p_holm"] = [min(1.0, family * smallest_p(n)) for n in table["n_subjects"]]
    table["remark"] = [_remark(n, family) for n in table["n_subjects"]]
    return table


_EMPTY = ("first", "second", "difference", "n_subjects", "statistic", "p")


def subject_means(queries: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean over seeds and queries: a row per subject, a column per method, in the order of appearance."""
    keyed = pd.DataFrame(
        {
            "method": labels_of_methods(queries),
            "subject": queries["subject"],
            "seed": queries.get("seed", 0),
            "value": per_query(queries, metric),
        }
    )
    of_seeds = keyed.groupby(["method", "subject", "seed"])["value"].mean()
    means = of_seeds.groupby(["subject", "method"]).mean().unstack("method")
    means = means.loc[sorted(means.index, key=natural)]
    return means[list(dict.fromkeys(keyed["method"]))]


def _test(means: pd.DataFrame, first: str, second: str) -> dict[str, object]:
    differences = (means[first] - means[second]).dropna().to_numpy()
    statistic, p = signed_rank(differences) if len(differences) else (np.nan, np.nan)
    difference = float(differences.mean()) if len(differences) else np.nan
    row = (first, second, difference, len(differences), statistic, p)
    return dict(zip(_EMPTY, row, strict=True))


def _remark(n_subjects: int, family: int) -> str:
    """What a reader must know of the power of a test."""
    if not n_subjects:
        return "no subject has both"
    if smallest_p(n_subjects) > ALPHA:
        return f"{n_subjects} subjects are too few to reach p < {ALPHA}"
    if family * smallest_p(n_subjects) > ALPHA:
        return f"too few subjects for {family} comparisons: none can reach p < {ALPHA}"
    return ""


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


__all__ = [
    "COLUMN",
    "ROW",
    "Interval",
    "holm",
    "interval",
    "intervals",
    "noise_floor",
    "paired_tests",
    "signed_rank",
    "summary_table",
]

SHOWN = ("top1", "top5", "mrr", "mean_rank")
SAME = ("flags", "selection", "gallery", "n_gallery")
"""What all runs behind one number must share besides their labels."""


def noise_floor(p: float, n_queries: int, n_subjects: int = 1) -> float:
    """Standard error that counting hits alone gives an accuracy, were all queries independent.

    With 200 queries 0.034 at an accuracy of 0.65, and 0.011 for the mean of ten subjects: differences of
    that size need no other explanation.

    Parameters
    ----------
    p : float
        Accuracy, 0 to 1.
    n_queries : int
        Per subject.
    n_subjects : int

    Raises
    ------
    UsageError
        If ``p`` is no fraction, or there are no queries.
    """
    if not 0 <= p <= 1:
        raise UsageError("an accuracy from 0 to 1", f"{p}", "divide percent by 100")
    if n_queries < 1 or n_subjects < 1:
        raise UsageError(
            "at least one query and one subject",
            f"{n_queries} and {n_subjects}",
            "count those that were tested",
        )
    return math.sqrt(p * (1 - p) / (n_queries * n_subjects))


def summary_table(
    queries: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per dataset, preset, protocol, evaluation, method and backbone; never mixed.

    Parameters
    ----------
    queries : DataFrame
        One row per query, with the columns ``ROW``, ``subject``, ``seed``, ``image_id``, ``rank``.
    runs : DataFrame, optional
        One row per run and evaluation: what is known of them besides their ranks.
    level, draws, seed
        As in :func:`~braindecode_ssr.retrieval.statistics.interval`.

    Returns
    -------
    DataFrame
        ``ROW``; ``flags, selection, gallery, n_gallery, repetitions, repetitions_max``; ``n_subjects,
        n_seeds, n_queries, n_failed``; ``top1, top1_low, top1_high`` and so ``top5, mrr, mean_rank``;
        ``median_rank`` (mean over subjects of the mean over seeds); ``noise_top1, noise_top5``; chance and
        ceiling, means over runs; ``train_seconds``. Accuracies are fractions; what is not known is empty. A
        row whose runs all failed has no numbers.

    Raises
    ------
    DataError
        If the runs of a row differ in selection, gallery or flags.
    """
    rows = []
    known = runs if runs is not None else queries[list(ROW)].drop_duplicates()
    of_rows = dict(iter(queries.groupby(list(ROW), sort=False)))
    for key, runs_of_row in known.groupby(list(ROW), sort=False):
        labels, own = dict(zip(ROW, key, strict=True)), of_rows.get(key)
        numbers = {"n_subjects": 0} if own is None else _numbers(own, level, draws, seed)
        rows.append({**labels, **_facts(runs_of_row), **numbers})
    return pd.DataFrame(rows).reindex(columns=_names())


def _names() -> list[str]:
    """The columns of the summary, in order."""
    shown = [f"{metric}{end}" for metric in SHOWN for end in ("", "_low", "_high")]
    return [
        *ROW,
        *SAME,
        *("repetitions", "repetitions_max", "n_subjects", "n_seeds", "n_queries", "n_failed"),
        *shown,
        *("median_rank", "noise_top1", "noise_top5", "chance_top1", "chance_top5"),
        *("ceiling_top1", "ceiling_top5", "train_seconds"),
    ]


def _facts(runs: pd.DataFrame) -> dict[str, Any]:
    """What is known of the runs behind a row."""
    failed = runs["status"].eq("failed") if "status" in runs else pd.Series(False, runs.index)
    done = runs[~failed]
    facts: dict[str, Any] = {"n_failed": int(failed.sum())}
    facts["flags"] = runs["flags"].iloc[0] if "flags" in runs else ""
    if not len(done):
        return facts
    what = "runs of one selection, gallery and flags behind one number"
    check_one(done, SAME, what)
    facts |= {name: done[name].iloc[0] for name in SAME if name in done}
    for name in ("chance_top1", "chance_top5", "ceiling_top1", "ceiling_top5", "train_seconds"):
        facts |= {name: done[name].mean()} if name in done else {}
    if "repetitions" in done:
        most = done["repetitions_max"] if "repetitions_max" in done else done["repetitions"]
        facts |= {"repetitions": done["repetitions"].min(), "repetitions_max": most.max()}
    return facts


def _numbers(queries: pd.DataFrame, level: float, draws: int, seed: int) -> dict[str, Any]:
    """Means and intervals of a row, counts, noise floors."""
    found = intervals(queries, SHOWN, level, draws, seed)
    counts = found["top1"]
    numbers: dict[str, Any] = {
        "n_subjects": counts.n_subjects,
        "n_seeds": counts.n_seeds,
        "n_queries": counts.n_queries,
    }
    for metric, value in found.items():
        numbers |= {metric: value.mean, f"{metric}_low": value.low, f"{metric}_high": value.high}
    for metric in ("top1", "top5"):
        p = found[metric].mean
        numbers[f"noise_{metric}"] = noise_floor(p, counts.n_queries, counts.n_subjects)
    of_seeds = queries.groupby(["subject", "seed"])["rank"].median()
    numbers["median_rank"] = of_seeds.groupby("subject").mean().mean()
    return numbers

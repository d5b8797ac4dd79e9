"""From the tidy table of queries to what a paper's table shows."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from ..errors import UsageError
from .bootstrap import DRAWS, Interval, interval, intervals
from .column import COLUMN, ROW, check_one
from .paired import holm, paired_tests, signed_rank

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
        As in :func:`~braindecode_ssr.retrieval.bootstrap.interval`.

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

"""Statistics of comparable numbers: tests between methods, confidence intervals, the summary of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, UsageError
from ..registry import check_name, natural
from .evaluations import FLAGS
from .ranks import METRICS, per_query

COLUMN = ("dataset", "preset", "protocol", "evaluation")
"""What all numbers of a column have in common."""
ROW = (*COLUMN, "method", "backbone")
"""What all runs behind one number have in common."""
SAME = ("selection", "gallery", "n_gallery")
"""What all runs behind one number have in common besides their labels."""
SHOWN = ("top1", "top5", "mrr", "mean_rank")
ALPHA = 0.05
DIGITS = 9  # differences closer than this are equal: rounding must break no tie


def check_one(table: pd.DataFrame, names: Sequence[str], what: str) -> None:
    """Raise DataError if rows are not ``what`` they should be: they differ in a column, or there are none."""
    if not len(table):
        raise DataError(
            f"there are no rows: {what} are needed",
            "finish a run first, with `ssr-bd train` or `ssr-bd benchmark`",
        )
    present = table[[name for name in names if name in table]]
    differ = [name for name in present if present[name].nunique(dropna=False) > 1]
    if differ:
        kinds = present[differ].drop_duplicates().head(2).to_dict("records")
        shown = (" ".join(f"{name} {value!r}" for name, value in kind.items()) for kind in kinds)
        raise DataError(
            f"the rows are not {what}: they differ in {', '.join(differ)}, such as {' and '.join(shown)}",
            "select one of them",
        )


def labels_of_methods(table: pd.DataFrame) -> pd.Series:
    """The method of each row, with its backbone where a method has several."""
    if "backbone" not in table:
        return table["method"]
    several = table.groupby("method")["backbone"].transform("nunique") > 1
    named = table["method"] + " (" + table["backbone"].fillna("") + ")"
    return table["method"].where(~several, named)


def signed_rank(differences: np.ndarray) -> tuple[float, float]:
    """Wilcoxon's signed-rank test, two-sided and exact, also with ties: the statistic and p.

    The statistic is the smaller of the sums of ranks of positive and of negative differences; differences of
    zero are dropped. ``scipy.stats.wilcoxon(method="exact")`` uses the distribution without ties (scipy 1.17:
    p = 0.1094 where counting all signs of eight differences gives 0.0938), and its permutation method cannot
    enumerate the 2 ** 50 signs of 50 subjects. Here the distribution is built up rank by rank.
    """
    differences = np.round(np.asarray(differences, dtype=float), DIGITS)
    differences = differences[differences != 0]
    if not len(differences):
        return 0.0, 1.0
    doubled = (2 * pd.Series(np.abs(differences)).rank()).round().astype(int).to_numpy()
    positive = int(doubled[differences > 0].sum())
    smaller = min(positive, int(doubled.sum()) - positive)
    chances = np.ones(1)  # probability of each (doubled) sum of ranks
    for rank in doubled:
        chances = (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))) / 2
    return smaller / 2, min(1.0, 2 * float(chances[: smaller + 1].sum()))


def smallest_p(n_subjects: int) -> float:
    """The smallest two-sided p that the signed-rank test can give with so many subjects."""
    return min(1.0, 2.0 ** (1 - n_subjects))


def holm(p: np.ndarray) -> np.ndarray:
    """P values of a family (m,), adjusted by Holm's step-down rule; NaN is not part of the family."""
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
        One row per query of all methods; one dataset, preset, protocol and evaluation (else a DataError).
    metric : {"top1", "top5", "mrr", "mean_rank"}
    against : str, optional
        Compare the others with this method only, chosen before the numbers were seen: fewer tests, more
        power. None: every pair.

    Returns
    -------
    DataFrame
        One row per pair: ``metric, first, second, difference`` (mean of first minus second),
        ``n_subjects, statistic, p, p_holm, smallest_p_holm, remark``. ``smallest_p_holm`` is the smallest
        possible value; if that is above 0.05 the remark says so.
    """
    check_one(queries, COLUMN, "queries of one dataset, preset, protocol and evaluation")
    means = subject_means(queries, metric)
    pairs = list(combinations(means, 2))
    if against is not None:
        check_name("method of this table", against, means)
        pairs = [(against, other) for other in means if other != against]
    rows = []
    for first, second in pairs:
        differences = (means[first] - means[second]).dropna().to_numpy()
        mean = float(differences.mean()) if len(differences) else np.nan
        statistic, p = signed_rank(differences) if len(differences) else (np.nan, np.nan)
        rows.append((metric, first, second, mean, len(differences), statistic, p))
    names = ("metric", "first", "second", "difference", "n_subjects", "statistic", "p")
    table = pd.DataFrame(rows, columns=names)
    table["p_holm"] = holm(table["p"].to_numpy())
    family = int(table["p"].notna().sum())
    table["smallest_p_holm"] = [min(1.0, family * smallest_p(n)) for n in table["n_subjects"]]
    table["remark"] = [_remark(n, family) for n in table["n_subjects"]]
    return table


def subject_means(queries: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean over seeds and queries: a row per subject, a column per method, in the order of appearance."""
    keyed = queries[["subject"]].assign(
        method=labels_of_methods(queries),
        seed=queries.get("seed", 0),
        value=per_query(queries, metric),
    )
    of_seeds = keyed.groupby(["method", "subject", "seed"])["value"].mean()
    means = of_seeds.groupby(["subject", "method"]).mean().unstack("method")
    return means.loc[sorted(means.index, key=natural), list(dict.fromkeys(keyed["method"]))]


def _remark(n_subjects: int, family: int) -> str:
    """What a reader must know about the power of a test."""
    if not n_subjects:
        return "no subject has both"
    if smallest_p(n_subjects) > ALPHA:
        return f"{n_subjects} subjects are too few to reach p < {ALPHA}"
    if family * smallest_p(n_subjects) > ALPHA:
        return f"too few subjects for {family} comparisons: none can reach p < {ALPHA}"
    return ""


@dataclass(frozen=True)
class Interval:
    """A mean over subjects of the means over seeds and queries, and its confidence interval.

    ``level`` is the nominal coverage, such as 0.95; ``n_seeds`` and ``n_queries`` (per seed) are the
    fewest of any subject.
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
        """What the interval takes into account: subjects, seeds and queries, if there is more than one."""
        counts = {"subjects": self.n_subjects, "seeds": self.n_seeds, "queries": self.n_queries}
        return tuple(name for name, count in counts.items() if count > 1)


def interval(queries: pd.DataFrame, metric: str = "top1", level: float = 0.95) -> Interval:
    """The mean of a metric with its confidence interval: see :func:`confidence`.

    ``queries`` has a row per query (``subject``, ``image_id``, ``rank``, optionally ``seed``). DataError if
    they are of several methods, protocols or evaluations, or differ between the seeds of a subject.
    """
    return intervals(queries, (metric,), level)[metric]


def intervals(
    queries: pd.DataFrame, metrics: Sequence[str] = SHOWN, level: float = 0.95
) -> dict[str, Interval]:
    """:func:`interval` of several metrics of the same queries."""
    check_one(queries, ROW, "queries of one method under one protocol and evaluation")
    for metric in metrics:
        check_name("metric of queries", metric, METRICS)
    if not 0 < level < 1:
        raise UsageError(f"the level {level} is not between 0 and 1", "write 0.95 for 95 %")
    tables = scores_of(queries, {metric: per_query(queries, metric) for metric in metrics})
    found = {}
    for metric, scores in tables.items():
        n_seeds = scores.index.get_level_values("subject").value_counts()
        found[metric] = Interval(
            *confidence(scores, level, bounded=metric != "mean_rank"),
            level,
            n_subjects=len(n_seeds),
            n_seeds=int(n_seeds.min()),
            n_queries=int(scores.notna().sum(axis=1).min()),
        )
    return found


def scores_of(queries: pd.DataFrame, columns: dict[str, pd.Series]) -> dict[str, pd.DataFrame]:
    """A table of each column of values: one row per subject and seed, one column per image.

    DataError if a query occurs twice, or not with every seed of its subject, or has no value.
    """
    keys = queries["subject"], queries.get("seed", np.zeros(len(queries), int)), queries["image_id"]
    codes, labels = zip(*(pd.factorize(key, sort=True) for key in keys), strict=True)
    sizes = [*map(len, labels)]
    rows, row = np.unique(np.ravel_multi_index(codes[:2], sizes[:2]), return_inverse=True)
    cells = row * sizes[2] + codes[2]
    twice = np.flatnonzero(pd.Series(cells).duplicated())
    if len(twice):
        subject, seed, image_id = (pd.Series(key).iloc[twice[0]] for key in keys)
        raise DataError(
            f"{len(twice)} queries occur more than once, the first of subject {subject}, seed {seed}, "
            f"{image_id!r}",
            "pass runs that differ in other settings one at a time",
        )
    for values in columns.values():
        if lacking := int((~np.isfinite(values)).sum()):
            raise DataError(
                f"{lacking} queries have no value", "test the run again with `ssr-bd evaluate`"
            )
    tested = np.zeros((len(rows), sizes[2]), bool)
    tested.flat[cells] = True
    subject, seed = np.unravel_index(rows, sizes[:2])
    for code in np.unique(subject):
        seen = tested[subject == code]
        if (seen.any(0) != seen.all(0)).any():
            raise DataError(
                f"the {int(seen.sum())} queries of subject {labels[0][code]} differ between "
                f"{len(seen)} seeds",
                "leave out the run that was interrupted, or test it again",
            )
    index = pd.MultiIndex.from_arrays(
        [labels[0][subject], labels[1][seed]], names=["subject", "seed"]
    )
    images = pd.Index(labels[2], name="image_id")
    tables = {}
    for name, values in columns.items():
        scores = np.full(tested.shape, np.nan)
        scores.flat[cells] = values
        tables[name] = pd.DataFrame(scores, index, images)
    return tables


def confidence(
    scores: pd.DataFrame, level: float = 0.95, bounded: bool = True
) -> tuple[float, float, float]:
    r"""The mean over subjects with its confidence interval; subjects are crossed with images.

    Subjects differ, and so do images: one that is hard is hard for all who saw it. With the mean
    :math:`m_s` of each of n subjects over seeds and queries, and :math:`d_{si}` how far the mean over seeds
    of image i lies from it, divided by the number of queries of s, the interval reaches as far as

    .. math:: h^2 = \max\Big(t_{n-1}^2 \frac{\mathrm{var}_s\, m_s}{n},\;
              z^2 \sum_{si} \frac{d_{si}^2}{n^2}\Big)
              + z^2 \max\Big(0, \sum_i \sum_{s \neq s'} \frac{d_{si} d_{s'i}}{n^2}\Big)

    from the mean: Student's t of so few subjects, but never less than chance over queries, and the variance
    of the images that they share. One subject's interval has no first term; seeds take the place of
    subjects, so that it covers this subject's accuracy, and says nothing about others.

    Parameters
    ----------
    scores : DataFrame, shape (subjects * seeds, images)
        Of queries, indexed by ``subject`` and ``seed``; NaN where a subject did not see an image.
    level : float
        Nominal coverage.
    bounded : bool
        Whether scores are at most 1 and at least 0, like hits. The ends are then those means
        :math:`\theta` that lie :math:`h \sqrt{\theta (1 - \theta) / (m (1 - m))}` away, as in Wilson's
        interval for counts, and never leave that range.
    """
    from scipy.special import ndtri, stdtrit  # scipy.stats takes half a second to import

    units = scores.groupby(level="subject").mean().to_numpy()
    mean = float(np.nanmean(units, axis=1).mean())
    alone = len(units) == 1
    if alone:
        units = scores.to_numpy()
    n, means, seen = len(units), np.nanmean(units, axis=1), (~np.isnan(units)).sum(axis=1)
    pairs = np.maximum(seen * (seen - 1), 1)  # of one query nothing is known
    parts = np.nan_to_num((units - means[:, None]) / np.sqrt(pairs)[:, None]) / n
    own = float((parts**2).sum())
    shared = max(0.0, float((parts.sum(axis=0) ** 2).sum()) - own)
    z = float(ndtri((1 + level) / 2))
    t = z if alone else float(stdtrit(n - 1, (1 + level) / 2))
    between = float(means.var(ddof=1)) / n if n > 1 else 0.0
    reach = max(t**2 * between, z**2 * own) + z**2 * shared
    if not bounded:
        return mean, max(1.0, mean - math.sqrt(reach)), mean + math.sqrt(reach)
    spread = mean * (1 - mean)
    k = reach / spread if spread * reach > 0 else z**2 / int(seen.min())
    half = math.sqrt(k * (spread + k / 4))
    return mean, (mean + k / 2 - half) / (1 + k), (mean + k / 2 + half) / (1 + k)


def noise_floor(p: float, n_queries: int, n_subjects: int = 1) -> float:
    """Standard error of an accuracy from counting hits alone, if all queries were independent.

    With 200 queries per subject 0.034 at an accuracy ``p`` of 0.65, and 0.011 for the mean of ten subjects:
    differences of that size need no other explanation.
    """
    if not 0 <= p <= 1:
        raise UsageError(f"the accuracy {p} is not between 0 and 1", "divide percent by 100")
    if n_queries < 1 or n_subjects < 1:
        raise UsageError(
            f"there are {n_queries} queries and {n_subjects} subjects, but one of each is needed",
            "count those that were tested",
        )
    return math.sqrt(p * (1 - p) / (n_queries * n_subjects))


def summary_table(
    queries: pd.DataFrame, runs: pd.DataFrame | None = None, level: float = 0.95
) -> pd.DataFrame:
    """One row per dataset, preset, protocol, evaluation, method and backbone; never mixed.

    Parameters
    ----------
    queries : DataFrame
        One row per query, with the columns ``ROW``, ``subject``, ``seed``, ``image_id``, ``rank``.
    runs : DataFrame, optional
        One row per run and evaluation, with what is known of them besides their ranks.
    level : float
        Nominal coverage of the intervals.

    Returns
    -------
    DataFrame
        Accuracies are fractions; what is unknown is empty. ``flags`` are those of any run, ``median_rank`` is
        the mean over subjects of the mean over seeds, chance and ceiling are means over runs. A row whose
        runs all failed has no numbers. DataError if the runs of a row differ in selection or gallery.
    """
    known = runs if runs is not None else queries[list(ROW)].drop_duplicates()
    of_rows = dict(iter(queries.groupby(list(ROW), sort=False)))
    rows = []
    for key, own in known.groupby(list(ROW), sort=False):
        row = dict(zip(ROW, key, strict=True)) | _facts(own) | {"n_subjects": 0}
        if key in of_rows:
            row |= _numbers(of_rows[key], level)
        rows.append(row)
    columns = [
        *(*ROW, "flags", *SAME, "repetitions", "repetitions_max"),
        *("n_subjects", "n_seeds", "n_queries", "n_failed"),
        *(f"{metric}{end}" for metric in SHOWN for end in ("", "_low", "_high")),
        *("median_rank", "noise_top1", "noise_top5", "chance_top1", "chance_top5"),
        *("ceiling_top1", "ceiling_top5", "train_seconds"),
    ]
    return pd.DataFrame(rows).reindex(columns=columns)


def _facts(runs: pd.DataFrame) -> dict[str, Any]:
    failed = runs["status"].eq("failed") if "status" in runs else pd.Series(False, runs.index)
    done = runs[~failed]
    facts: dict[str, Any] = {"n_failed": int(failed.sum()), "flags": ""}
    if "flags" in runs:
        found = set(";".join((done if len(done) else runs)["flags"].fillna("")).split(";")) - {""}
        ordered = [flag for flag in FLAGS if flag in found] + sorted(found - set(FLAGS))
        facts["flags"] = ";".join(ordered)
    if not len(done):
        return facts
    check_one(done, SAME, "runs of one selection and gallery")
    facts |= {name: done[name].iloc[0] for name in SAME if name in done}
    means = ("chance_top1", "chance_top5", "ceiling_top1", "ceiling_top5", "train_seconds")
    facts |= {name: done[name].mean() for name in means if name in done}
    if "repetitions" in done:
        most = done["repetitions_max"] if "repetitions_max" in done else done["repetitions"]
        facts |= {"repetitions": done["repetitions"].min(), "repetitions_max": most.max()}
    return facts


def _numbers(queries: pd.DataFrame, level: float) -> dict[str, Any]:
    """Means, intervals, counts and noise floors of a row."""
    numbers: dict[str, Any] = {}
    for metric, value in intervals(queries, level=level).items():
        numbers |= {metric: value.mean, f"{metric}_low": value.low, f"{metric}_high": value.high}
        numbers |= {name: getattr(value, name) for name in ("n_subjects", "n_seeds", "n_queries")}
    for metric in ("top1", "top5"):
        counts = numbers["n_queries"], numbers["n_subjects"]
        numbers[f"noise_{metric}"] = noise_floor(numbers[metric], *counts)
    of_seeds = queries.groupby(["subject", "seed"])["rank"].median()
    return numbers | {"median_rank": of_seeds.groupby("subject").mean().mean()}

"""Is one method better than another? Paired tests over subjects."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from ..labels import natural
from ..registry import unknown_name
from .column import COLUMN, check_one, labels_of_methods
from .metrics import per_query

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

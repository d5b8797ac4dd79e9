"""Which methods differ: the table of paired tests."""

from __future__ import annotations

import pandas as pd

from .content import Table


def pair_table(tests: pd.DataFrame, caption: str) -> Table:
    """One row per pair of methods.

    Parameters
    ----------
    tests : DataFrame
        As of :func:`~braindecode_ssr.retrieval.paired.paired_tests`.
    caption : str
    """
    head = ("first", "second", "difference (points)", "subjects", "W", "p", "p (Holm)")
    rows = tuple(
        (
            row["first"],
            row["second"],
            f"{100 * row['difference']:+.1f}" if pd.notna(row["difference"]) else "–",
            str(row["n_subjects"]),
            f"{row['statistic']:g}" if pd.notna(row["statistic"]) else "–",
            p_text(row["p"]),
            p_text(row["p_holm"]),
        )
        for row in tests.to_dict("records")
    )
    remarks = dict.fromkeys(remark for remark in tests["remark"] if remark)
    return Table("tests", caption, head, rows, (_ABOUT, *(f"{r}." for r in remarks)), words=2)


_ABOUT = (
    "Top-1, Wilcoxon's signed-rank test over subjects' means, two-sided, exact; Holm over all rows."
)


def p_text(p: float) -> str:
    """Three digits, never 0."""
    if pd.isna(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"

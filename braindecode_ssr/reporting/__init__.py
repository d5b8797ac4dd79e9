"""Tables and figures of finished runs, made from their saved ranks alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ..errors import UsageError
from ..registry import unknown_name
from ..retrieval.statistics import (
    COLUMN,
    labels_of_methods,
    paired_tests,
    subject_means,
    summary_table,
)
from .render import Report, Section, Table
from .results import QUERY_COLUMNS, Results, read_results, read_table
from .tables import TITLES, accuracy_table, pair_table, subject_table, with_published

__all__ = ["QUERY_COLUMNS", "Results", "read_results", "read_table", "report", "report_of"]

AS_PUBLISHED = "as-published"
"""The evaluation that each method does in its own way: its methods are not tested against each other."""


def report(folders: Iterable[str | Path], *, against: str | None = None) -> Report:
    """Make all tables of saved results.

    Parameters
    ----------
    folders : iterable of path-like
        Folders of benchmarks or of runs.
    against : str, optional
        Test the other methods against this one only.

    Returns
    -------
    Report

    Raises
    ------
    DataError
        See :func:`braindecode_ssr.reporting.results.read_results`.
    UsageError
        If there is no run of the method ``against``.
    """
    return report_of(read_results(folders), against=against)


def report_of(results: Results, *, against: str | None = None) -> Report:
    """As :func:`report`, from tables that are already read."""
    names = labels_of_methods(results.runs).drop_duplicates().tolist()
    if against is not None and against not in names:
        raise unknown_name("method of these tables", against, names)
    summary = summary_table(results.queries, results.runs)
    summary = with_published(summary)
    by_column = dict(iter(results.queries.groupby(list(COLUMN), sort=False)))
    sections, subjects, tests = [], [], []
    for key, rows in summary.groupby(list(COLUMN), sort=False):
        queries = by_column.get(key, results.queries.head(0))
        tested = _tests(queries, rows, against)
        sections.append(_section(key, queries, rows, tested))
        labels = dict(zip(COLUMN, key, strict=True))
        tests.append(tested.assign(**labels))
        if len(queries):
            means = {metric: subject_means(queries, metric).T.stack() for metric in TITLES}
            table = pd.DataFrame(means).rename_axis(["method", "subject"]).reset_index()
            subjects.append(table.assign(**labels))
    title = "Zero-shot image retrieval"
    return Report(title, tuple(sections), summary, _joined(subjects), _joined(tests))


def section_title(key: tuple[str, ...]) -> str:
    """Dataset, preset, protocol and, if the key has it, evaluation."""
    dataset, preset, protocol, *evaluation = key
    size = "" if preset in ("none", "") else f" ({preset})"
    return ", evaluation ".join([f"{dataset}{size}, {protocol}-subject", *evaluation])


def _section(
    key: tuple[str, ...], queries: pd.DataFrame, rows: pd.DataFrame, tests: pd.DataFrame
) -> Section:
    title = section_title(key)
    tables: list[Table] = [accuracy_table(rows, queries, f"Retrieval accuracy. {title}.")]
    if len(queries):
        tables += [
            subject_table(queries, rows, metric, f"{name} accuracy of each subject. {title}.")
            for metric, name in TITLES.items()
        ]
    if len(tests):
        tables.append(pair_table(tests, f"Paired tests. {title}."))
    return Section(title, tuple(tables))


def _tests(queries: pd.DataFrame, rows: pd.DataFrame, against: str | None) -> pd.DataFrame:
    """Tests between methods that were evaluated alike; none where each is evaluated in its own way."""
    alike = rows["flags"].nunique() == 1 and rows["gallery"].nunique() == 1
    labels = labels_of_methods(rows[rows["top1"].notna()])
    if len(labels) < 2 or not alike or rows["evaluation"].iloc[0] == AS_PUBLISHED:
        return pd.DataFrame()
    if against is not None and against not in set(labels):
        return pd.DataFrame()
    try:
        return paired_tests(queries, "top1", against)
    except UsageError:
        return pd.DataFrame()


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables below each other, with the columns that name the section first."""
    full = [table for table in tables if len(table)]
    if not full:
        return pd.DataFrame()
    table = pd.concat(full, ignore_index=True)
    return table[[*COLUMN, *(name for name in table if name not in COLUMN)]]

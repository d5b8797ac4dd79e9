"""From saved tables to a report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ..errors import UsageError
from ..registry import unknown_name
from ..retrieval.column import COLUMN, labels_of_methods
from ..retrieval.paired import paired_tests, subject_means
from ..retrieval.statistics import DRAWS, summary_table
from .accuracy_table import accuracy_table
from .content import Report, Section, Table
from .pair_table import pair_table
from .published import with_published
from .results import Results, read_results
from .subject_table import TITLES, subject_table

OWN_PROTOCOLS = "as-published"
"""The evaluation in which each method has a protocol of its own: nothing to test there."""


def report(
    folders: Iterable[str | Path], *, against: str | None = None, draws: int = DRAWS, seed: int = 0
) -> Report:
    """Everything that saved tables say.

    Parameters
    ----------
    folders : iterable of path-like
        Folders of benchmarks or of runs.
    against : str, optional
        Test the other methods against this one only.
    draws, seed
        Of the bootstrap.
    """
    return report_of(read_results(folders), against=against, draws=draws, seed=seed)


def report_of(
    results: Results, *, against: str | None = None, draws: int = DRAWS, seed: int = 0
) -> Report:
    """As :func:`report`, of tables that are read already."""
    _check_against(results, against)
    summary = summary_table(results.queries, results.runs, draws=draws, seed=seed)
    summary = with_published(summary)
    of_columns = dict(iter(results.queries.groupby(list(COLUMN), sort=False)))
    sections, subjects, tests = [], [], []
    for key, rows in summary.groupby(list(COLUMN), sort=False):
        queries = of_columns.get(key, results.queries.head(0))
        tested = _tests(queries, rows, against)
        sections.append(_section(key, queries, rows, tested))
        labels = dict(zip(COLUMN, key, strict=True))
        subjects.append(_tidy_subjects(queries).assign(**labels))
        tests.append(tested.assign(**labels))
    return Report(
        "Zero-shot image retrieval", tuple(sections), summary, _all(subjects), _all(tests)
    )


def _check_against(results: Results, against: str | None) -> None:
    names = labels_of_methods(results.runs).drop_duplicates().tolist()
    if against is not None and against not in names:
        raise unknown_name("method of these tables", against, names)


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


def section_title(key: tuple[str, ...]) -> str:
    """Dataset, preset, protocol and evaluation, for people."""
    dataset, preset, protocol, evaluation = key
    size = "" if preset in ("none", "") else f" ({preset})"
    return f"{dataset}{size}, {protocol}-subject, evaluation {evaluation}"


def _tests(queries: pd.DataFrame, rows: pd.DataFrame, against: str | None) -> pd.DataFrame:
    """Tests between methods that were tested alike; none where each has its own protocol."""
    alike = rows["flags"].nunique() == 1 and rows["gallery"].nunique() == 1
    labels = labels_of_methods(rows[rows["top1"].notna()])
    if len(labels) < 2 or not alike or rows["evaluation"].iloc[0] == OWN_PROTOCOLS:
        return pd.DataFrame()
    if against is not None and against not in set(labels):
        return pd.DataFrame()
    try:
        return paired_tests(queries, "top1", against)
    except UsageError:
        return pd.DataFrame()


def _tidy_subjects(queries: pd.DataFrame) -> pd.DataFrame:
    """One row per method and subject: means over seeds."""
    if not len(queries):
        return pd.DataFrame()
    means = {metric: subject_means(queries, metric).T.stack() for metric in TITLES}
    return pd.DataFrame(means).rename_axis(["method", "subject"]).reset_index()


def _all(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables below each other, what names the column first."""
    full = [table for table in tables if len(table)]
    if not full:
        return pd.DataFrame()
    table = pd.concat(full, ignore_index=True)
    return table[[*COLUMN, *(name for name in table if name not in COLUMN)]]

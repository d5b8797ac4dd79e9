"""Tables and figures of finished runs, made from their saved ranks alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..errors import Say, silent
from ..registry import check_name
from ..retrieval.statistics import (
    COLUMN,
    labels_of_methods,
    paired_tests,
    subject_means,
    summary_table,
)
from .render import Report, Section, Table, check_places, write_report
from .results import QUERY_COLUMNS, Results, read_results, read_table
from .tables import (
    TITLES,
    accuracy_table,
    pair_table,
    section_title,
    subject_table,
    with_published,
)

__all__ = ["QUERY_COLUMNS", "Results", "read_results", "read_table", "report", "report_of"]

if TYPE_CHECKING:
    from ..runs import Run
    from .run_figures import Picture

AS_PUBLISHED = "as-published"
"""The evaluation that each method does in its own way: its methods are not tested against each other."""


def report(
    runs: Any,
    *,
    format: str = "md",
    out: str | Path | None = None,
    plots: bool = False,
    embed_images: bool = False,
    figures: Callable[[Iterable[Run]], Iterable[Picture]] | None = None,
    against: str | None = None,
    say: Say = silent,
) -> Report:
    """Tables of runs, and files of them: accuracy with intervals, subjects, tests, published numbers.

    Parameters
    ----------
    runs : path-like, Run, Benchmark, or iterable of them
        Runs and benchmarks, or their folders. Nothing is trained or tested.
    format : {"md", "csv", "latex", "html"}
        Of the files in ``out``.
    out : path-like, optional
        Write files into this folder.
    plots : bool
        Draw figures too: into ``out``, or into the page of ``format="html"``.
    embed_images : bool
        Put small copies of the images that were seen and retrieved into the figures.
    figures : callable, optional
        Gets the runs whose folders are complete, and draws further figures of them.
    against : str, optional
        Test the other methods against this one only.
    say : callable
        Gets a line on each folder that cannot be read.

    Returns
    -------
    Report
        With the tidy tables ``summary``, ``subjects`` and ``tests``, and the paths ``files``; prints as
        Markdown, and shows as tables in notebooks. Errors are those of :func:`read_results`.
    """
    folder = None if out is None else Path(out)
    check_places(format, folder, plots or figures is not None, embed_images)
    several = [runs] if isinstance(runs, str | Path) or hasattr(runs, "path") else runs
    results = read_results(several, say)
    made = report_of(results, against=against)
    drawn: list[Picture] = []
    if plots:
        from .figures import draw
        from .run_figures import retrieval_grids, retrieval_pictures

        drawn += draw(results, made)
        if format == "html":
            made = replace(made, grids=retrieval_grids(results.trained, folder, embed_images, say))
        else:
            drawn += retrieval_pictures(results.trained, embed_images, say)
    if figures is not None:
        drawn += figures(results.trained)
    made = replace(made, pictures=tuple(drawn))
    if folder is not None:
        made = replace(made, files=tuple(write_report(made, format, folder)))
    return made


def report_of(results: Results, *, against: str | None = None) -> Report:
    """As :func:`report`, from tables that are already read."""
    names = labels_of_methods(results.runs).drop_duplicates().tolist()
    if against is not None:
        check_name("method of these tables", against, names)
    summary = with_published(summary_table(results.queries, results.runs))
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


def _section(
    key: tuple[str, ...], queries: pd.DataFrame, rows: pd.DataFrame, tests: pd.DataFrame
) -> Section:
    title = section_title(key)
    tables: list[Table] = [accuracy_table(rows, queries, f"Retrieval accuracy. {title}.")]
    for metric, name in TITLES.items() if len(queries) else ():
        caption = f"{name} accuracy of each subject. {title}."
        tables.append(subject_table(queries, rows, metric, caption))
    if len(tests):
        tables.append(pair_table(tests, f"Paired tests. {title}."))
    return Section(title, tuple(tables))


def _tests(queries: pd.DataFrame, rows: pd.DataFrame, against: str | None) -> pd.DataFrame:
    """Tests between methods that were evaluated alike; none where each is evaluated in its own way."""
    alike = rows["flags"].nunique() == 1 and rows["gallery"].nunique() == 1
    labels = set(labels_of_methods(rows[rows["top1"].notna()]))
    if len(labels) < 2 or not alike or rows["evaluation"].iloc[0] == AS_PUBLISHED:
        return pd.DataFrame()
    if against is not None and against not in labels:
        return pd.DataFrame()
    return paired_tests(queries, "top1", against)


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    full = [table for table in tables if len(table)]
    if not full:
        return pd.DataFrame()
    table = pd.concat(full, ignore_index=True)
    return table[[*COLUMN, *(name for name in table if name not in COLUMN)]]

"""Accuracy of each subject, in the form of the tables of papers, published rows below ours."""

from __future__ import annotations

import pandas as pd

from ..labels import short_name
from ..retrieval.column import labels_of_methods
from ..retrieval.paired import subject_means
from .accuracy_table import marked
from .content import MARK, Table, percent
from .published import (
    meaning,
    method_of,
    published_flags,
    published_for,
    published_subjects,
)

TITLES = {"top1": "Top-1", "top5": "Top-5"}


def subject_table(queries: pd.DataFrame, rows: pd.DataFrame, metric: str, caption: str) -> Table:
    """One row per method, one column per subject, mean over seeds.

    Parameters
    ----------
    queries : DataFrame
        Of one dataset, preset, protocol and evaluation.
    rows : DataFrame
        Their part of the summary.
    metric : {"top1", "top5"}
    caption : str
    """
    means = subject_means(queries, metric)
    flags = dict(zip(labels_of_methods(rows), rows["flags"], strict=True))
    lines, shown = [], [flags[method] for method in means]
    for method in means:
        cells = [percent(value) for value in means[method]]
        lines.append((marked(method, flags[method]), *cells, percent(means[method].mean())))
    for row in rows.drop_duplicates("method").to_dict("records"):
        values = published_subjects(row, metric)
        if not published_for(means.index, values):
            continue
        published = published_flags(method_of(row["method"]))
        shown.append(";".join(published))
        cells = [percent(values[subject - 1]) for subject in means.index]
        mean = percent(sum(values) / len(values)) if len(values) == len(means) else "–"
        lines.append((marked(f"{row['method']}, published", shown[-1]), *cells, mean))
    head = ("method", *map(short_name, means.index), "mean")
    notes = [f"{TITLES[metric]} accuracy in percent, mean over seeds."]
    if any(shown):
        notes.append(f"{MARK} {meaning(shown)}.")
    return Table(metric, caption, head, tuple(lines), tuple(notes))

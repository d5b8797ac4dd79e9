"""Pictures of saved tables, one kind per file; matplotlib is imported when one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...retrieval.column import COLUMN

if TYPE_CHECKING:
    from ..content import Report
    from ..results import Results
    from .picture import Picture


def draw(results: Results, report: Report) -> tuple[Picture, ...]:
    """All pictures that the tables are enough for.

    Parameters
    ----------
    results : Results
    report : Report
        Of the same results.

    Returns
    -------
    tuple of Picture
        Per dataset, preset, protocol and evaluation: accuracy of subjects, histogram of ranks, who is taken
        for whom. Per dataset, preset and protocol with several numbers of repetitions: their curve.
    """
    from .bars import bars
    from .confusion import confusion
    from .curve import curves
    from .ranks import rank_histogram

    rows_of = dict(iter(report.summary.groupby(list(COLUMN), sort=False)))
    pictures: list[Picture] = []
    for key, queries in results.queries.groupby(list(COLUMN), sort=False):
        rows = rows_of[key]
        pictures += [bars(key, queries, rows), rank_histogram(key, queries, rows)]
        pictures += confusion(key, queries, rows)
    return tuple(pictures + curves(report.summary))

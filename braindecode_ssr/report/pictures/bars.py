"""Accuracy of each subject and their mean, with intervals, beside what was published."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ...labels import Label, natural, short_name
from ...retrieval.bootstrap import Interval, interval
from ...retrieval.column import labels_of_methods
from ..build import section_title
from ..content import MARK
from ..published import STANDS_FOR, meaning, published_for, published_subjects
from .picture import (
    COLOURS,
    LOOK,
    Picture,
    chunks,
    file_name,
    flags_of,
    footnote,
    named,
    new_figure,
)

DRAWS = 2000


def bars(key: tuple[str, ...], queries: pd.DataFrame, rows: pd.DataFrame) -> Picture:
    """Bars of top-1 per subject.

    Parameters
    ----------
    key : tuple of str
        Dataset, preset, protocol and evaluation.
    queries : DataFrame
        Those of the key.
    rows : DataFrame
        Their part of the summary.
    """
    methods = labels_of_methods(queries)
    subjects = sorted(queries["subject"].unique().tolist(), key=natural)
    parts, flags = chunks(list(dict.fromkeys(methods))), flags_of(rows)
    with matplotlib.rc_context(LOOK):
        width = min(7.2, 1.6 + (len(subjects) + 1) * (0.16 * len(parts[0]) + 0.25))
        figure = new_figure(max(3.4, width), 0.5 + 2.1 * len(parts))
        axes = figure.subplots(len(parts), 1, sharey=True, squeeze=False)[:, 0]
        colour = 0
        for axis, part in zip(axes, parts, strict=True):
            for place, method in enumerate(part):
                own, [row] = queries[methods == method], _row(rows, method)
                found = _intervals(own, subjects)
                options = {
                    "color": COLOURS[colour % len(COLOURS)],
                    "hatch": "////" * bool(flags[method]),
                }
                _bars(axis, found, place, len(part), named(method, flags[method]), options)
                _published(axis, row, subjects, place, len(part))
                colour += 1
            _finish(axis, subjects, rows)
        # Of all, and when all is drawn: a limit stops shared axes from growing.
        axes[0].set_ylim(bottom=0)
        axes[0].set_title(section_title(key), loc="left")
        shown = rows.get("published_flags", []) if rows["dataset"].iloc[0] not in STANDS_FOR else []
        told = meaning([*rows["flags"], *shown])
        footnote(figure, f"{MARK} {told}" if told else "")
    caption = (
        f"Top-1 accuracy of each subject and their mean, with 95 % intervals. {section_title(key)}."
    )
    return Picture(file_name("subjects", key), caption, figure)


def _row(rows: pd.DataFrame, method: str) -> list[dict[str, object]]:
    return rows[labels_of_methods(rows) == method].to_dict("records")


def _intervals(queries: pd.DataFrame, subjects: list[Label]) -> list[Interval | None]:
    """Of each subject, None where it was not tested, and of their mean."""
    own = dict(iter(queries.groupby("subject")))
    found = [interval(own[s], "top1", draws=DRAWS) if s in own else None for s in subjects]
    return [*found, interval(queries, "top1", draws=DRAWS)]


def _places(n_groups: int, place: int, n_methods: int) -> np.ndarray:
    """Middles of a method's bars; the mean stands a little apart."""
    groups = np.arange(n_groups, dtype=float)
    groups[-1] += 0.35
    return groups + (place - (n_methods - 1) / 2) * _width(n_methods)


def _width(n_methods: int) -> float:
    return 0.8 / max(n_methods, 2)


def _bars(
    axis: Axes,
    found: list[Interval | None],
    place: int,
    n_methods: int,
    label: str,
    options: dict[str, object],
) -> None:
    x = _places(len(found), place, n_methods)
    there = [at for at, value in enumerate(found) if value is not None]
    means = np.array([found[at].mean for at in there]) * 100
    ends = np.array([(found[at].low, found[at].high) for at in there]).T * 100
    errors = np.maximum([means - ends[0], ends[1] - means], 0)
    width = 0.92 * _width(n_methods)
    axis.bar(x[there], means, width, label=label, edgecolor="white", linewidth=0.3, **options)
    axis.errorbar(
        x[there], means, errors, fmt="none", ecolor="#222222", elinewidth=0.7, capsize=1.2
    )


def _published(
    axis: Axes, row: dict[str, object], subjects: list[Label], place: int, n_methods: int
) -> None:
    """Diamonds at published accuracies of the same subjects."""
    values = published_subjects(row, "top1")
    if not published_for(subjects, values):
        return
    x = _places(len(subjects) + 1, place, n_methods)
    y = [values[subject - 1] for subject in subjects]
    shown = [*y, np.mean(y)] if len(y) == len(values) else y
    leaky = bool(row["published_flags"])
    label = f"published {MARK}" if leaky else "published"
    taken = label in axis.get_legend_handles_labels()[1]
    look = {"ms": 3, "mec": "black", "mew": 0.6, "mfc": "#bbbbbb" if leaky else "white"}
    y = np.multiply(shown, 100)
    axis.plot(x[: len(y)], y, "D", label=None if taken else label, **look)


def _finish(axis: Axes, subjects: list[Label], rows: pd.DataFrame) -> None:
    chance = rows["chance_top1"].dropna()
    if len(chance):
        axis.axhline(100 * chance.mean(), color="#777777", lw=0.8, ls="--", label="chance")
    ticks = [*range(len(subjects)), len(subjects) + 0.35]
    axis.set_xticks(ticks, [*map(short_name, subjects), "mean"])
    axis.tick_params(axis="x", length=0)
    axis.set_ylabel("top-1 accuracy (%)")
    axis.margins(x=0.01)
    handles, labels = axis.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda place: labels[place] == "chance")
    ordered = [handles[place] for place in order], [labels[place] for place in order]
    axis.legend(*ordered, loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=1.2)

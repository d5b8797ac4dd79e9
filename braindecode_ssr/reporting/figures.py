"""The figures of a report, drawn with matplotlib from saved tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..registry import natural, short_name
from ..retrieval.statistics import COLUMN, interval, labels_of_methods
from .render import MARK
from .run_figures import (
    COLORS,
    Picture,
    confused_concepts,
    file_name,
    footnote,
    learning_curves,
    new_figure,
)
from .tables import TITLES, marked, meaning, published_subjects, section_title

if TYPE_CHECKING:
    from .render import Report
    from .results import Results


TOGETHER = 5  # methods side by side in one axis


def draw(results: Results, report: Report) -> tuple[Picture, ...]:
    """Draw all figures for which the tables have the data: of each section, of repetitions, of training."""
    rows_of = dict(iter(report.summary.groupby(list(COLUMN), sort=False)))
    pictures: list[Picture] = []
    for key, queries in results.queries.groupby(list(COLUMN), sort=False):
        rows = rows_of[key]
        ceilings = ceilings_of(key, results.runs)
        pictures += [bars(key, queries, rows, ceilings, metric) for metric in TITLES]
        pictures.append(rank_histogram(key, queries, rows))
        pictures += confusion(key, queries, rows)
    return (*pictures, *curves(report.summary), *learning_curves(results.trained))


# -- what figures share --------------------------------------------------------------------------------------


def chunks(labels: Iterable[str]) -> list[list[str]]:
    """Methods for one axis each, as evenly as possible."""
    methods = list(dict.fromkeys(labels))
    n_axes = -(-len(methods) // TOGETHER)
    size = -(-len(methods) // n_axes)
    return [methods[start : start + size] for start in range(0, len(methods), size)]


@dataclass(frozen=True)
class Bars:
    """The bars of one method in a grouped bar chart: its queries, and where and how its bars are drawn."""

    queries: pd.DataFrame
    row: dict[str, Any]
    offset: float
    width: float
    look: dict[str, Any]

    def draw(self, axis: Axes, x: np.ndarray, heights: np.ndarray) -> None:
        style: dict[str, Any] = {"edgecolor": "white", "linewidth": 0.3}
        axis.bar(x + self.offset, heights, 0.92 * self.width, **style, **self.look)


def grouped_bars(
    figure: Figure, parts: list[list[str]], queries: pd.DataFrame, rows: pd.DataFrame
) -> list[tuple[Axes, list[Bars]]]:
    """An axis for each of :func:`chunks`, and the bars to draw in it."""
    methods, labels = labels_of_methods(queries), labels_of_methods(rows)
    axes = figure.subplots(len(parts), 1, sharey=True, squeeze=False)[:, 0]
    panels: list[tuple[Axes, list[Bars]]] = []
    color = 0
    for axis, part in zip(axes, parts, strict=True):
        width = 0.8 / max(len(part), 2)
        panels.append((axis, []))
        for place, method in enumerate(part):
            [row] = rows[labels == method].to_dict("records")
            look = {
                "color": COLORS[color % len(COLORS)],
                "hatch": "////" * bool(row["flags"]),
                "label": marked(method, row["flags"]),
            }
            offset = (place - (len(part) - 1) / 2) * width
            panels[-1][1].append(Bars(queries[methods == method], row, offset, width, look))
            color += 1
    return panels


# -- accuracy of subjects ------------------------------------------------------------------------------------


def ceilings_of(key: tuple[str, ...], runs: pd.DataFrame) -> pd.DataFrame:
    """The ceiling of each subject, where it is known: ``top1`` and ``top5`` by subject."""
    of_section = runs[list(COLUMN)].eq(pd.Series(key, COLUMN)).all(axis=1)
    own = runs[of_section & (runs["status"] == "done")]
    names = {f"ceiling_{metric}": metric for metric in TITLES if f"ceiling_{metric}" in own}
    return own.groupby("subject")[list(names)].mean().rename(columns=names).dropna(how="all")


def bars(
    key: tuple[str, ...],
    queries: pd.DataFrame,
    rows: pd.DataFrame,
    ceilings: pd.DataFrame,
    metric: str = "top1",
) -> Picture:
    """Bars of the accuracy of each subject and of their mean; diamonds are published values."""
    subjects = sorted(queries["subject"].unique().tolist(), key=natural)
    x = np.arange(len(subjects) + (len(subjects) > 1), dtype=float)
    x[len(subjects) :] += 0.35  # the mean is set a little apart

    parts = chunks(labels_of_methods(queries))
    width = max(3.4, min(7.2, 1.6 + len(x) * (0.16 * len(parts[0]) + 0.25)))
    with new_figure(width, 0.5 + 2.1 * len(parts), section_title(key)) as figure:
        panels = grouped_bars(figure, parts, queries, rows)
        for axis, methods in panels:
            for method in methods:
                _draw_accuracies(axis, method, subjects, x, metric)
            if metric in ceilings:
                known = 100 * ceilings[metric].reindex(subjects).to_numpy()
                known = np.append(known, np.mean(known))[: len(x)]
                look: dict[str, Any] = {"color": "#333333", "lw": 0.9, "ls": ":"}
                axis.hlines(known, x - 0.45, x + 0.45, label="ceiling", **look)
            chance = rows[f"chance_{metric}"].dropna()
            if len(chance):
                axis.axhline(100 * chance.mean(), color="#777777", lw=0.8, ls="--", label="chance")
            axis.set_xticks(x, [*map(short_name, subjects), "mean"][: len(x)])
            axis.tick_params(axis="x", length=0)
            axis.set_ylabel(f"{TITLES[metric].lower()} accuracy (%)")
            axis.margins(x=0.01)
            handles, labels = axis.get_legend_handles_labels()
            order = sorted(range(len(labels)), key=lambda n: labels[n] in ("ceiling", "chance"))
            ordered = [handles[place] for place in order], [labels[place] for place in order]
            axis.legend(*ordered, loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=1.2)
        # only when all is drawn: a limit stops shared axes from growing
        panels[0][0].set_ylim(bottom=0)
        footnote(figure, "", [*rows["flags"], *rows.get("published_flags", [])])
    about = f"{TITLES[metric]} accuracy of each subject, with 95 % intervals."
    kind = "subjects" if metric == "top1" else f"subjects-{metric}"
    return Picture(file_name(kind, key), f"{about} {section_title(key)}.", figure)


def _draw_accuracies(
    axis: Axes, method: Bars, subjects: list[Any], x: np.ndarray, metric: str
) -> None:
    by_subject = dict(iter(method.queries.groupby("subject")))
    there = [place for place, subject in enumerate(subjects) if subject in by_subject]
    tables = [by_subject[subjects[place]] for place in there]
    if len(x) > len(subjects):
        tables.append(method.queries)
        there.append(len(subjects))
    places, found = x[there], [interval(table, metric) for table in tables]
    means, low, high = 100 * np.array([(one.mean, one.low, one.high) for one in found]).T
    method.draw(axis, places, means)
    errors = np.maximum([means - low, high - means], 0)
    lines: dict[str, Any] = {"ecolor": "#222222", "elinewidth": 0.7, "capsize": 1.2}
    axis.errorbar(places + method.offset, means, errors, fmt="none", **lines)
    published = published_subjects(method.row, metric, subjects)[: len(x)]
    if not published:
        return
    label = marked("published", method.row["published_flags"])
    taken = label in axis.get_legend_handles_labels()[1]
    fill = "#bbbbbb" if method.row["published_flags"] else "white"
    look: dict[str, Any] = {"ms": 3, "mec": "black", "mew": 0.6, "mfc": fill}
    y = 100 * np.array(published)
    axis.plot(x[: len(y)] + method.offset, y, "D", label=None if taken else label, **look)


# -- ranks ---------------------------------------------------------------------------------------------------

EDGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
"""Last rank of each bin, as far as there are candidates."""


def rank_histogram(key: tuple[str, ...], queries: pd.DataFrame, rows: pd.DataFrame) -> Picture:
    """Share of all queries in each range of ranks, beside chance; parameters as of :func:`bars`."""
    n_gallery = int(max(rows["n_gallery"].max(), queries["rank"].max()))
    ranges = bins(n_gallery)
    x = np.arange(len(ranges))
    parts = chunks(labels_of_methods(queries))
    with new_figure(6.2, 0.5 + 2.0 * len(parts), section_title(key)) as figure:
        panels = grouped_bars(figure, parts, queries, rows)
        for axis, methods in panels:
            for method in methods:
                method.draw(axis, x, 100 * shares(method.queries["rank"].to_numpy(), ranges))
            guess = [100 * (last - first + 1) / n_gallery for first, last in ranges]
            options: dict[str, Any] = {"color": "#333333", "lw": 0.9, "ls": "--"}
            axis.hlines(guess, x - 0.42, x + 0.42, label="chance", **options)
            axis.set_xticks(x, [f"{a}" if a == b else f"{a}–{b}" for a, b in ranges])
            axis.tick_params(axis="x", length=0)
            axis.set_ylabel("queries (%)")
            axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=1.2)
        panels[-1][0].set_xlabel(f"rank of the seen image among {n_gallery}")
        footnote(figure, "", rows["flags"])
    about = "Ranks of the seen image, all subjects and seeds together."
    return Picture(file_name("ranks", key), f"{about} {section_title(key)}.", figure)


def bins(n_gallery: int) -> list[tuple[int, int]]:
    """First and last rank of each bin; the last of all is the number of candidates."""
    lasts = [*(edge for edge in EDGES if edge < n_gallery), n_gallery]
    return list(zip([1, *(last + 1 for last in lasts[:-1])], lasts, strict=True))


def shares(ranks: np.ndarray, ranges: list[tuple[int, int]]) -> np.ndarray:
    """Fraction of ranks in each range, shape (ranges,)."""
    return np.array([np.mean((ranks >= first) & (ranks <= last)) for first, last in ranges])


# -- confusion of concepts -----------------------------------------------------------------------------------

NAMED = 24  # concepts whose names can still be read in small panels


def confusion(key: tuple[str, ...], queries: pd.DataFrame, rows: pd.DataFrame) -> list[Picture]:
    """One matrix per method: rows are concepts seen, columns concepts among the five nearest."""
    if "top_1" not in queries:
        return []
    methods = labels_of_methods(queries)
    flags = dict(zip(labels_of_methods(rows), rows["flags"], strict=True))
    own = {method: queries[methods == method] for method in dict.fromkeys(methods)}
    title = section_title(key)
    about = "How often a concept (column) is among the five nearest of another, ordered by cluster."
    if queries["concept"].nunique() <= NAMED:
        panels = {marked(method, flags[method]): table for method, table in own.items()}
        figure = confused_concepts(panels, title, rows["flags"])
        return [Picture(file_name("confusion", key), f"{about} {title}.", figure)]
    pictures = []  # a large figure each, whose names can be read
    for method, table in own.items():
        of_method = f"{title}: {marked(method, flags[method])}"
        figure = confused_concepts({"": table}, of_method, [flags[method]])
        name = file_name("confusion", (*key, method))
        pictures.append(Picture(name, f"{about} {of_method}.", figure))
    return pictures


# -- accuracy over repetitions -------------------------------------------------------------------------------


def curves(summary: pd.DataFrame) -> list[Picture]:
    """One figure for each dataset, preset and protocol that was tested with several repetitions."""
    plain = summary["evaluation"].str.fullmatch(r"default|repetitions=\d+")
    rows = summary[plain & summary["top1"].notna()].copy()
    rows["x"] = rows[["repetitions", "repetitions_max"]].mean(axis=1)
    groups = rows.groupby(["dataset", "preset", "protocol"], sort=False)
    return [_curve(key, part) for key, part in groups if part["evaluation"].nunique() > 1]


def _curve(key: tuple[str, ...], rows: pd.DataFrame) -> Picture:
    labels = labels_of_methods(rows)
    with new_figure(6.4, 2.6, section_title(key)) as figure:
        for axis, metric in zip(figure.subplots(1, 2), ("top1", "top5"), strict=True):
            for place, method in enumerate(dict.fromkeys(labels)):
                own = rows[labels == method].sort_values("x")
                color = COLORS[place % len(COLORS)]
                look: dict[str, Any] = {"color": color, "marker": "o", "ms": 3, "lw": 1.2}
                dashes = ("-", "--", ":")[place // len(COLORS) % 3]
                axis.plot(own["x"], 100 * own[metric], dashes, label=method, **look)
                ends = (100 * own[f"{metric}_low"], 100 * own[f"{metric}_high"])
                axis.fill_between(own["x"], *ends, color=color, alpha=0.15, lw=0)
            for limit, line in (("chance", "--"), ("ceiling", ":")):
                known = rows.dropna(subset=[f"{limit}_{metric}"])
                means = known.groupby("x")[f"{limit}_{metric}"].mean()
                axis.plot(means.index, 100 * means, line, color="#777777", lw=0.9, label=limit)
            ticks = sorted(rows["x"].unique())
            axis.set_xscale("log")
            axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.minorticks_off()
            axis.set_xlabel("test trials averaged")
            axis.set_ylabel(f"{metric.replace('top', 'top-')} accuracy (%)")
            axis.set_ylim(0, 102)
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    about = "Accuracy over the number of test trials averaged, with 95 % intervals."
    told = meaning(rows["flags"])
    caption = f"{about} {section_title(key)}." + (f" {MARK} {told}" if told else "")
    return Picture(file_name("repetitions", key), caption, figure)

"""Pictures of saved tables, one kind per file; matplotlib is imported when one is drawn."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..files import atomic_write
from ..labels import Label, natural, short_name
from ..retrieval.statistics import COLUMN, Interval, interval, labels_of_methods
from . import section_title
from .render import MARK
from .tables import STANDS_FOR, meaning, published_for, published_subjects

if TYPE_CHECKING:
    from . import Results
    from .render import Report


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
    pass
    pass
    pass
    pass

    rows_of = dict(iter(report.summary.groupby(list(COLUMN), sort=False)))
    pictures: list[Picture] = []
    for key, queries in results.queries.groupby(list(COLUMN), sort=False):
        rows = rows_of[key]
        pictures += [bars(key, queries, rows), rank_histogram(key, queries, rows)]
        pictures += confusion(key, queries, rows)
    return tuple(pictures + curves(report.summary))


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
"""Of Okabe and Ito: told apart by colour-blind eyes too."""

TOGETHER = 5  # methods side by side in one axis
LOOK = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,
}


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure.

    Parameters
    ----------
    name : str
        Of its files, without ending.
    caption : str
    figure : Figure
    """

    name: str
    caption: str
    figure: Figure

    def png(self) -> bytes:
        """The figure as PNG, 200 dots an inch; the same bytes each time."""
        return self._as("png", dpi=200, metadata={"Software": None})

    def pdf(self) -> bytes:
        """The figure as PDF, for a paper."""
        return self._as("pdf", metadata={"CreationDate": None})

    def write(self, out: Path) -> list[Path]:
        """Write both into a folder, each at once or not at all."""
        written = []
        for ending, content in (("png", self.png()), ("pdf", self.pdf())):
            path = out / f"{self.name}.{ending}"
            atomic_write(path, content)
            written.append(path)
        return written

    def _as(self, form: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        with matplotlib.rc_context(LOOK):
            self.figure.savefig(buffer, format=form, **options)
        return buffer.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches; call within ``matplotlib.rc_context(LOOK)``."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def file_name(kind: str, key: Sequence[str]) -> str:
    """A name that every file system takes."""
    return re.sub(r"[^a-z0-9._=+-]+", "-", "_".join([kind, *key]).lower()).strip("-")


def chunks(methods: Sequence[str]) -> list[list[str]]:
    """Methods for one axis each, as evenly as may be."""
    n_axes = -(-len(methods) // TOGETHER)
    size = -(-len(methods) // n_axes)
    return [list(methods[start : start + size]) for start in range(0, len(methods), size)]


def flags_of(rows: pd.DataFrame) -> dict[str, str]:
    """Flags of each method's row."""
    from ..retrieval.statistics import labels_of_methods

    return dict(zip(labels_of_methods(rows), rows["flags"], strict=True))


def named(method: str, flags: str) -> str:
    """A method with the mark, if its number is no peer of others."""
    return f"{method} {MARK}" if flags else method


def footnote(figure: Figure, text: str) -> None:
    """A line of small print below the axes."""
    if text:
        figure.supxlabel(text, fontsize=6, color="#444444", x=0.01, ha="left", wrap=True)


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


ACROSS = 3
NAMED = 24  # concepts whose names can still be read


def confusion(key: tuple[str, ...], queries: pd.DataFrame, rows: pd.DataFrame) -> list[Picture]:
    """One matrix per method: rows are concepts that were seen, columns concepts among the five nearest.

    Parameters
    ----------
    key : tuple of str
        Dataset, preset, protocol and evaluation.
    queries : DataFrame
        Those of the key; without ``top_1`` and so on there is no picture.
    rows : DataFrame
        Their part of the summary.

    Returns
    -------
    list of Picture
        One or none.
    """
    if "top_1" not in queries:
        return []
    methods, flags = labels_of_methods(queries), flags_of(rows)
    names = list(dict.fromkeys(methods))
    concepts = sorted(queries["concept"].unique())
    across = min(ACROSS, len(names))
    down = -(-len(names) // across)
    with matplotlib.rc_context(LOOK):
        figure = new_figure(0.9 + 2.3 * across, 0.6 + 2.3 * down)
        axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for axis, method in zip(axes.flat, names, strict=False):
            matrix = confusion_matrix(queries[methods == method], concepts)
            image = axis.imshow(
                100 * matrix, cmap="magma_r", vmin=0, vmax=100, interpolation="nearest"
            )
            axis.set_title(named(method, flags[method]), loc="left")
            _ticks(axis, concepts)
        for axis in axes.flat[len(names) :]:
            axis.set_visible(False)
        bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=30)
        bar.set_label("among the five nearest (% of queries)")
        figure.suptitle(section_title(key), fontsize=8, fontweight="bold", x=0.01, ha="left")
        figure.supylabel("concept seen", fontsize=8)
        told = meaning(rows["flags"])
        about = (
            "Columns: concepts of candidates. Of the similarities only the five nearest are saved."
        )
        footnote(figure, f"{about} {MARK} {told}" if told else about)
    caption = (
        f"How often a concept (column) is among the five nearest of another. {section_title(key)}."
    )
    return [Picture(file_name("confusion", key), caption, figure)]


def confusion_matrix(queries: pd.DataFrame, concepts: list[str]) -> np.ndarray:
    """How often each concept is among the five nearest of queries of each, shape (seen, candidate).

    Candidates that are no query's image, as of images without trials, are left out.
    """
    place = {concept: at for at, concept in enumerate(concepts)}
    of_image = dict(zip(queries["image_id"], queries["concept"], strict=True))
    seen = queries["concept"].map(place).to_numpy()
    matrix = np.zeros((len(concepts), len(concepts)))
    for name in (name for name in queries if name.startswith("top_")):
        candidates = queries[name].map(of_image).map(place)
        there = candidates.notna().to_numpy()
        np.add.at(matrix, (seen[there], candidates[there].astype(int).to_numpy()), 1)
    counts = np.bincount(seen, minlength=len(concepts))
    return matrix / np.maximum(counts, 1)[:, None]


def _ticks(axis: matplotlib.axes.Axes, concepts: list[str]) -> None:
    axis.spines[:].set_visible(True)
    if len(concepts) > NAMED:
        axis.set_xticks([])
        axis.set_yticks([])
        return
    axis.set_xticks(range(len(concepts)), concepts, rotation=90, fontsize=5)
    axis.set_yticks(range(len(concepts)), concepts, fontsize=5)
    axis.tick_params(length=0)


SAME = ["dataset", "preset", "protocol"]
MEASURES = {"top1": "top-1 accuracy (%)", "top5": "top-5 accuracy (%)"}


def curves(summary: pd.DataFrame) -> list[Picture]:
    """One picture for each dataset, preset and protocol that was tested with several repetitions.

    Parameters
    ----------
    summary : DataFrame
        Of it, rows of the evaluations ``default`` and ``repetitions=K`` are points of curves; such of other
        evaluations are not.
    """
    plain = summary["evaluation"].map(_plain)
    rows = summary[plain & summary["top1"].notna()].copy()
    rows["x"] = rows[["repetitions", "repetitions_max"]].mean(axis=1)
    return [
        _curve(key, part)
        for key, part in rows.groupby(SAME, sort=False)
        if part["evaluation"].nunique() > 1
    ]


def _plain(evaluation: str) -> bool:
    return re.fullmatch(r"default|repetitions=\d+", evaluation) is not None


def _curve(key: tuple[str, ...], rows: pd.DataFrame) -> Picture:
    labels = labels_of_methods(rows)
    with matplotlib.rc_context(LOOK):
        figure = new_figure(6.4, 2.6)
        for axis, (metric, name) in zip(figure.subplots(1, 2), MEASURES.items(), strict=True):
            for place, method in enumerate(dict.fromkeys(labels)):
                own = rows[labels == method].sort_values("x")
                colour = COLOURS[place % len(COLOURS)]
                style = ("-", "--", ":")[place // len(COLOURS) % 3]
                axis.plot(
                    own["x"],
                    100 * own[metric],
                    style,
                    marker="o",
                    ms=3,
                    lw=1.2,
                    color=colour,
                    label=method,
                )
                ends = (100 * own[f"{metric}_low"], 100 * own[f"{metric}_high"])
                axis.fill_between(own["x"], *ends, color=colour, alpha=0.15, lw=0)
            for limit, line in (("chance", "--"), ("ceiling", ":")):
                known = (
                    rows.dropna(subset=[f"{limit}_{metric}"])
                    .groupby("x")[f"{limit}_{metric}"]
                    .mean()
                )
                axis.plot(known.index, 100 * known, line, color="#777777", lw=0.9, label=limit)
            ticks = sorted(rows["x"].unique())
            axis.set_xscale("log")
            axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.minorticks_off()
            axis.set_xlabel("test trials averaged")
            axis.set_ylabel(name)
            axis.set_ylim(0, 102)
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        figure.suptitle(_title(key), fontsize=8, fontweight="bold", x=0.01, ha="left")
    told = meaning(rows["flags"])
    caption = (
        f"Accuracy over the number of test trials averaged, with 95 % intervals. {_title(key)}."
    )
    return Picture(
        file_name("repetitions", key), f"{caption} {MARK} {told}" if told else caption, figure
    )


def _title(key: tuple[str, ...]) -> str:
    dataset, preset, protocol = key
    return f"{dataset}{'' if preset in ('none', '') else f' ({preset})'}, {protocol}-subject"


EDGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
"""Last rank of each bin, as far as there are candidates."""


def rank_histogram(key: tuple[str, ...], queries: pd.DataFrame, rows: pd.DataFrame) -> Picture:
    """Part of all queries in each range of ranks, beside what guessing gives.

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
    n_gallery = int(max(rows["n_gallery"].max(), queries["rank"].max()))
    lasts = bins(n_gallery)
    parts, flags = chunks(list(dict.fromkeys(methods))), flags_of(rows)
    names = [_name(first, last) for first, last in lasts]
    with matplotlib.rc_context(LOOK):
        figure = new_figure(6.2, 0.5 + 2.0 * len(parts))
        axes = figure.subplots(len(parts), 1, sharey=True, squeeze=False)[:, 0]
        colour = 0
        for axis, part in zip(axes, parts, strict=True):
            width = 0.8 / max(len(part), 2)
            for place, method in enumerate(part):
                share = shares(queries.loc[methods == method, "rank"].to_numpy(), lasts)
                x = np.arange(len(lasts)) + (place - (len(part) - 1) / 2) * width
                look = {
                    "color": COLOURS[colour % len(COLOURS)],
                    "hatch": "////" * bool(flags[method]),
                }
                label = named(method, flags[method])
                axis.bar(
                    x,
                    100 * share,
                    0.92 * width,
                    label=label,
                    edgecolor="white",
                    linewidth=0.3,
                    **look,
                )
                colour += 1
            guess = [100 * (last - first + 1) / n_gallery for first, last in lasts]
            at = np.arange(len(lasts))
            axis.hlines(
                guess, at - 0.42, at + 0.42, color="#333333", lw=0.9, ls="--", label="chance"
            )
            axis.set_xticks(at, names)
            axis.tick_params(axis="x", length=0)
            axis.set_ylabel("queries (%)")
            axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=1.2)
        axes[0].set_title(section_title(key), loc="left")
        axes[-1].set_xlabel(f"rank of the seen image among {n_gallery}")
        told = meaning(rows["flags"])
        footnote(figure, f"{MARK} {told}" if told else "")
    caption = f"Ranks of the seen image, all subjects and seeds together. {section_title(key)}."
    return Picture(file_name("ranks", key), caption, figure)


def bins(n_gallery: int) -> list[tuple[int, int]]:
    """First and last rank of each bin, the last of all being the number of candidates."""
    lasts = [*(edge for edge in EDGES if edge < n_gallery), n_gallery]
    return list(zip([1, *(last + 1 for last in lasts[:-1])], lasts, strict=True))


def shares(ranks: np.ndarray, lasts: list[tuple[int, int]]) -> np.ndarray:
    """Fraction of ranks in each bin, shape (bins,)."""
    return np.array([np.mean((ranks >= first) & (ranks <= last)) for first, last in lasts])


def _name(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first}–{last}"

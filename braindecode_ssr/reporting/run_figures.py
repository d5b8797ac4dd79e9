"""Figures: what all of them share, and those of single runs: learning curves, retrieved images, confusion."""

from __future__ import annotations

import io
import re
import textwrap
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ..datasets import open_dataset
from ..datasets.base import ImageDataset
from ..errors import DataError, Say, SSRError, UsageError, silent
from ..files import atomic_write
from ..retrieval.statistics import ROW
from ..runs import Run, data_difference
from .render import MARK, Grid, image_links, shown
from .results import labels_of
from .tables import marked, meaning, section_title

if TYPE_CHECKING:
    from PIL.Image import Image


COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
"""The palette of Okabe and Ito, which color-blind readers can distinguish too."""

STYLE: Any = {
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
    "savefig.dpi": 200,
}


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure with its caption and the name of its files, without ending."""

    name: str
    caption: str
    figure: Figure

    @cached_property
    def png(self) -> bytes:
        """The figure as PNG, 200 dots per inch; the same bytes each time."""
        return self._saved("png", metadata={"Software": None})

    def pdf(self) -> bytes:
        return self._saved("pdf", dpi="figure", metadata={"CreationDate": None})

    def base64(self) -> str:
        return b64encode(self.png).decode()

    def write(self, out: Path) -> list[Path]:
        """Write both into a folder, each whole or not at all."""
        paths = [out / f"{self.name}.png", out / f"{self.name}.pdf"]
        for path, content in zip(paths, (self.png, self.pdf()), strict=True):
            atomic_write(path, content)
        return paths

    def _saved(self, form: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(buffer, format=form, **options)
        return buffer.getvalue()


@contextmanager
def new_figure(
    width: float, height: float, title: str, *, pyplot: bool = False
) -> Iterator[Figure]:
    """A figure in our style, its size in inches, with a title over the whole of it."""
    with matplotlib.rc_context(STYLE):
        if pyplot:
            from matplotlib import pyplot as plt

            figure = plt.figure(figsize=(width, height), layout="constrained")
        else:
            figure = Figure(figsize=(width, height), layout="constrained")
            FigureCanvasAgg(figure)
        yield figure
        lines = textwrap.fill(title, int(12.5 * width))
        figure.suptitle(lines, fontsize=8, fontweight="bold", x=0.01, ha="left")


def file_name(kind: str, key: Sequence[str]) -> str:
    """A name that every file system accepts."""
    return re.sub(r"[^a-z0-9._=+-]+", "-", "_".join([kind, *key]).lower()).strip("-")


def footnote(figure: Figure, text: str, flags: Iterable[str]) -> None:
    """A line of small print below the axes, with the meaning of flags."""
    told = meaning(flags)
    text = " ".join(filter(None, [text, f"{MARK} {told}" if told else ""]))
    if text:
        figure.supxlabel(text, fontsize=6, color="#444444", x=0.01, ha="left", wrap=True)


# -- single runs ---------------------------------------------------------------------------------------------

CONTEXTS = {"paired": "right partner", "shuffled": "another's", "none": "no partner"}
NO_PARTS = ("epoch", "train_batch_count", "dur")
RIGHT = "#1a7f37"
R = TypeVar("R", bound=Run)


def key_of(run: Run) -> tuple[str, ...]:
    """Dataset, preset, protocol, evaluation, method (marked if flagged) and backbone of a run."""
    labels = labels_of(run.spec, run.summary)
    labels["method"] = marked(labels["method"], ";".join(run.summary.get("flags", ())))
    return tuple(labels[name] for name in ROW)


def title_of(key: tuple[str, ...]) -> str:
    """Dataset, protocol, method and backbone of such a key."""
    *data, _, method, backbone = key
    return f"{section_title(tuple(data))}: {method}, {backbone}"


def by_method(runs: Iterable[R]) -> dict[tuple[str, ...], list[R]]:
    """The runs that are not damaged, by :func:`key_of`."""
    groups: dict[tuple[str, ...], list[R]] = {}
    for run in runs:
        if not run.damage:
            groups.setdefault(key_of(run), []).append(run)
    return groups


# -- learning curves -----------------------------------------------------------------------------------------


def learning_curves(runs: Iterable[Run]) -> list[Picture]:
    """One figure for each method and backbone on a dataset; runs without epochs are left out."""
    pictures = []
    for key, whole in by_method(runs).items():
        own = [run.history for run in whole if "epoch" in run.history]
        if not own:
            continue
        figure = learning_curve(own, title_of(key))
        about = "Training, epoch by epoch: the loss and each of its parts"
        several = f", {len(own)} runs (thin) and their mean" if len(own) > 1 else ""
        name = file_name("training", (*key[:3], *key[4:]))
        pictures.append(Picture(name, f"{about}{several}. {title_of(key)}.", figure))
    return pictures


def learning_curve(
    histories: Sequence[pd.DataFrame], title: str, *, pyplot: bool = False
) -> Figure:
    """The loss of each epoch, its parts, and what else the ``history.csv`` of a method's runs records."""
    if not all("epoch" in history for history in histories):
        raise UsageError(
            "this run was fitted in closed form and has no epochs",
            "see run.history for the settings that were tried",
        )
    panels = panels_of(histories[0])
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    size = max(3.4, 2.4 * across), 0.4 + 2.2 * down
    with new_figure(*size, title, pyplot=pyplot) as figure:
        axes = figure.subplots(down, across, squeeze=False).ravel()
        for axis, (name, columns) in zip(axes, panels.items(), strict=False):
            for place, column in enumerate(columns):
                color, label = COLORS[place % len(COLORS)], label_of(name, column)
                curves = [history.set_index("epoch")[column] for history in histories]
                for curve in curves if len(curves) > 1 else ():
                    axis.plot(curve.index, curve, lw=0.5, alpha=0.4, color=color)
                mean = pd.concat(curves, axis=1).mean(axis=1)
                axis.plot(mean.index, mean, lw=1.4, color=color, label=label)
            axis.set_title(name, loc="left")
            axis.set_xlabel("epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
            below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.28), "ncols": 2}
            axis.legend(**below, handlelength=1.2, columnspacing=1.0)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
    return figure


def panels_of(history: pd.DataFrame) -> dict[str, list[str]]:
    """Title of each panel of a learning curve to the columns it shows; together all columns of numbers.

    A part of the loss that was also computed with the right partner, with another row's and with none has
    a panel of its own with these, whose distance is the context gain.
    """
    names = [name for name in history.select_dtypes("number") if name not in NO_PARTS]
    judged = [n for n in names if all(f"{n}_{context}" in names for context in CONTEXTS)]
    own = {name: [name, *(f"{name}_{context}" for context in CONTEXTS)] for name in judged}
    panels = {
        "loss": [name for name in names if name in ("train_loss", "valid_loss")],
        "parts of the loss": [],
        **{f"{name.replace('_', ' ')}, by context": columns for name, columns in own.items()},
        "validation concepts": [n for n in names if n.startswith("valid_") and n != "valid_loss"],
    }
    shown = {name for columns in panels.values() for name in columns}
    panels["parts of the loss"] = [name for name in names if name not in shown]
    return {title: columns for title, columns in panels.items() if columns}


def label_of(panel: str, column: str) -> str:
    if panel.endswith("by context"):
        ends = (label for context, label in CONTEXTS.items() if column.endswith(f"_{context}"))
        return next(ends, "training")
    return column.replace("train_", "").replace("valid_", "").replace("_", " ")


# -- seen and retrieved images -------------------------------------------------------------------------------


def check_saved(queries: pd.DataFrame) -> None:
    if "top_1" not in queries or not len(queries):
        raise UsageError(
            "the nearest images of these queries are not saved", "use the run's own evaluation"
        )


def chosen_queries(queries: pd.DataFrame, each: int = 2) -> pd.DataFrame:
    """The best, middle and worst queries by rank, then score; which is the column ``kind``."""
    check_saved(queries)
    ordered = queries.sort_values(["rank", "score"], ascending=[True, False], kind="stable")
    n = len(ordered)
    first = max(0, n // 2 - each // 2)
    places = {
        **dict.fromkeys(range(first, min(n, first + each)), "middle"),
        **dict.fromkeys(range(max(0, n - each), n), "worst"),
        **dict.fromkeys(range(min(n, each)), "best"),
    }
    return ordered.iloc[sorted(places)].assign(kind=[places[place] for place in sorted(places)])


def images_of(run: Run, data_dir: str | Path | None = None) -> ImageDataset:
    """The dataset of a run, if it is on this machine and unchanged since the run."""
    root = data_dir or (run.record.get("dataset") or {}).get("root")
    dataset = open_dataset(run.spec.data, root)
    if changed := data_difference(run, dataset, run.spec):
        raise DataError(
            f"the data are not those of {run.path.name}: {changed}", "give their folder"
        )
    return dataset


def retrieval_grids(
    runs: Iterable[Run], folder: Path | None, embed: bool = False, say: Say = silent
) -> tuple[Grid, ...]:
    """For a page in a folder, best, middle and worst queries of each method, beside the nearest images."""
    grids = []
    for key, queries, images in _retrieved(runs, say):
        link = image_links(images, folder, embed=embed)
        rows: list[dict[str, Any]] = []
        for row in queries.to_dict("records"):
            seen, nearest = row["image_id"], shown(row, row["image_id"], link)
            about = (
                f"{row['kind']}: rank {row['rank']:g}, subject {row['subject']}, seed {row['seed']}"
            )
            rows.append({"name": seen, "source": link(seen), "note": about, "nearest": nearest})
        title = f"Best, middle and worst queries. {title_of(key)}"
        grids.append(Grid(title, rows, len(_tops(queries))))
    return tuple(grids)


def retrieval_pictures(
    runs: Iterable[Run], embed: bool = False, say: Say = silent
) -> tuple[Picture, ...]:
    """The same as figures, which show names only unless ``embed``."""
    pictures = []
    for key, queries, images in _retrieved(runs, say):
        find = images.image if embed and images else None
        figure = retrieved_images(queries, find, title_of(key))
        caption = f"Best, middle and worst queries. {title_of(key)}."
        pictures.append(Picture(file_name("queries", key), caption, figure))
    return tuple(pictures)


def _retrieved(
    runs: Iterable[Run], say: Say
) -> Iterable[tuple[tuple[str, ...], pd.DataFrame, ImageDataset | None]]:
    for key, own in by_method(runs).items():
        tables = [run.queries.assign(seed=run.spec.train.seed) for run in own]
        images: ImageDataset | None = None
        try:
            images = images_of(own[0])
        except SSRError as error:
            say(f"images are not shown: {error}")
        queries = pd.concat(tables, ignore_index=True)
        if "top_1" in queries and "rank" in queries:
            yield key, chosen_queries(queries), images


def _tops(queries: pd.DataFrame) -> list[str]:
    return [name for name in queries if name.startswith("top_")]


def retrieved_images(
    queries: pd.DataFrame,
    find: Callable[[str], Image] | None,
    title: str,
    *,
    pyplot: bool = False,
) -> Figure:
    """A row for each of :func:`chosen_queries`: the image seen, then the nearest, the right one framed."""
    top, rows = _tops(queries), queries.to_dict("records")
    height = 1.25 if find else 0.5
    size = 1.15 * (1 + len(top)), 0.5 + height * len(rows)
    with new_figure(*size, title, pyplot=pyplot) as figure:
        axes = figure.subplots(len(rows), 1 + len(top), squeeze=False)
        for line, row in zip(axes, rows, strict=True):
            for axis, column in zip(line, ("image_id", *top), strict=True):
                name, seen = row[column], column == "image_id"
                right = not seen and name == row["image_id"]
                axis.set_xticks([])
                axis.set_yticks([])
                axis.spines[:].set(visible=right, color=RIGHT, linewidth=3)
                short = name.rpartition("/")[2]
                if find:
                    axis.imshow(find(name))
                    axis.set_xlabel(short, fontsize=6)
                else:
                    axis.text(0.5, 0.5, short, ha="center", va="center", fontsize=6)
            line[0].set_ylabel(f"{row['kind']}\nrank {row['rank']:g}", fontsize=7)
        for axis, text in zip(axes[0], ("seen", *range(1, len(top) + 1)), strict=True):
            axis.set_title(text)
    return figure


LEGIBLE = 300  # names that can be read along a large figure


def draw_matrix(
    axis: Axes, matrix: np.ndarray, rows: list[str], columns: list[str], side: float, **look: Any
) -> AxesImage:
    """A matrix with its names, on an axis that is about ``side`` inches wide."""
    image = axis.imshow(matrix, interpolation="nearest", **look)
    axis.spines[:].set_visible(True)
    size = min(6.0, 60 * side / len(columns))
    for ticks, labels in ((axis.set_xticks, columns), (axis.set_yticks, rows)):
        shown = labels if len(labels) <= LEGIBLE else []
        ticks(range(len(shown)), shown, fontsize=size)
    axis.tick_params("x", rotation=90)
    axis.tick_params(length=0)
    return image


# -- confused concepts ---------------------------------------------------------------------------------------

COLUMNS = "Columns: concepts of candidates. Only the five nearest candidates are saved."
ACROSS = 3


def confused_concepts(
    panels: Mapping[str, pd.DataFrame],
    title: str,
    flags: Iterable[str] = (),
    *,
    pyplot: bool = False,
) -> Figure:
    """How often each concept is among the five nearest of each that was seen; ``panels``: title, queries."""
    queries = pd.concat(panels.values(), ignore_index=True)
    check_saved(queries)
    concepts = sorted(queries["concept"].unique())
    concepts = by_cluster(confusion_matrix(queries, concepts), concepts)
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    side = 2.3 if len(panels) > 1 else min(11.0, max(3.0, 0.055 * len(concepts)))
    with new_figure(1.2 + side * across, 0.8 + side * down, title, pyplot=pyplot) as figure:
        axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for axis, (name, own) in zip(axes.flat, panels.items(), strict=False):
            matrix = 100 * confusion_matrix(own, concepts)
            look: dict[str, Any] = {"cmap": "magma_r", "vmin": 0, "vmax": 100}
            image = draw_matrix(axis, matrix, concepts, concepts, side, **look)
            axis.set_title(name, loc="left")
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=40)
        bar.set_label("among the five nearest (% of queries)")
        figure.supylabel("concept seen", fontsize=8)
        footnote(figure, COLUMNS, flags)
    return figure


def by_cluster(matrix: np.ndarray, concepts: list[str]) -> list[str]:
    """The concepts in an order that puts those beside each other which are taken for each other."""
    if len(concepts) < 3:
        return concepts
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distance = 1 - np.minimum(1, (matrix + matrix.T) / 2)
    np.fill_diagonal(distance, 0)
    order = leaves_list(linkage(squareform(distance), "average", optimal_ordering=True))
    return [concepts[place] for place in order]


def confusion_matrix(queries: pd.DataFrame, concepts: list[str]) -> np.ndarray:
    """How often each concept is among the five nearest of queries of each, (seen, candidate).

    Candidates that are not the image of any query, such as images without trials, are left out.
    """
    place = {concept: at for at, concept in enumerate(concepts)}
    of_image = dict(zip(queries["image_id"], queries["concept"], strict=True))
    seen = queries["concept"].map(place).to_numpy()
    matrix = np.zeros((len(concepts), len(concepts)))
    for name in _tops(queries):
        candidates = queries[name].map(of_image).map(place)
        there = candidates.notna().to_numpy()
        np.add.at(matrix, (seen[there], candidates[there].astype(int).to_numpy()), 1)
    counts = np.bincount(seen, minlength=len(concepts))
    return matrix / np.maximum(counts, 1)[:, None]

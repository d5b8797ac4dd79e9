"""The figures of what models decode from, each over one run or over several runs of the same method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import DataError, Say, SSRError, silent
from ..reporting.run_figures import (
    COLORS,
    Picture,
    by_cluster,
    by_method,
    draw_matrix,
    file_name,
    footnote,
    new_figure,
)
from ..retrieval.ranks import embed_images, ensemble
from ..retrieval.statistics import noise_floor
from .interpretation import Interpretation, head_of, sensor_places

if TYPE_CHECKING:
    import mne

    from .trained import TrainedRun

FILLED = {"mean": "the mean training trial", "zero": "zero"}
NOTE = (
    "The trained model as it is: nothing is trained again. Other {what} of the test trials are replaced by "
    "{fill}."
)
TIME_LABELS = {
    "only": "only a window of {ms:.0f} ms",
    "until": "all samples up to this time",
    "without": "all but a window of {ms:.0f} ms",
}
PART = 0.1  # seconds of a map of attributions
MAPS = 8  # at most, side by side
CROWD = 100  # sensors whose dots can be told apart


def mean_of(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The mean of the numbers of tables whose rows are about the same."""
    mean = tables[0].copy()
    for name in mean.select_dtypes("number"):
        mean[name] = np.mean([table[name] for table in tables], axis=0)
    return mean


def check_alike(runs: Sequence[Interpretation]) -> None:
    for run in runs[1:]:
        if run.ch_names != runs[0].ch_names or list(run.times) != list(runs[0].times):
            raise DataError(
                f"runs of {runs[0].title} have different channels or times",
                "draw each of them separately",
            )


def draw_similarity(runs: Sequence[Interpretation], *, pyplot: bool = False) -> Figure:
    """The whole matrix (q, g) of similarities, standardized by query, in the order of clusters of images.

    Clusters are of the image embeddings of the candidates alone, so that an order in blocks is not one that
    was looked for in the brain responses.
    """
    tables = [run.similarity() for run in runs]
    names, seen = list(tables[0].columns), tables[0].index
    near = ensemble([t.reindex(seen, columns=names).to_numpy() for t in tables], [1.0] * len(runs))
    images = embed_images(runs[0].model, runs[0].test.gallery)
    unit = images / np.maximum(np.linalg.norm(images, axis=1, keepdims=True), 1e-12)
    order = by_cluster(unit @ unit.T, names)
    rows = [name for name in order for _ in range(int((seen == name).sum()))]
    shown = pd.DataFrame(near, seen, names).loc[list(dict.fromkeys(rows)), order].to_numpy()
    side = min(11.0, max(3.4, 0.045 * len(order)))
    size = side + 1.2, 0.6 + side * max(0.5, len(rows) / len(order))
    with new_figure(*size, runs[0].title, pyplot=pyplot) as figure:
        axis = figure.subplots()
        below, across = ([n.rpartition("/")[2] for n in part] for part in (rows, order))
        image = draw_matrix(axis, shown, below, across, side, cmap="RdBu_r", vmin=-4, vmax=4)
        axis.set_xlabel("candidate")
        axis.set_ylabel("image seen")
        bar = figure.colorbar(image, ax=axis, shrink=0.6, aspect=40)
        bar.set_label("similarity (standard deviations of the query)")
        about = "The right image is on the diagonal. Order: clusters of image embeddings."
        footnote(figure, about, runs[0].flags)
    return figure


def draw_time_windows(
    runs: Sequence[Interpretation],
    window: float = 0.1,
    step: float = 0.02,
    fill: str = "mean",
    *,
    pyplot: bool = False,
) -> Figure:
    """Top-1 accuracy over windows of time: thin lines of several runs, and their mean."""
    check_alike(runs)
    tables = [run.time_windows(window, step, fill=fill) for run in runs]
    mean = mean_of(tables)
    whole = mean[mean["kind"] == "all"].iloc[0]
    with new_figure(6.4, 3.0, runs[0].title, pyplot=pyplot) as figure:
        axis = figure.subplots()
        kinds = [kind for kind in dict.fromkeys(mean["kind"]) if kind != "all"]
        for color, kind in zip(COLORS, kinds, strict=False):
            rows = mean["kind"] == kind
            own = mean[rows]
            x = own["stop"] if kind == "until" else (own["start"] + own["stop"]) / 2
            for table in tables if len(tables) > 1 else ():
                axis.plot(x, 100 * table["top1"][rows], lw=0.5, alpha=0.4, color=color)
            label = TIME_LABELS[kind].format(ms=1000 * (own["stop"] - own["start"]).iloc[0])
            axis.plot(x, 100 * own["top1"], lw=1.6, color=color, label=label)
            if len(tables) == 1:
                error = [noise_floor(p, int(n)) for p, n in own[["top1", "n_queries"]].to_numpy()]
                ends = (100 * (own["top1"] - error), 100 * (own["top1"] + error))
                axis.fill_between(x, *ends, color=color, alpha=0.15, lw=0)
        axis.axhline(100 * whole["top1"], color="#333333", lw=0.9, ls=":", label="complete trials")
        axis.axhline(100 * whole["chance_top1"], color="#777777", lw=0.9, ls="--", label="chance")
        axis.set_xlim(whole["start"], whole["stop"])
        axis.set_ylim(bottom=0)
        axis.set_xlabel("time after image onset (s); a window is drawn at its center")
        axis.set_ylabel("top-1 accuracy (%)")
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        band = " Bands: one standard error of counting hits." if len(tables) == 1 else ""
        footnote(figure, NOTE.format(what="samples", fill=FILLED[fill]) + band, runs[0].flags)
    return figure


def draw_regions(
    runs: Sequence[Interpretation], neighbors: int = 4, fill: str = "mean", *, pyplot: bool = False
) -> Figure:
    """Maps of accuracy on the head, with only some sensors or without them, and bars of regions, if any."""
    check_alike(runs)
    head = head_of(runs[0].test.signals.chs_info)
    neighbors = min(neighbors, len(head.ch_names) - 1)
    mean = mean_of([run.sensors(neighbors, fill=fill) for run in runs])
    regions: list[pd.DataFrame] = []
    with suppress(DataError):  # names without a region: the maps of the head have to do
        regions = [run.regions(fill=fill) for run in runs]
    whole = 100 * mean.loc[mean["kind"] == "all", "top1"].iloc[0]
    chance = 100 * mean["chance_top1"].iloc[0]
    only, without = (
        100 * mean.loc[mean["kind"] == kind, "top1"].to_numpy() for kind in ("only", "without")
    )
    n = int(mean["n_channels"].iloc[0])
    with new_figure(8.4 if regions else 5.6, 3.0, runs[0].title, pyplot=pyplot) as figure:
        axes = figure.subplots(1, 3 if regions else 2)
        for axis, values, name, label in (
            (axes[0], only, f"only a sensor\nand its {n - 1} nearest", "top-1 accuracy (%)"),
            (axes[1], whole - without, "without them", "top-1 lost (points)"),
        ):
            image = head_map(axis, values, head, (0, max(values.max(), 1)))
            axis.set_title(name, loc="center")
            bar = figure.colorbar(image, ax=axis, orientation="horizontal", shrink=0.8, aspect=25)
            bar.set_label(label)
        if regions:
            _region_bars(axes[2], mean_of(regions), whole, chance)
        footnote(figure, NOTE.format(what="channels", fill=FILLED[fill]), runs[0].flags)
    return figure


def _region_bars(axis: Axes, mean: pd.DataFrame, whole: float, chance: float) -> None:
    only = mean[mean["kind"] == "only"]
    y = np.arange(len(only))[::-1]
    for color, kind, shift in zip(COLORS[:2], ("only", "without"), (0.2, -0.2), strict=True):
        heights = 100 * mean.loc[mean["kind"] == kind, "top1"]
        axis.barh(y + shift, heights, 0.38, color=color, label=f"{kind} this region")
    axis.axvline(whole, color="#333333", lw=0.9, ls=":", label="all channels")
    axis.axvline(chance, color="#777777", lw=0.9, ls="--", label="chance")
    axis.set_yticks(y, [f"{r} ({n:.0f})" for r, n in only[["region", "n_channels"]].to_numpy()])
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("top-1 accuracy (%)")
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def draw_attribution(
    runs: Sequence[Interpretation], method: str = "integrated_gradients", *, pyplot: bool = False
) -> Figure:
    """Maps of attributions (sensors, t) in parts of the trial, above their sum over sensors at each time."""
    check_alike(runs)
    chs_info = runs[0].test.signals.chs_info
    head, place = head_of(chs_info), sensor_places(chs_info)[1]
    tables = [run.attribution(method).groupby(place).sum() for run in runs]
    mean = sum(tables[1:], tables[0]) / len(tables)
    times = mean.columns.to_numpy(float)
    length = max(PART, (times[-1] - times[0]) / MAPS)
    part = ((times - times[0] + 1e-9) / length).astype(int)
    parts = [part == number for number in range(part.max() + 1) if (part == number).sum() > 1]
    values = [mean.loc[:, inside].sum(axis=1).to_numpy() for inside in parts]
    most = max(abs(np.concatenate(values)).max(), 1e-12)
    with new_figure(max(6.0, 1.1 * len(parts) + 0.8), 3.4, runs[0].title, pyplot=pyplot) as figure:
        grid = figure.add_gridspec(2, len(parts), height_ratios=(1.2, 1))
        maps = [figure.add_subplot(grid[0, place]) for place in range(len(parts))]
        limits, colors, what = (-most, most), "RdBu_r", "similarity"
        if method == "saliency":
            limits, colors, what = (0.0, most), "Reds", "gradient"
        for axis, inside, one in zip(maps, parts, values, strict=True):
            image = head_map(axis, one, head, limits, colors)
            ends = 1000 * times[inside][[0, -1]]
            axis.set_title(f"{ends[0]:.0f}–{ends[1]:.0f} ms", loc="center", fontweight="normal")
        figure.colorbar(image, ax=maps, shrink=0.8, aspect=15, label=what)
        axis = figure.add_subplot(grid[1, :])
        for table in tables if len(tables) > 1 else ():
            axis.plot(times, table.sum(), lw=0.5, alpha=0.4, color=COLORS[0])
        axis.plot(times, mean.sum(), lw=1.4, color=COLORS[0])
        axis.axhline(0, color="#777777", lw=0.6)
        axis.set_xlim(times[0], times[-1])
        axis.set_xlabel("time after image onset (s)")
        axis.set_ylabel("sum over channels")
        adds = "adds to" if method != "saliency" else "changes, up or down,"
        about = (
            f"Attribution ({method.replace('_', ' ')}): how much each sample {adds} the similarity with the "
            "right image, beyond the mean candidate. Mean over test trials."
        )
        footnote(figure, about, runs[0].flags)
    return figure


def head_map(
    axis: Axes,
    values: np.ndarray,
    head: mne.Info,
    limits: tuple[float, float],
    colors: str = "viridis",
) -> Any:
    import mne

    look: dict[str, Any] = {"cmap": colors, "contours": 0, "extrapolate": "local"}
    look["sensors"] = len(values) <= CROWD
    image, _ = mne.viz.plot_topomap(values, head, axes=axis, show=False, vlim=limits, **look)
    return image


FIGURES: dict[str, tuple[Callable[..., Figure], str]] = {
    "similarity": (draw_similarity, "How near each query is to each candidate"),
    "time": (draw_time_windows, "Accuracy with parts of the time"),
    "regions": (draw_regions, "Accuracy with parts of the sensors"),
    "attribution": (
        draw_attribution,
        "What each sample adds to the similarity with the right image",
    ),
}


def interpretation_pictures(runs: Iterable[TrainedRun], say: Say = silent) -> list[Picture]:
    """The figures of each method and backbone on a dataset, over all its runs whose data are here."""
    pictures = []
    for key, own in by_method(runs).items():
        interpreted = []
        for run in own:
            say(f"test trials of {run.path.name}")
            try:
                interpreted.append(run.interpret())
            except SSRError as error:
                say(f"left out: {error}")
        for name, (draw, about) in FIGURES.items() if interpreted else ():
            try:
                figure = draw(interpreted)
            except SSRError as error:
                say(f"no figure of {name}: {error}")
                continue
            several = f", {len(interpreted)} runs" if len(interpreted) > 1 else ""
            caption = f"{about}. {interpreted[0].title}{several}."
            pictures.append(Picture(file_name(name, key), caption, figure))
    return pictures

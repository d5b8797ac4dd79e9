"""The figures of single runs: learning curves, retrieved images, confused concepts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from ..errors import UsageError
from ..retrieval.evaluations import evaluation_name
from ..runs import Run, preset_of
from . import section_title
from .pictures import COLORS, STYLE, Picture, file_name, headline, new_figure

CONTEXTS = ("paired", "shuffled", "none")
NO_PARTS = ("epoch", "train_batch_count", "dur")


def key_of(run: Run) -> tuple[str, ...]:
    """Dataset, preset, protocol, evaluation, method and backbone of a run, as in tables."""
    spec = run.spec
    named = evaluation_name(spec.evaluation, spec.train.selection)
    evaluation = run.summary.get("evaluation") or named
    data = (spec.data.dataset, preset_of(spec), spec.data.protocol, evaluation)
    return *data, spec.method, spec.model.backbone


# -- learning curves -----------------------------------------------------------------------------------------


def learning_curves(runs: Iterable[Run]) -> list[Picture]:
    """One figure for each method and backbone on a dataset; runs without epochs are left out."""
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        if not run.damage and "epoch" in run.history:
            groups.setdefault(key_of(run), []).append(run)
    pictures = []
    for (*data, _, method, backbone), own in groups.items():
        title = f"{section_title(tuple(data))}: {method}, {backbone}"
        figure = learning_curve([run.history for run in own], title)
        about = "Training, epoch by epoch: the loss and each of its parts"
        several = f", {len(own)} runs (thin) and their mean" if len(own) > 1 else ""
        name = file_name("training", (*data, method, backbone))
        pictures.append(Picture(name, f"{about}{several}. {title}.", figure))
    return pictures


def learning_curve(
    histories: Sequence[pd.DataFrame], title: str, *, pyplot: bool = False
) -> Figure:
    """The loss of each epoch, each of its parts, and what else was recorded.

    Parameters
    ----------
    histories : sequence of DataFrame
        ``history.csv`` of runs of the same method.
    title : str
    pyplot : bool
        Make a figure that ``matplotlib.pyplot.show`` shows.

    Raises
    ------
    UsageError
        If a run was fitted in closed form, without epochs.
    """
    if not all("epoch" in history for history in histories):
        raise UsageError(
            "this run was fitted in closed form and has no epochs",
            "see run.history for the settings that were tried",
        )
    panels = panels_of(histories[0])
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(max(3.4, 2.4 * across), 0.4 + 1.8 * down, pyplot=pyplot)
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
            axis.legend()
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        headline(figure, title)
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
    """What the legend of a panel calls a column of the history."""
    context = next((one for one in CONTEXTS if column.endswith(f"_{one}")), None)
    if panel.endswith("by context"):
        return {"paired": "right partner", "shuffled": "another's", "none": "no partner"}.get(
            context or "", "training"
        )
    return column.replace("train_", "").replace("valid_", "").replace("_", " ")

"""Accuracy over the number of test trials averaged."""

from __future__ import annotations

import re

import matplotlib
import pandas as pd

from ...retrieval.column import labels_of_methods
from ..content import MARK
from ..published import meaning
from .picture import COLOURS, LOOK, Picture, file_name, new_figure

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

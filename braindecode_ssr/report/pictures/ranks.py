"""How far down the own image is: a histogram of ranks."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd

from ...retrieval.column import labels_of_methods
from ..build import section_title
from ..content import MARK
from ..published import meaning
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

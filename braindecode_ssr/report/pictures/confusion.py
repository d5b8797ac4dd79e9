"""Who is taken for whom: how often each concept is among the five nearest of each query.

Similarities of all pairs are not saved with a run, the five nearest candidates of each query are: so this is
the part of the similarity matrix that decides about top-5, averaged over subjects and seeds.
"""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd

from ...retrieval.column import labels_of_methods
from ..build import section_title
from ..content import MARK
from ..published import meaning
from .picture import LOOK, Picture, file_name, flags_of, footnote, named, new_figure

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

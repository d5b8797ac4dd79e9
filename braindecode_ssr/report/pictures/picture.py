"""A drawn figure with its name and caption, and the look that all of them share."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ...files import atomic_write
from ..content import MARK

if TYPE_CHECKING:
    import pandas as pd

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
    from ...retrieval.column import labels_of_methods

    return dict(zip(labels_of_methods(rows), rows["flags"], strict=True))


def named(method: str, flags: str) -> str:
    """A method with the mark, if its number is no peer of others."""
    return f"{method} {MARK}" if flags else method


def footnote(figure: Figure, text: str) -> None:
    """A line of small print below the axes."""
    if text:
        figure.supxlabel(text, fontsize=6, color="#444444", x=0.01, ha="left", wrap=True)

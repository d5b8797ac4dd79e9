"""What the figures of a report share: colors, sizes, titles, files."""

from __future__ import annotations

import io
import re
import textwrap
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..files import atomic_write
from .render import MARK
from .tables import meaning

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
"""Of Okabe and Ito: also told apart by color-blind readers."""

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
}


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure with its caption and the name of its files, without ending."""

    name: str
    caption: str
    figure: Figure

    def png(self) -> bytes:
        """The figure as PNG, 200 dots per inch; the same bytes each time."""
        return self._saved("png", dpi=200, metadata={"Software": None})

    def pdf(self) -> bytes:
        return self._saved("pdf", metadata={"CreationDate": None})

    def base64(self) -> str:
        return b64encode(self.png()).decode()

    def write(self, out: Path) -> list[Path]:
        """Write both into a folder, each whole or not at all."""
        paths = [out / f"{self.name}.png", out / f"{self.name}.pdf"]
        for path, content in zip(paths, (self.png(), self.pdf()), strict=True):
            atomic_write(path, content)
        return paths

    def _saved(self, form: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(buffer, format=form, **options)
        return buffer.getvalue()


def new_figure(width: float, height: float, *, pyplot: bool = False) -> Figure:
    """An empty figure, size in inches; call within ``matplotlib.rc_context(STYLE)``."""
    if pyplot:
        from matplotlib import pyplot as plt

        return plt.figure(figsize=(width, height), layout="constrained")
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def headline(figure: Figure, text: str) -> None:
    """A title over the whole figure, in as many lines as its width needs."""
    lines = textwrap.fill(text, int(12.5 * figure.get_figwidth()))
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

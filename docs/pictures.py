"""Draw the pictures of README and of the first page: ``python docs/pictures.py [RUN]``.

``results.png`` is drawn from ``docs/evidence.jsonl``, ``retrieval.png`` from the run of
``ssr-bd train --dataset things-sim --subject 5``. All images are simulated.
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from braindecode_ssr import load_run
from braindecode_ssr.reporting.run_figures import (
    COLORS,
    STYLE,
    chosen_queries,
    images_of,
    retrieved_images,
)

DOCS = Path(__file__).parent
ROWS = {
    "ridge-decoding": "ridge-decoding:\na linear map to image features",
    "contrast on originals": "contrast:\na net trained as CLIP is",
    "ssr": "SSR:\nthe same net with SSR's loss",
    "encoding": "encoding:\na whitened linear encoding model",
}
PRESETS = {"small-v1": "seen only", "small": "seen and meant"}


def draw_results() -> Figure:
    """Top-1 of each subject (dots, mean over seeds) and their mean (bars) on both versions of things-sim."""
    runs = pd.read_json(DOCS / "evidence.jsonl", lines=True)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 2.6), layout="constrained")
        for axis, (preset, title) in zip(
            figure.subplots(1, 2, sharey=True), PRESETS.items(), strict=True
        ):
            own = runs[runs["preset"] == preset]
            means = pd.read_csv(DOCS / f"evidence-{preset}.csv", index_col="row")["top-1"]
            for y, (row, color) in enumerate(zip(ROWS, COLORS, strict=False)):
                values = 100 * own[own["row"] == row].groupby("subject")["top1"].mean()
                axis.barh(-y, means[row], 0.65, color=color, alpha=0.55)
                axis.plot(values, [-y] * len(values), "o", ms=3, color=color, mec="white", mew=0.4)
                axis.text(102, -y, f"{means[row]:.1f} %", va="center")
            axis.axvline(0.5, color="#333333", lw=0.9, ls="--")
            axis.set_yticks([-y for y in range(len(ROWS))], list(ROWS.values()))
            axis.tick_params(axis="y", length=0)
            axis.set_xlim(0, 100)
            axis.set_xlabel("top-1 (%) among 200; dashed: chance")
            axis.set_title(f"{preset}: {title}", loc="left")
    return figure


def draw_retrieval(folder: str) -> Figure:
    """Queries of a run: the image that was seen, and the five nearest."""
    run = load_run(folder, device="cpu")
    title = f"things-sim, subject {run.spec.data.subject}, {run.spec.label}"
    shown = chosen_queries(run.queries, 2)
    return retrieved_images(shown, images_of(run).image, f"{title}: seen, and the nearest of 200")


def save(figure: Figure, name: str, dpi: int) -> None:
    """Write a small PNG."""
    content = BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(content, format="png", dpi=dpi)
    picture = Image.open(content).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(DOCS / name, optimize=True)


if __name__ == "__main__":
    save(draw_results(), "results.png", 130)
    if len(sys.argv) > 1:
        save(draw_retrieval(sys.argv[1]), "retrieval.png", 80)

"""Which part of SSR earns what, on simulated recordings: one row per variant, all else equal.

    python benchmarks/evidence.py --preset small               # resumes where it was interrupted
    python benchmarks/evidence.py --inter --subjects 1 2 3     # trained on nine others
    python benchmarks/evidence.py --table                      # only the tables of docs/evidence.rst

Every net gets the same inputs, the supervised components of ``ssr-tuned``, and trains with the settings of
``ssr-tuned``, at unit length; rows differ in the loss alone. The last epoch is tested. Nothing is chosen by
these numbers. A finished run is one line of the file ``--out`` and is not run again. Differences to plain
contrast are taken subject by subject, over the means of the seeds: their interval is Student's over
subjects, and p is that of Wilcoxon's signed-rank test, adjusted by Holm for the rows of the table.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

from braindecode_ssr.retrieval.statistics import holm, signed_rank

DOCS = Path(__file__).parents[1] / "docs"
PARTS = ("brain_view", "brain_original", "view_original", "reconstruct_view", "reconstruct_brain")
REFERENCE = "contrast on originals"
KEY = ("preset", "row", "subject", "seed")


def without(*parts: str) -> dict[str, float]:
    """Weights of SSR's loss that switch these parts off."""
    return dict.fromkeys(parts, 0.0)


ONE = dict.fromkeys(PARTS[3:], 1.0)
"""Weights of the reconstructions, those of ``ssr-tuned``; the default of the loss is 5."""

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    REFERENCE: ("contrast", {}),
    "contrast on pooled views": ("contrast", {"target": "view"}),
    "contrast on both": ("ssr", without(*PARTS[2:])),
    "triple: the three contrasts": ("ssr", without(*PARTS[3:])),
    "triple + view from brain": ("ssr", {PARTS[3]: 1.0, PARTS[4]: 0.0}),
    "triple + brain from view": ("ssr", {PARTS[3]: 0.0, PARTS[4]: 1.0}),
    "ssr": ("ssr", ONE),
    "ssr, shuffled partner": ("ssr", {**ONE, "context": "shuffled"}),
    "ssr, no partner": ("ssr", {**ONE, "context": "none"}),
    "ssr, reconstruction x 5": ("ssr", dict.fromkeys(PARTS[3:], 5.0)),
    "ssr, pull on one end": ("ssr", {**ONE, "pull_target": "detached"}),
    "ssr, reconstructors of 0.1": (
        "ssr",
        {**ONE, "reconstructor": "whole", "pull_target": "detached"},
    ),
    "ssr, two image projectors": ("ssr", {**ONE, "view_projector": "own"}),
    "ridge-decoding": ("ridge-decoding", {}),
    "encoding": ("encoding", {}),
}
"""Name of a loss, or of a closed form, and its parameters."""

PAIRS = [
    ("ssr", "triple: the three contrasts"),
    ("ssr", "ssr, no partner"),
    ("ssr", "ssr, shuffled partner"),
    ("triple + view from brain", "triple: the three contrasts"),
    ("triple + brain from view", "triple: the three contrasts"),
]
"""What reconstruction earns, and what the partner in it."""


class Subject:
    """The data of one subject, which all rows share: of the others to train on, if inter."""

    def __init__(self, preset: str, subject: int, inter: bool) -> None:
        from braindecode_ssr.datasets import open_dataset
        from braindecode_ssr.images.features import features_of
        from braindecode_ssr.inference.evaluation import load_test_set
        from braindecode_ssr.models.modules import Components
        from braindecode_ssr.resolve import resolve, run_spec
        from braindecode_ssr.training.data import TrainingSet, training_data
        from braindecode_ssr.training.encoding import fit_components

        protocol = "inter" if inter else "intra"
        data = {"preset": preset, "subject": subject, "protocol": protocol}
        data["channels"] = "occipital-17"  # of intra, for both
        asked = run_spec({"method": "ssr-tuned", "data": data})
        dataset = open_dataset(asked.data)
        self.spec, _ = resolve(asked, dataset)
        features = features_of(self.spec, dataset)
        features.complete(dataset, device="cpu", progress=False)
        self.data, self.signals = training_data(self.spec, dataset, features)
        self.test = load_test_set(self.spec, dataset, features, self.spec.evaluation)
        self.ceiling = dataset.ceiling(subject, None, self.spec.trials)
        inputs = Components(self.data.x[0].numel(), self.spec.model.components)
        fit_components(inputs, self.data, self.signals.sfreq, self.signals.tmin)
        whole = self.data
        self.components = TrainingSet(
            inputs(whole.x), whole.image, whole.original, whole.view, whole.table
        )
        self.queries = inputs(torch.as_tensor(np.asarray(self.test.x)))

    def run(self, loss: str, params: dict[str, Any], seed: int) -> dict[str, float]:
        """Train and test one row: its numbers."""
        began = time.perf_counter()
        model, x = (
            self._closed(loss)
            if "-" in loss or loss == "encoding"
            else self._net(loss, params, seed)
        )
        from braindecode_ssr.retrieval.ranks import (
            embed_images,
            embed_trials,
            query_table,
            space_of,
            summarize,
        )

        queries = embed_trials(model, x)
        gallery = embed_images(model, self.test.gallery)
        ids = list(self.test.gallery_ids)
        table = query_table(queries, gallery, self.test.table, ids, space=space_of(model))
        numbers = summarize(table["rank"].to_numpy())
        kept = {name: round(float(numbers[name]), 5) for name in ("top1", "top5", "mrr")}
        return {**kept, "seconds": round(time.perf_counter() - began, 1)}

    def _net(self, loss: str, params: dict[str, Any], seed: int) -> tuple[Any, Any]:
        from braindecode_ssr.config import build, merge
        from braindecode_ssr.models import SSR
        from braindecode_ssr.training.distributed import seed_everything
        from braindecode_ssr.training.retriever import build_loss, fit

        changes = {"train": {"seed": seed}, "loss": {"name": loss, "params": params}}
        spec = build(merge(self.spec.model_dump(exclude={"loss"}), changes))
        seed_everything(seed)
        model = SSR(
            n_outputs=spec.model.n_outputs,
            width=spec.model.width,
            n_chans=self.components.x.shape[1],
            n_times=1,
            sfreq=self.signals.sfreq,
            backbone=spec.model.backbone,
            backbone_params=dict(spec.model.backbone_params) or None,
            n_features=self.data.original.shape[1],
        )
        with tempfile.TemporaryDirectory() as folder:
            net = fit(self.components, model, build_loss(spec, model), spec.train, Path(folder))
        return net.module_, self.queries

    def _closed(self, name: str) -> tuple[Any, Any]:
        from braindecode_ssr.training.encoding import Encoding
        from braindecode_ssr.training.ridge import RIDGES, fit_ridge

        sizes = self.data.x[0].numel(), self.data.original.shape[1]
        if name == "encoding":
            model: Any = Encoding(*sizes, self.signals.sfreq, self.signals.tmin)
            model.fit(self.data)
        else:
            model = RIDGES[name](*sizes)
            fit_ridge(self.data, model, self.spec.train)
        return model, self.test.x


def main() -> None:
    """Run what is not there yet, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--subjects", type=int, nargs="+", default=list(range(1, 11)))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--inter", action="store_true", help="train on the other subjects")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS, metavar="ROW")
    parser.add_argument("--out", type=Path, default=DOCS / "evidence.jsonl")
    parser.add_argument("--csv", type=Path, default=DOCS, help="folder of the tables")
    parser.add_argument("--table", action="store_true", help="only make the tables")
    options = parser.parse_args()
    for subject in () if options.table else options.subjects:
        run_subject(options, subject)
    lines = read(options.out)
    for preset, some in lines.groupby("preset") if len(lines) else ():
        rows = table(some)
        top1 = some.groupby(["row", "subject"])["top1"].mean()
        there = [pair for pair in PAIRS if set(pair) <= set(some["row"])]
        pairs = compared(top1, there)
        rows.to_csv(options.csv / f"evidence-{preset}.csv", index=False)
        pairs.to_csv(options.csv / f"evidence-{preset}-pairs.csv", index=False)
        subjects, seeds = (some[name].nunique() for name in ("subject", "seed"))
        print(f"\n{preset}: {subjects} subjects, {seeds} seeds")
        print(rows.to_string(index=False), pairs.to_string(index=False), sep="\n\n")


def run_subject(options: argparse.Namespace, subject: int) -> None:
    """Append a line for each run of a subject that is not in the file yet."""
    done = set(map(tuple, read(options.out)[list(KEY)].to_numpy().tolist()))
    data = None
    for seed, row in product(options.seeds, options.rows):
        loss, params = ROWS[row]
        closed = "-" in loss or loss == "encoding"
        key = (options.preset + "-inter" * options.inter, row, subject, seed)
        if key in done or (closed and seed != options.seeds[0]):
            continue
        data = data or Subject(options.preset, subject, options.inter)
        line = {**dict(zip(KEY, key, strict=True)), **data.run(loss, params, seed), **data.ceiling}
        with options.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(*key, line["top1"], line["seconds"], flush=True)


def read(path: Path) -> pd.DataFrame:
    """The runs that are there."""
    lines = path.read_text().splitlines() if path.exists() else []
    return pd.DataFrame([json.loads(line) for line in lines], columns=None if lines else list(KEY))


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Means in percent, and differences to the reference, subject by subject."""
    means = runs.groupby(["row", "subject"])[["top1", "top5", "mrr"]].mean()
    rows = [name for name in ROWS if name in means.index.get_level_values("row")]
    made = []
    for name in rows:
        own = means.loc[name]
        made.append(
            {
                "row": name,
                "subjects": len(own),
                "top-1": f"{100 * own['top1'].mean():.1f}",
                "top-5": f"{100 * own['top5'].mean():.1f}",
                "MRR": f"{own['mrr'].mean():.3f}",
            }
        )
    pairs = [(name, REFERENCE) for name in rows if name != REFERENCE]
    differences = compared(means["top1"], pairs).drop(columns="against")
    return pd.DataFrame(made).merge(differences, how="left", on="row").fillna("")


def compared(top1: pd.Series, pairs: list[tuple[str, str]]) -> pd.DataFrame:
    """Differences of top-1 in points, with Student's interval over subjects and Holm's p of the family."""
    made, p = [], []
    for row, against in pairs:
        points = 100 * (top1[row] - top1[against]).dropna().to_numpy()
        low, high = stats.ttest_1samp(points, 0).confidence_interval(0.95)
        p.append(signed_rank(points)[1])
        cells = {"row": row, "against": against, "difference": f"{points.mean():+.1f}"}
        made.append({**cells, "95 % interval": f"{low:+.1f} to {high:+.1f}"})
    return pd.DataFrame(made).assign(
        **{"p (Holm)": [f"{value:.3f}" for value in holm(np.array(p))]}
    )


if __name__ == "__main__":
    main()

"""Whether things-sim has the spread of the real benchmark: methods, repetitions, subjects, hubness, ceilings.

    python benchmarks/simulation.py --out FOLDER

The constants were chosen on subjects 1 to 3 of the world of seed 101; seed 0, which everything else reports,
was not looked at, and SSR is no target. Runs are kept in FOLDER: the same command resumes. Each row has
top-1, the share of it that is left with an eighth of the repetitions, and the skewness of how often an image
is among the ten nearest (N10). What is asked is what the real benchmark has: it is met if the figure lies
inside, "met within the interval" if only a part of its interval does, and else not met. Intervals (95 %) are
of a bootstrap of subjects crossed with images; over three subjects they are narrower than they should be, so
that nothing is met because they are wide. NeuroBridge is ranked against its views, as published. NICE takes
most of the time: --epochs nice=40 trains it less, and the table says so. With --clip FILE.npy, of features of
real images, their geometry is printed beside the encoder's.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import skew

from braindecode_ssr.datasets import open_dataset
from braindecode_ssr.images.features import image_features
from braindecode_ssr.pipeline import evaluate_each, train
from braindecode_ssr.resolve import run_spec
from braindecode_ssr.retrieval.ranks import similarity

TOP1 = {"nice": (16.0, 21.5), "contrast": (40.0, 42.0), "neurobridge": (60.0, 66.0)}
"""NICE: 16.1 with class templates, 21.5 with exact images; three baselines of 40.3 to 42.1; 63.2."""
ORDER = ("ridge-decoding", "nice", "contrast", "neurobridge")  # encoding is not published
LEFT = (0.6, 0.8)  # of NICE's top-1 with an eighth of the repetitions: .72 with 10 of 80
SKEW = (1.0, 2.1)  # of plain contrast: single branches of real similarity matrices
ACROSS = (0.25, 0.5)  # of the intra-subject top-1: UBP .24, NeuroBridge .30, NICE .39
ENCODERS = {"ridge-decoding": "simnet:detail", "nice": "simnet:detail"}
"""NICE is published with ViT-L/14, which suits EEG less than the RN50 of contrast and NeuroBridge."""
TRAINED = {"contrast": {"lr": 1e-4, "epochs": 50}}
"""As NeuroBridge is trained, which the published baselines are, and not as by default on things-sim."""
FEW = {"tiny": 3, "small": 3, "full": 10}
VIEWS = ("blur", "noise", "low-resolution", "mosaic")
N_DRAWS = 1000  # of the bootstrap


@dataclass
class Row:
    """What a method did: first hits with all and few repetitions, and the ten nearest of each query."""

    all: np.ndarray  # (subjects, images)
    few: np.ndarray
    nearest: np.ndarray  # (subjects, images, 10)

    def top1(self, s: Any = slice(None), q: Any = slice(None)) -> float:
        return 100 * float(self.all[s][:, q].mean())

    def left(self, s: Any = slice(None), q: Any = slice(None)) -> float:
        return float(self.few[s][:, q].mean() / self.all[s][:, q].mean())

    def skew(self, s: Any = slice(None), q: Any = slice(None)) -> float:
        """Skewness over candidates of how many queries have one among their ten nearest."""
        n = self.all.shape[1]
        counts = [np.bincount(one.ravel(), minlength=n) for one in self.nearest[s][:, q]]
        return float(skew(counts, axis=1).mean())


def main() -> None:
    """Train and test each method on all subjects, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--subjects", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--methods", nargs="+", default=[*ORDER, "encoding"])
    parser.add_argument(
        "--inter", nargs="*", default=["ridge-decoding"], help="methods, also inter"
    )
    parser.add_argument("--epochs", nargs="*", default=[], help="fewer than its own: nice=40")
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    print(
        f"{'method':16}{'protocol':10}{'epochs':>7}  {'top-1 % (95 %)':22}{'few/all':>8}{'N10 skew':>10}"
    )
    intra = {method: row(options, method, "intra") for method in options.methods}
    inter = {method: row(options, method, "inter") for method in options.inter}
    asked(intra, inter)
    ceilings(options)
    if options.clip:
        geometry(np.load(options.clip).reshape(-1, np.load(options.clip).shape[-1]), "real CLIP")


def row(options: argparse.Namespace, method: str, protocol: str) -> Row:
    """Train and test a method on all subjects: one line of the table."""
    few = f"repetitions={FEW[options.preset.partition('-')[0]]}"
    evaluations = ["default", few]
    if method == "neurobridge":
        evaluations = ["gallery=views", f"gallery=views+{few}"]
    settings: dict[str, Any] = {"method": method, "train": TRAINED.get(method, {})}
    if method in ENCODERS:
        settings["images"] = {"encoder": ENCODERS[method]}
    for name, epochs in (one.split("=") for one in options.epochs):
        if name == method:
            settings["train"] = {**settings["train"], "epochs": int(epochs)}
    hits: list[list[pd.Series]] = [[], []]
    nearest: list[np.ndarray] = []
    for subject in options.subjects:
        data = {"preset": options.preset, "seed": options.seed, "subject": subject}
        spec = run_spec({**settings, "data": {**data, "protocol": protocol}})
        run = train(spec, out=options.out / "runs", data_dir=options.out / "data")
        keep = lambda found, summary: nearest.append(ten_nearest(found))  # noqa: E731
        results = evaluate_each(
            run.path, evaluations, data_dir=options.out / "data", embeddings=keep
        )
        for parts, (queries, _) in zip(hits, results, strict=True):
            parts.append(queries.set_index("image_id")["rank"] == 1)
    every, some = (pd.concat(parts, axis=1).to_numpy(float).T for parts in hits)
    found = Row(every, some, np.stack(nearest[::2]))
    top1 = f"{found.top1():.1f} ({shown(interval(found.top1, every.shape))})"
    epochs = f"{spec.train.epochs}" if spec.train.solver == "gradient" else ""
    print(
        f"{method:16}{protocol:10}{epochs:>7}  {top1:22}{found.left():8.2f}{found.skew():10.2f}",
        flush=True,
    )
    return found


def interval(statistic: Callable[[Any, Any], float], shape: tuple[int, ...]) -> tuple[float, float]:
    """The 95 % interval of a statistic by a bootstrap of subjects and, crossed with them, images."""
    rng = np.random.default_rng(0)
    draws = [statistic(*(rng.integers(n, size=n) for n in shape[:2])) for _ in range(N_DRAWS)]
    low, high = np.nanpercentile(draws, (2.5, 97.5))
    return float(low), float(high)


def shown(limits: tuple[float, float]) -> str:
    digits = 2 if limits[1] < 4 else 1
    return " to ".join(f"{limit:.{digits}f}" for limit in limits)


def verdict(value: float, found: tuple[float, float], limits: tuple[float, float]) -> str:
    """Whether a figure with its interval lies within limits."""
    if limits[0] <= value <= limits[1]:
        return "met"
    overlap = found[0] <= limits[1] and limits[0] <= found[1]
    return "met within the interval" if overlap else "not met"


def asked(intra: dict[str, Row], inter: dict[str, Row]) -> None:
    """Print each figure beside its interval, and whether it is met."""
    figures: list[tuple[str, Callable[..., float], tuple[float, float]]] = [
        (f"top-1 of {name}", intra[name].top1, limits)
        for name, limits in TOP1.items()
        if name in intra
    ]
    if "nice" in intra:
        figures.append(("share of top-1 with few repetitions, nice", intra["nice"].left, LEFT))
    if "contrast" in intra:
        figures.append(("N10 skew, contrast", intra["contrast"].skew, SKEW))
    for name in inter.keys() & intra.keys():
        first, second = inter[name], intra[name]
        figures.append(
            (
                f"inter / intra, {name}",
                lambda *at, a=first, b=second: a.top1(*at) / b.top1(*at),
                ACROSS,
            )
        )
    print()
    shape = next(iter(intra.values())).all.shape
    for what, statistic, limits in figures:
        value, found = statistic(), interval(statistic, shape)
        text = f"{value:.3g} ({shown(found)})"
        print(
            f"{what:48}{text:>24}   asked {limits[0]:g} to {limits[1]:g}: {verdict(value, found, limits)}"
        )
    there = [name for name in ORDER if name in intra]
    for less, more in itertools.pairwise(there):
        gain = lambda *at, a=intra[less], b=intra[more]: b.top1(*at) - a.top1(*at)  # noqa: E731
        value, found = gain(), interval(gain, shape)
        text = f"{value:+.1f} ({shown(found)})"
        print(f"{f'{more} minus {less}':48}{text:>24}   asked above 0: ", end="")
        print(verdict(value, found, (0.0, np.inf)))
    print()


def ten_nearest(found: Any) -> np.ndarray:
    """The ten nearest candidates of each query, (queries, 10)."""
    return np.argsort(-similarity(found.brain, found.gallery, found.space), axis=1)[:, :10]


def ceilings(options: argparse.Namespace) -> None:
    """Print what an ideal observer reaches, also one that sees images only through the encoder."""
    spec = run_spec({"data": {"preset": options.preset, "seed": options.seed}})
    dataset: Any = open_dataset(spec.data, options.out / "data")
    features = image_features(dataset, dataset.default_encoder, VIEWS)
    features.complete(dataset, device="cpu", progress=False)
    ids = [dataset.images["image_id"][dataset.images["split"] == s] for s in ("train", "test")]
    seen = {
        name: [read(one.tolist()) for one in ids]
        for name, read in (("originals", features.original), ("views", features.view))
    }
    for subject in options.subjects[:1]:
        few = FEW[options.preset.partition("-")[0]]
        for repetitions in (None, few, 1):
            ideal = dataset.ceiling(subject, repetitions, spec.trials)["ceiling_top1"]
            line = f"ceiling, subject {subject}, {repetitions or 'all'} trials: ideal {100 * ideal:.1f}"
            for name, (train_rows, test_rows) in seen.items():
                through = dataset.ceiling_through(
                    train_rows, test_rows, subject, repetitions, spec.trials
                )
                line += f", through {name} {100 * through['ceiling_top1']:.1f}"
            print(line, flush=True)
    geometry(seen["originals"][1], dataset.default_encoder)
    raw = cosines(*(rows[1] for rows in seen.values())).diagonal().mean()
    centered = cosines(*(rows[1] - rows[0].mean(0) for rows in seen.values())).diagonal().mean()
    print(f"an image and the mean of its views: cosine {raw:.2f}, centered {centered:.2f}")


def geometry(features: np.ndarray, name: str) -> None:
    """Print how features of different images lie to each other."""
    off = ~np.eye(len(features), dtype=bool)
    raw, centered = cosines(features, features), cosines(*[features - features.mean(0)] * 2)
    values = np.linalg.eigvalsh(np.cov(features.T))
    print(
        f"{name}: cosine of two images {raw[off].mean():.2f} ± {raw[off].std():.2f}, centered "
        f"± {centered[off].std():.2f}, nearest {np.where(off, centered, -1).max(1).mean():.2f}, "
        f"effective dimensions {values.sum() ** 2 / (values**2).sum():.0f}"
    )


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return a @ b.T


if __name__ == "__main__":
    main()

"""SSR beside the losses it grew from and the field's linear baseline, on one simulated dataset.

Every row of the printed table is one method: SSR, NeuroBridge's loss on pooled views, a plain contrast on
original images, ridge regression from brain to image features, the ideal observer, and chance. The three
nets differ in the loss alone; each is one ``ssr-bd train`` in a process of its own, so that peak memory is
that of the run. The penalty of the ridge is chosen on held-out training concepts.

    python benchmarks/methods.py --preset small --seeds 0 1 2
    python benchmarks/methods.py --preset full --seeds 0
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

METHODS = ("ssr", "neurobridge", "contrast")
ALPHAS = tuple(10.0**power for power in range(1, 8))
HELD_OUT = 0.1  # of the training concepts, to choose the penalty of the ridge


def settings(options: argparse.Namespace, seed: int) -> dict:
    """The nested settings that all rows share."""
    data = {"dataset": "things-sim", "subject": options.subject, "preset": options.preset}
    train = {"seed": seed} | ({"epochs": options.epochs} if options.epochs else {})
    return {"data": {**data, "protocol": options.protocol}, "train": train}


def run_net(method: str, seed: int, options: argparse.Namespace) -> dict:
    """One ``ssr-bd train``: its summary, its peak memory and its wall time."""
    data = settings(options, seed)["data"]
    flags = [part for name, value in data.items() for part in (f"--{name}", str(value))]
    flags += ["--method", method, "--seed", str(seed), "--out", str(options.out), "--json"]
    flags += ["--epochs", str(options.epochs)] if options.epochs else []
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        call = [sys.executable, "-m", "braindecode_ssr_cli", "train", *flags]
        process = subprocess.Popen(call, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(call)} ended with status {status}")
        out.seek(0)
        summary = json.load(out)
    peak = usage.ru_maxrss / 2**20
    return {**summary, "peak_gib": peak, "wall_seconds": time.perf_counter() - start}


def run_ridge(seed: int, options: argparse.Namespace) -> dict:
    """Ridge regression from averaged trials to features of originals, scored like a net."""
    from braindecode_ssr.datasets import open_dataset
    from braindecode_ssr.images.features import image_features
    from braindecode_ssr.inference.evaluation import load_test_set
    from braindecode_ssr.resolve import resolve, run_spec
    from braindecode_ssr.retrieval.ranks import query_table, summarize
    from braindecode_ssr.training.data import training_data

    spec = run_spec(settings(options, seed), {"method": "contrast", "train": {"smoothing": 0.0}})
    dataset = open_dataset(spec.data)
    spec, _ = resolve(spec, dataset)
    features = image_features(dataset, spec.images.encoder, ())
    data, _ = training_data(spec, dataset, features)
    test = load_test_set(spec, dataset, features, spec.evaluation)
    start = time.perf_counter()
    alpha = ridge_penalty(data, spec.train.seed)
    predict, centre = fit_ridge(data, alpha)
    table = query_table(predict(test.x), test.gallery - centre, test.table, test.gallery_ids)
    numbers = summarize(table["rank"].to_numpy())
    return {**numbers, "alpha": alpha, "train_seconds": time.perf_counter() - start}


def ridge_penalty(data, seed: int) -> float:
    """The penalty under which held-out training concepts are told apart best."""
    from braindecode_ssr.retrieval.ranks import query_table, summarize
    from braindecode_ssr.training.data import hold_out_concepts

    n_held = int(HELD_OUT * data.table["concept"].nunique())
    train, held = hold_out_concepts(data, n_held, seed)
    images = held.table.drop_duplicates("image_id")  # several subjects may have seen one
    ids = images["image_id"].tolist()
    gallery = held.original[held.image[images.index.tolist()]].numpy()
    scores = {}
    for alpha in ALPHAS:
        predict, centre = fit_ridge(train, alpha)
        table = query_table(predict(held.x.numpy()), gallery - centre, held.table, ids)
        scores[alpha] = summarize(table["rank"].to_numpy())["mrr"]
    return max(scores, key=scores.get)


def fit_ridge(data, alpha: float):
    """Scikit-learn's ridge on a training set: a function of trials to centred features, and the centre."""
    from sklearn.linear_model import Ridge

    x, features = data.x.flatten(1).numpy(), data.original[data.image].numpy()
    centre = features.mean(axis=0)
    model = Ridge(alpha=alpha, solver="cholesky").fit(x, features - centre)
    return lambda trials: model.predict(trials.reshape(len(trials), -1)), centre


def main() -> None:
    """Run all rows for all seeds and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--preset", default="small")
    parser.add_argument("--subject", type=int, default=5)
    parser.add_argument("--protocol", default="intra")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="default: that of the method")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    options = parser.parse_args()
    rows = {
        method: [run_net(method, seed, options) for seed in options.seeds] for method in METHODS
    }
    rows["ridge"] = [run_ridge(seed, options) for seed in options.seeds]
    print_table(rows, options)


def print_table(rows: dict[str, list[dict]], options: argparse.Namespace) -> None:
    """A markdown table: mean over seeds, and the spread where there are several."""
    first = rows["ssr"][0]
    print(
        f"things-sim {options.preset}, subject {options.subject}, {options.protocol}, "
        f"{first['n_gallery']}-way, "
        f"{first['repetitions']} trials averaged, {first['n_train']} training images, "
        f"{first['epochs']} epochs, batch {first['batch_size']}, seeds {options.seeds}\n"
    )
    print("| method | top-1 % | top-5 % | median rank | s/epoch | train s | wall s | peak GiB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, runs in rows.items():
        cells = [spread(runs, key, 100) for key in ("top1", "top5")] + [spread(runs, "median_rank")]
        per_epoch = [run["train_seconds"] / run["epochs"] for run in runs if "epochs" in run]
        cells.append(f"{np.mean(per_epoch):.2f}" if per_epoch else "")
        cells += [spread(runs, key) for key in ("train_seconds", "wall_seconds", "peak_gib")]
        print(f"| {name} | {' | '.join(cells)} |")
    for name in ("ceiling", "chance"):
        both = " | ".join(f"{100 * first[f'{name}_{k}']:.1f}" for k in ("top1", "top5"))
        print(f"| {name} | {both} | | | | | |")


def spread(runs: list[dict], key: str, factor: float = 1) -> str:
    """Mean and, for several runs, standard deviation."""
    values = [factor * run[key] for run in runs if key in run]
    if not values:
        return ""
    text = f"{np.mean(values):.1f}"
    return text + (f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()

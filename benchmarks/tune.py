"""The search behind ``--method ssr-tuned``: the same random draws of settings for each loss.

Every draw is trained on some subjects of a simulated dataset without 48 of their training concepts, and
scored by the mean reciprocal rank of the trials of those concepts among their images (480 candidates on
``small-v1``). No test trial or test image is read. Prints one row per draw, the best first.

    python benchmarks/tune.py --losses ssr,contrast --draws 24 --subjects 1,2
    python benchmarks/tune.py --weights 0,0.5,1,2,5 --subjects 1,2,3,4

The reconstructions of SSR weigh 1. With ``--weights``, SSR is trained with the settings of ``ssr-tuned``
alone, once for each weight of the reconstructions and each of three initializations.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from braindecode_ssr.datasets import open_dataset
from braindecode_ssr.images.features import features_of
from braindecode_ssr.losses import LOSSES
from braindecode_ssr.models import SSR
from braindecode_ssr.models.modules import Components
from braindecode_ssr.resolve import resolve, run_spec
from braindecode_ssr.training.data import TrainingSet, hold_out_concepts, training_data
from braindecode_ssr.training.encoding import fit_components
from braindecode_ssr.training.retriever import fit

HELD_OUT = 48
WEIGHTS = {"reconstruct_view": 1.0, "reconstruct_brain": 1.0}
SPACE = {
    "components": [12, 16, 24],
    "width": [128, 256, 1024],
    "n_outputs": [64, 128, 256],
    "lr": [3e-4, 1e-3, 3e-3],
    "weight_decay": [1e-4, 1e-2, 1e-1],
    "epochs": [16, 32, 64],
    "ema": [None, 0.99],
    "schedule": ["constant", "cosine"],
}


def draws(n: int, seed: int) -> list[dict]:
    """Settings drawn at random, each value as likely as another."""
    rng = np.random.default_rng(seed)
    return [{k: values[rng.integers(len(values))] for k, values in SPACE.items()} for _ in range(n)]


def with_components(data: TrainingSet, part: Components) -> TrainingSet:
    """The same trials as their components, which do not change during training."""
    return TrainingSet(part(data.x), data.image, data.original, data.view, data.table, data.subject)


def score(
    data: TrainingSet, choice: dict, loss: str, params: dict, seed: int
) -> tuple[float, float]:
    """Mean reciprocal rank on the held-out concepts after the last epoch, and seconds."""
    torch.manual_seed(seed)
    spec = run_spec(
        {
            "train": {
                **{k: choice[k] for k in ("lr", "weight_decay", "epochs", "ema", "schedule")},
                "batch_size": 128,
                "seed": seed,
                "validation_concepts": HELD_OUT,
            }
        }
    ).train
    model = SSR(
        n_outputs=choice["n_outputs"],
        n_chans=data.x.shape[1],
        n_times=1,
        sfreq=1,
        width=choice["width"],
        n_features=data.original.shape[1],
    )
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if loss == "ssr":
            part = LOSSES[loss](choice["n_outputs"], **WEIGHTS | params)
        else:
            part = LOSSES[loss](**params)
        net = fit(data, model, part, spec, Path(folder))
    return net.history[-1]["valid_mrr"], time.perf_counter() - began


def chosen() -> dict:
    """The settings of ``ssr-tuned``."""
    spec = run_spec({"method": "ssr-tuned"})
    return {
        name: getattr(part, name)
        for part in (spec.train, spec.model)
        for name in SPACE
        if hasattr(part, name)
    }


def compare_weights(weights: list[float], sets: dict[tuple[int, int], TrainingSet]) -> None:
    """Print the mean reciprocal rank of ``ssr-tuned`` for each weight of the reconstructions."""
    choice = chosen()
    for weight in weights:
        params = dict.fromkeys(WEIGHTS, weight)
        scores = [
            score(data, choice, "ssr", params, seed)[0]
            for data in sets.values()
            for seed in range(3)
        ]
        print(f"{weight:g}: {np.mean(scores):.4f}", flush=True)


def main() -> None:
    """Run the search."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--losses", default="ssr,contrast")
    parser.add_argument("--draws", type=int, default=24)
    parser.add_argument("--subjects", default="1,2")
    parser.add_argument("--preset", default="small-v1")
    parser.add_argument("--params", default="regime=unit", help="of every loss, comma-separated")
    parser.add_argument("--weights", help="of the reconstructions, in the place of random draws")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    params = dict(each.split("=") for each in options.params.split(",") if each)
    sets = {}
    for subject in map(int, options.subjects.split(",")):
        spec = run_spec(
            {
                "data": {"subject": subject, "preset": options.preset},
                "train": {"smoothing": 0.0, "validation_concepts": HELD_OUT},
            }
        )
        dataset = open_dataset(spec.data, None)
        spec, _ = resolve(spec, dataset)
        features = features_of(spec, dataset)
        features.complete(dataset, device="cpu", progress=False)
        data, signals = training_data(spec, dataset, features)
        held_in, _ = hold_out_concepts(data, HELD_OUT, 0)
        for n_components in [chosen()["components"]] if options.weights else SPACE["components"]:
            part = Components(data.x[0].numel(), n_components)
            fit_components(part, held_in, signals.sfreq, signals.tmin)
            sets[subject, n_components] = with_components(data, part)
        print(f"subject {subject}: {len(held_in)} training trials", flush=True)
    if options.weights:
        compare_weights([float(weight) for weight in options.weights.split(",")], sets)
        return
    rows = []
    for number, choice in enumerate(draws(options.draws, seed=0)):
        for loss in options.losses.split(","):
            scores = [
                score(data, choice, loss, params, seed=0)
                for (_, n_components), data in sets.items()
                if n_components == choice["components"]
            ]
            mrr, seconds = np.mean(scores, axis=0)
            rows.append({"draw": number, "loss": loss, **choice, "mrr": mrr, "seconds": seconds})
            print(rows[-1], flush=True)
            table = pd.DataFrame(rows).sort_values("mrr", ascending=False)
            if options.out:
                table.to_csv(options.out, index=False)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4g}"))


if __name__ == "__main__":
    main()

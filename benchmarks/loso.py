"""Leave one subject out, at full size: training from disk beside the same training held in memory.

Writes the trial stores of the training subjects (noise; one averaged trial of each image, so that disk is
taken once), then trains SSR on all of them, on the processor, each way in a process of its own: batches read
from disk while the one before is computed, and all trials in memory. Peak memory is all that was resident at
once, pages of mapped files included, beyond what ``import torch`` takes. Before each run the system is asked
to forget the files, so that they are read from the disk itself. Both ways must end with the same weights.

    python benchmarks/loso.py --folder /scratch
    python benchmarks/loso.py --subjects 2 --images 4096

prints a table, or JSON with ``--json``. Nine subjects of 63 channels take 9.4 GB of disk, removed
afterwards, and 10 GB of memory for the run that holds them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

SFREQ, TIMES, TEST_IMAGES, PER_CONCEPT, BATCH = 250.0, 250, 4, 10, 1024
WAYS = {"disk": 0.0, "memory": 1e6}  # gigabytes that trials may take
COLUMNS = ["seconds_per_step", "seconds", "peak_gb", "beyond_torch_gb"]


def main() -> None:
    """Write, train both ways in turn, print, remove."""
    options = parsed()
    if options.way:
        print(json.dumps(train(options)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        options.folder = folder
        write(options)
        rounds = [{way: measured(way, folder) for way in WAYS} for _ in range(options.rounds)]
    report(rounds, options)


def parsed() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--subjects", type=int, default=9, help="that are trained on")
    parser.add_argument("--images", type=int, default=16540, help="of each subject")
    parser.add_argument("--channels", type=int, default=63)
    parser.add_argument("--repetitions", type=int, default=1, help="of each image, to be averaged")
    parser.add_argument("--features", type=int, default=1024, help="width of the image features")
    parser.add_argument("--backbone", default="TSConv")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1, help="of both ways, in turn")
    parser.add_argument("--folder", help="where there is room; default: temporary")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args()


def write(options: argparse.Namespace) -> None:
    """The trial store of each subject."""
    from braindecode_ssr.datasets.base import eeg_info
    from braindecode_ssr.trials.prepare import trials_path
    from braindecode_ssr.trials.store import TrialStore

    dataset, spec = noise_dataset(options), spec_of(options)
    info = eeg_info([f"E{number}" for number in range(options.channels)], SFREQ)
    tested = dataset.images.query("split == 'test'")  # whose channels are matched; the last subject
    for subject in range(1, options.subjects + 2):
        images = dataset.images if subject <= options.subjects else tested
        path = trials_path(dataset, subject, spec.trials)
        TrialStore.write(path, batches(images, subject, options), info)
        print(f"trials of subject {subject} written", file=sys.stderr)


def batches(images: Any, subject: int, options: argparse.Namespace) -> Iterator[Any]:
    """Noise for each image, a thousand trials at a time."""
    from braindecode_ssr.datasets.base import TRIAL_COLUMNS, TrialBatch

    rng = np.random.default_rng(subject)
    for repetition in range(1, options.repetitions + 1):
        table = images.assign(subject=subject, session=repetition, repetition=repetition)
        for first in range(0, len(table), 1000):
            part = table.iloc[first : first + 1000][TRIAL_COLUMNS]
            shape = (len(part), options.channels, TIMES)
            yield TrialBatch(rng.standard_normal(shape, np.float32), part)


def noise_dataset(options: argparse.Namespace) -> Any:
    """The dataset of these stores."""
    import pandas as pd

    from braindecode_ssr.datasets.base import ImageDataset

    def table(split: str, n: int, per_concept: int) -> pd.DataFrame:
        concepts = [f"{split}{number // per_concept:05d}" for number in range(n)]
        ids = [f"{concept}/{number}" for number, concept in enumerate(concepts)]
        columns = {"number": np.arange(1, n + 1), "image_id": ids, "concept": concepts}
        return pd.DataFrame({"split": split, **columns, "file": ""})

    class Noise(ImageDataset):
        name, default_encoder = "noise", "noise"
        subjects = tuple(range(1, options.subjects + 2))
        images = pd.concat(
            [table("train", options.images, PER_CONCEPT), table("test", TEST_IMAGES, 1)]
        )

        def recordings(self, subject: int) -> Iterator[Any]:
            raise SystemExit(f"no trials of subject {subject} in {self.derived}")

        def source_key(self, subject: int, spec: Any) -> str:
            return "noise"

        def image(self, image_id: str) -> Any:
            return None

    return Noise(options.folder)


class NoiseFeatures:
    """Image features that follow from the number of images alone."""

    views, encoder, store = ("noise",), "noise", SimpleNamespace(path="noise")

    def __init__(self, width: int) -> None:
        self.width = width

    def original(self, ids: np.ndarray) -> np.ndarray:
        """Features of originals, shape (n, d)."""
        rng = np.random.default_rng(len(ids))  # so that test images are not training images
        return rng.standard_normal((len(ids), self.width), np.float32)

    view = original


def spec_of(options: argparse.Namespace) -> Any:
    """The run: trains on all subjects but the last one."""
    from braindecode_ssr.config import build

    memory = WAYS.get(options.way, 0.0)
    train = {"epochs": options.epochs, "batch_size": min(BATCH, options.images), "memory": memory}
    data = {"subject": options.subjects + 1, "protocol": "inter", "channels": "all"}
    model = {"backbone": options.backbone}
    return build({"data": data, "train": {**train, "device": "cpu"}, "model": model})


def measured(way: str, folder: str) -> dict[str, Any]:
    """One way, in a process of its own that finds nothing in the system's memory."""
    for file in Path(folder).rglob("*.npy"):
        forget(file)
    call = [sys.executable, __file__, *sys.argv[1:], "--folder", folder, "--way", way]
    done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True)
    print(f"{way}: {done.stdout.strip()}", file=sys.stderr)
    return json.loads(done.stdout)


def forget(file: Path) -> None:
    """Ask the system not to keep a file in memory."""
    with open(file, "rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def train(options: argparse.Namespace) -> dict[str, Any]:
    """Train one way; seconds of the epochs and peak memory in gigabytes."""
    import torch

    of_torch = peak()

    from braindecode_ssr.training.data import training_data
    from braindecode_ssr.training.distributed import seed_everything
    from braindecode_ssr.training.retriever import build_loss, build_model, fit

    spec = spec_of(options)
    features = NoiseFeatures(options.features)
    data, signals = training_data(spec, noise_dataset(options), features)
    loaded = peak()
    seed_everything(spec.train.seed)
    model = build_model(spec, signals, n_features=options.features)
    with tempfile.TemporaryDirectory() as folder:
        net = fit(data, model, build_loss(spec), spec.train, Path(folder) / "checkpoint")
    seconds = sum(net.history[:, "dur"])
    weights = torch.cat([value.flatten().double() for value in net.module_.state_dict().values()])
    return {
        "trials": len(data),
        "gb": round(data.x.nbytes / 1e9, 2),
        "seconds": round(seconds, 2),
        "seconds_per_step": round(
            seconds / (options.epochs * (len(data) // spec.train.batch_size)), 3
        ),
        "loaded_gb": round(loaded - of_torch, 3),
        "peak_gb": round(peak(), 3),
        "beyond_torch_gb": round(peak() - of_torch, 3),
        "weights": hashlib.sha256(weights.numpy().tobytes()).hexdigest()[:16],
    }


def peak() -> float:
    """The largest resident memory of this process so far, in gigabytes.

    Not ``ru_maxrss``, in which a process begins with what the one that started it had.
    """
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e9
    raise SystemExit("no VmHWM in /proc/self/status: this measurement needs Linux")


def report(rounds: list[dict[str, dict[str, Any]]], options: argparse.Namespace) -> None:
    """Both ways, and what matters: the ratio of speeds and the memory of the one from disk."""
    per_step = {way: np.median([r[way]["seconds_per_step"] for r in rounds]) for way in WAYS}
    result = {
        "speed": round(per_step["memory"] / per_step["disk"], 3),
        "beyond_torch_gb": max(r["disk"]["beyond_torch_gb"] for r in rounds),
        "same_weights": len({r[way]["weights"] for r in rounds for way in WAYS}) == 1,
        "rounds": rounds,
    }
    if options.json:
        print(json.dumps(result, indent=1))
        return
    first = rounds[0]["disk"]
    print(f"{first['trials']} trials, {first['gb']} GB, {options.channels} channels, batch {BATCH}")
    print(f"\n| trials in | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for each in rounds:
        for way, row in each.items():
            print(f"| {way} | {' | '.join(str(row[column]) for column in COLUMNS)} |")
    print(f"\nspeed from disk / from memory: {result['speed']} (at least 0.8 is asked for)")
    print(f"beyond torch from disk: {result['beyond_torch_gb']} GB (less than 3 is asked for)")
    print(f"same weights: {result['same_weights']}")


if __name__ == "__main__":
    main()

"""What an epoch through our net costs beside a bare loop of model, loss and optimiser.

Random trials and features of the size of things-sim ``full``: 16,540 trials of 17 channels and 250 samples,
features as wide as those of the encoder ``pyramid``. The bare loop takes slices of tensors in memory, in
order, and does nothing but forward, loss, backward and step. Ours is
:func:`braindecode_ssr.training.retriever.fit`:
batches gathered in seeded order, each loss checked, its parts kept for the history, checkpoints. Both take
turns, epoch by epoch, in one process, so that whatever else the machine does falls on both; each row is a
process of its own.

    python benchmarks/epoch.py
    python benchmarks/epoch.py --losses ssr --backbones EEGProject --epochs 5

prints a table, or JSON with ``--json``. Seconds are medians; memory is the peak of ours beyond what
``import torch`` and the data take, before the bare loop begins.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from loso import peak

LOSSES, BACKBONES = ("ssr", "neurobridge", "contrast"), ("EEGProject", "TSConv")
BATCH, SFREQ, PER_CONCEPT = 1024, 250.0, 10
COLUMNS = ("bare_seconds", "our_seconds", "ratio", "beyond_data_gb")


def main() -> None:
    """Measure each pair of loss and backbone and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--losses", nargs="+", default=LOSSES)
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    parser.add_argument("--epochs", type=int, default=5, help="of each, one to warm up not counted")
    parser.add_argument("--trials", type=int, default=16540)
    parser.add_argument("--channels", type=int, default=17)
    parser.add_argument("--times", type=int, default=250)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--case", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.losses[0], options.backbones[0], options)))
        return
    pairs = [(loss, backbone) for backbone in options.backbones for loss in options.losses]
    report([in_own_process(*pair) for pair in pairs], options)


def in_own_process(loss: str, backbone: str) -> dict[str, Any]:
    """One row of the table."""
    case = ["--case", "--losses", loss, "--backbones", backbone]
    call = [sys.executable, __file__, *sys.argv[1:], *case]
    done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout.strip(), file=sys.stderr)
    return json.loads(done.stdout)


def measure(loss: str, backbone: str, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of an epoch both ways, and the memory of ours."""
    import torch

    of_torch = peak()

    from braindecode_ssr.config import build
    from braindecode_ssr.training.retriever import build_loss, build_model

    data, signals = random_data(options)
    train = {"epochs": options.epochs + 2, "batch_size": BATCH, "device": "cpu"}
    spec = build({"train": train, "loss": {"name": loss}, "model": {"backbone": backbone}})
    torch.manual_seed(0)
    model = build_model(spec, signals, n_features=data.original.shape[1])
    criterion = build_loss(spec)
    plain = bare_loop(copy.deepcopy(model), copy.deepcopy(criterion), data, spec.train)
    turns = in_turns(plain, data, model, criterion, spec.train)
    bare, ours = median(turns.bare[1:]), median(turns.ours[1:])
    return {
        "loss": loss,
        "backbone": backbone,
        "bare_seconds": round(bare, 3),
        "our_seconds": round(ours, 3),
        "ratio": round(ours / bare, 3),
        "ratios": [round(o / b, 3) for o, b in zip(turns.ours[1:], turns.bare[1:], strict=True)],
        "beyond_data_gb": round(turns.peak - of_torch - data.n_bytes / 1e9, 3),
    }


def random_data(options: argparse.Namespace) -> tuple[Any, Any]:
    """Noise of the asked size, and what a model must know of it."""
    import numpy as np
    import pandas as pd
    import torch

    from braindecode_ssr.datasets.base import eeg_info
    from braindecode_ssr.images.pyramid import Pyramid
    from braindecode_ssr.training.data import Signals, TrainingSet

    n, width = options.trials, Pyramid.dim
    info = eeg_info([f"E{number}" for number in range(options.channels)], SFREQ)
    concepts = [f"concept{number // PER_CONCEPT}" for number in range(n)]
    ids = [f"{concept}/{number}" for number, concept in enumerate(concepts)]
    table = pd.DataFrame({"subject": 1, "image_id": ids, "concept": concepts})
    x = torch.randn(n, options.channels, options.times)
    image = torch.from_numpy(np.random.default_rng(0).permutation(n))
    data = TrainingSet(x, image, torch.randn(n, width), torch.randn(n, width), table)
    return data, Signals(options.times, SFREQ, info["chs"])


def bare_loop(
    model: Any, criterion: Any, data: Any, spec: Any, half: bool = False
) -> Callable[[], None]:
    """An epoch of nothing but forward (in bfloat16 with ``half``), loss, backward and step."""
    import torch

    parameters = [*model.parameters(), *criterion.parameters()]
    options = {"lr": spec.lr, "weight_decay": spec.weight_decay, "fused": True}
    optimiser = torch.optim.AdamW(parameters, **options)
    starts = range(0, len(data) - spec.batch_size + 1, spec.batch_size)
    kind = data.x.device.type

    def epoch() -> None:
        for start in starts:
            rows = slice(start, start + spec.batch_size)
            optimiser.zero_grad()
            with torch.autocast(kind, dtype=torch.bfloat16, enabled=half):
                brain = model(data.x[rows])
            images = (model.image_head(part[rows]) for part in (data.original, data.view))
            criterion(brain.float(), *images)["loss"].backward()
            optimiser.step()

    return epoch


def in_turns(
    bare_epoch: Callable[[], None], data: Any, model: Any, criterion: Any, spec: Any, **options: Any
) -> Turns:
    """The seconds of epochs of a fit and of the bare loop, by turns."""
    from skorch.callbacks import Callback

    from braindecode_ssr.training.retriever import fit

    class Next(Callback):
        def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
            turns.next()

    turns = Turns(bare_epoch)
    with tempfile.TemporaryDirectory() as folder:
        fit(data, model, criterion, spec, Path(folder) / "ckpt", callbacks=[Next()], **options)
    return turns


class Turns:
    """Times epochs of a running fit, and has the bare loop do one after each of them."""

    def __init__(self, bare_epoch: Callable[[], None]) -> None:
        self.bare_epoch, self.start = bare_epoch, None
        self.bare: list[float] = []
        self.ours: list[float] = []
        self.peak = 0.0

    def next(self) -> None:
        """An epoch of ours, checkpoint and all, is over; the next is about to begin."""
        now = time.perf_counter()
        if self.start is not None:
            self.ours.append(now - self.start)
            self.peak = self.peak or peak()
            self.bare_epoch()
            self.bare.append(time.perf_counter() - now)
        self.start = time.perf_counter()


def report(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """One row for each pair, and what SSR's step costs beside NeuroBridge's."""
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    shape = f"{options.trials} x {options.channels} x {options.times}"
    print(f"{shape}, batch {BATCH}, {options.epochs} epochs each")
    print(f"\n| loss | backbone | {' | '.join(COLUMNS)} |\n|---|---|{'---|' * len(COLUMNS)}")
    for row in rows:
        cells = [str(row[column]) for column in ("loss", "backbone", *COLUMNS)]
        print(f"| {' | '.join(cells)} |")
    seconds = {(row["loss"], row["backbone"]): row["bare_seconds"] for row in rows}
    for backbone in options.backbones:
        if {("ssr", backbone), ("neurobridge", backbone)} <= set(seconds):
            ratio = seconds["ssr", backbone] / seconds["neurobridge", backbone]
            print(f"\nSSR's step / NeuroBridge's step, {backbone}: {ratio:.2f}")


if __name__ == "__main__":
    main()

"""Training on a GPU: epochs beside a bare loop, bfloat16 beside float32, and many runs in one call.

    python benchmarks/gpu.py --csv gpu.csv
    python benchmarks/gpu.py --device cpu --small

The first table has, for three models and both precisions, the median seconds of an epoch of a run (seeded
batches, checked losses, history, checkpoint) and of a loop of nothing but forward, loss, backward and step
over the same layers, loss and arrays, all on the device; both take turns in one process (``epoch.py``).
Trials and features are noise of the size of THINGS-EEG2.

The second has the time and the accuracy of SSR for ``--subjects`` times ``--seeds`` runs on things-sim, as
one call of :func:`braindecode_ssr.benchmark`, in both precisions. Trials and features are made first and
do not count. ``--small`` takes tiny sizes, whose figures say only that the script works.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from epoch import bare_loop, in_turns, random_data

MODELS = (("ssr", "EEGProject", 17, 1024), ("ssr", "TSConv", 63, 1024), ("atm", "ATM", 63, 64))
"""Method, backbone, channels and trials in a batch."""
PRECISIONS = ("float32", "bfloat16")
PACKAGES = ("braindecode_ssr", "torch", "braindecode", "skorch")
SMALL = {"trials": 64, "batch": 16, "epochs": 1, "times": 250}
SMALL_GRID = {"subjects": 1, "seeds": 2, "preset": "tiny", "grid_epochs": 1, "jobs": 1}


def main(arguments: list[str] | None = None) -> None:
    """Measure both tables and print them."""
    import pandas as pd

    from braindecode_ssr.training.distributed import pick_device

    options = options_of(arguments)
    device = pick_device(options.device)
    print(conditions(device, options.small), flush=True)
    rows = [epochs_of(*model, each, device, options) for model in MODELS for each in PRECISIONS]
    epochs = pd.DataFrame(rows)
    print(f"\nAn epoch of {options.trials} trials\n\n{epochs.to_markdown(index=False)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        grids = pd.DataFrame(grids_of(device, options, Path(folder)))
    print(f"\nSSR on things-sim {options.preset}\n\n{grids.to_markdown(index=False)}")
    if options.csv:
        named = {"epoch": epochs, "grid": grids}
        pd.concat(named, names=["table"]).droplevel(1).to_csv(options.csv)


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    """The options, with the sizes of ``--small`` where it is given."""
    asked = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    asked.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    asked.add_argument("--small", action="store_true", help="tiny sizes, for a CPU")
    asked.add_argument("--trials", type=int, default=16540)
    asked.add_argument("--times", type=int, default=250)
    asked.add_argument("--epochs", type=int, default=10, help="of each, beside one to warm up")
    asked.add_argument("--subjects", type=int, default=10, help="how many, in the many runs")
    asked.add_argument("--seeds", type=int, default=5)
    asked.add_argument("--preset", default="full")
    asked.add_argument("--grid-epochs", type=int, help="default: those of SSR")
    asked.add_argument("--jobs", type=int, default=1, help="runs in parallel")
    asked.add_argument("--data-dir", type=Path, help="of things-sim; default: made and removed")
    asked.add_argument("--csv", type=Path, help="write both tables to this file")
    options = asked.parse_args(arguments)
    options.batch = None
    if options.small:
        vars(options).update(SMALL, **SMALL_GRID)
    return options


def conditions(device: str, small: bool) -> str:
    """Date, card or processors, and versions."""
    import torch

    card = f"CPU ({os.cpu_count()} cores, {torch.get_num_threads()} threads, {platform.machine()})"
    if device.startswith("cuda"):
        card = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    note = "\n--small: these figures say nothing about speed or accuracy" if small else ""
    return f"{datetime.date.today()}, {card}\n{versions}{note}"


def epochs_of(
    method: str,
    backbone: str,
    n_chans: int,
    batch: int,
    precision: str,
    device: str,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Seconds of an epoch of ours and of the bare loop."""
    import torch

    from braindecode_ssr.resolve import run_spec
    from braindecode_ssr.training.retriever import build_loss, build_model

    sizes = {"trials": options.trials, "channels": n_chans, "times": options.times}
    data, signals = random_data(argparse.Namespace(**sizes))
    # one epoch more to warm up, and one more because an epoch counts when the next begins
    train = {"epochs": options.epochs + 2, "batch_size": options.batch or batch}
    spec = run_spec({"method": method, "model": {"backbone": backbone}, "train": train})
    torch.manual_seed(0)
    model = build_model(spec, signals, n_features=data.original.shape[1]).to(device)
    loss, data = build_loss(spec, model).to(device), data.to(device)
    half = precision == "bfloat16"
    bare = bare_loop(copy.deepcopy(model), copy.deepcopy(loss), data, spec.train, half)

    def finished() -> None:
        bare()
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    turns = in_turns(finished, data, model, loss, spec.train, device=device, precision=precision)
    ours, plain = median(turns.ours[1:]), median(turns.bare[1:])
    row = {"method": method, "backbone": backbone, "channels": n_chans, "precision": precision}
    row |= {"batch": spec.train.batch_size, "bare s": round(plain, 4), "ours s": round(ours, 4)}
    return {**row, "ratio": round(ours / plain, 2)}


def grids_of(device: str, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Time and accuracy of all subjects and seeds, in each precision."""
    from braindecode_ssr import benchmark

    subjects = range(1, options.subjects + 1)
    asked = {"methods": "ssr", "dataset": "things-sim", "preset": options.preset, "progress": False}
    asked |= {"data_dir": options.data_dir or folder / "data", "device": device}
    asked |= {"jobs": options.jobs, "subjects": subjects}
    if options.batch:
        asked["batch_size"] = options.batch
    benchmark(**asked, epochs=1, out=folder / "prepared")
    asked |= {"epochs": options.grid_epochs, "seeds": options.seeds}
    rows = []
    for precision in PRECISIONS:
        start = time.perf_counter()
        grid = benchmark(**asked, out=folder / precision, **{"train.precision": precision})
        seconds = time.perf_counter() - start
        if grid.failed:
            raise SystemExit(f"{len(grid.failed)} runs failed, the first: {grid.failed[0]}")
        row = {"precision": precision, "runs": len(grid.runs), "jobs": options.jobs}
        row["seconds"] = round(seconds, 1)
        rank = grid.queries["rank"]
        row |= {f"top-{k} %": round(100 * float((rank <= k).mean()), 2) for k in (1, 5)}
        rows.append(row)
    first = rows[0]
    return [{**row, "time ratio": round(row["seconds"] / first["seconds"], 2)} for row in rows]


if __name__ == "__main__":
    main()

"""Which bits of a run depend on threads and processor: recordings, trials, weights, scores.

    python benchmarks/bits.py
    python benchmarks/bits.py --preset tiny-v1

Simulates subject 1, prepares the trials, trains the default method for six epochs and tests it, each time in
a process and a folder of its own: with one thread, again with one, with two, and with the kernels of a
processor of 2010, before AVX. Prints for each the largest difference of any value to the first run, how many
ranks differ, and how many samples of the recordings.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

OLDER = {
    "ATEN_CPU_CAPABILITY": "default",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4",
}
WAYS = {
    "1 thread": {"OMP_NUM_THREADS": "1"},
    "1 thread, again": {"OMP_NUM_THREADS": "1"},
    "2 threads": {"OMP_NUM_THREADS": "2"},
    "without AVX": {"OMP_NUM_THREADS": "1", **OLDER},
}
KEPT = ("recordings", "trials", "weights", "scores")


def main() -> None:
    """Run each way and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # in a process of one way
    options = parser.parse_args()
    if options.folder:
        run(options.preset, options.folder)
        return
    first = None
    print(f"{'':16}" + "".join(f"{name:>12}" for name in KEPT) + "  ranks  samples")
    for way, variables in WAYS.items():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--preset", options.preset, "--folder", folder]
            process = subprocess.run(
                command, env=os.environ | variables, capture_output=True, text=True
            )
            if process.returncode:
                raise SystemExit(f"{way}: {process.stderr}")
            found = dict(np.load(Path(folder) / "found.npz"))
        first = first or found
        differ = [f"{np.abs(found[name] - first[name]).max():12.1e}" for name in KEPT]
        ranks = int((found["rank"] != first["rank"]).sum())
        samples = int((found["recordings"] != first["recordings"]).sum())
        print(f"{way:16}{''.join(differ)}  {ranks:5}  {samples:7}", flush=True)
    largest = "".join(f"{np.abs(first[name]).max():12.1e}" for name in KEPT)
    counts = f"  {first['rank'].size:5}  {first['recordings'].size:7}"
    print(f"{'of, at most':16}{largest}{counts}")


def run(preset: str, folder: Path) -> None:
    """Simulate, prepare, train and test, and keep what is compared."""
    from safetensors.numpy import load_file

    from braindecode_ssr import prepare, train
    from braindecode_ssr.datasets import open_dataset
    from braindecode_ssr.resolve import run_spec

    settings = {"data": {"preset": preset, "subject": 1}, "train": {"epochs": 6, "lr": 1e-4}}
    spec = run_spec(settings)
    trained = train(spec, data_dir=folder / "data", out=folder / "runs")
    dataset = open_dataset(spec.data, folder / "data")
    found = {
        "recordings": [each.data.ravel() for each in dataset.recordings(1)],
        "trials": [prepare(dataset, 1, spec.trials).average("train").x.ravel()],
        "weights": [
            each.ravel() for each in load_file(trained.path / "model.safetensors").values()
        ],
        "scores": [trained.queries["score"].to_numpy()],
        "rank": [trained.queries["rank"].to_numpy()],
    }
    kept = {name: np.concatenate(values) for name, values in found.items()}
    np.savez(folder / "found.npz", **kept)


if __name__ == "__main__":
    main()

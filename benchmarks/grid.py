"""A grid of runs one at a time and two at a time: seconds of each, speed-up, and that the ranks agree.

    python benchmarks/grid.py --preset small --methods all --subjects 1,2 --seeds 2

Trials and features are made first and count for neither. Then the whole command is timed, in the order
1, 2, 2, 1 jobs, each into a folder of its own, so that a machine that gets busier or less so counts for
both alike; the mean of each is told. A run that fails counts with the others, and is listed on stderr.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLI = [sys.executable, "-m", "braindecode_ssr_cli", "benchmark"]
ORDER = (1, 2, 2, 1)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--dataset", default="things-sim")
    asked.add_argument("--preset", default="tiny")
    asked.add_argument("--data-dir", type=Path)
    asked.add_argument("--methods", default="ssr,contrast")
    asked.add_argument("--subjects", default="1,2")
    asked.add_argument("--protocols", default="intra")
    asked.add_argument("--seeds", default="1")
    asked.add_argument("--epochs", default="")
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder))


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Time the command in each order and print a table."""
    grid = [
        f"--{name}={value}" for name, value in vars(options).items() if value and name[0] != "d"
    ]
    grid += ["--dataset", options.dataset, "--data-dir", str(options.data_dir or folder / "data")]
    timed(grid + ["--epochs", "1"], folder / "prepared", 2)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for number, jobs in enumerate(ORDER):
        seconds[jobs].append(timed(grid, folder / str(number), jobs))
    ranks = {(folder / str(n) / "queries.csv").read_bytes() for n in range(len(ORDER))}
    one, two = (sum(seconds[jobs]) / 2 for jobs in (1, 2))
    print(f"{'jobs':>4}  {'seconds':>8}  each time")
    for jobs, mean in ((1, one), (2, two)):
        print(f"{jobs:>4}  {mean:>8.1f}  {', '.join(f'{s:.1f}' for s in seconds[jobs])}")
    print(f"speed-up {one / two:.2f}; queries.csv {'the same' if len(ranks) == 1 else 'DIFFERS'}")


def timed(grid: list[str], out: Path, jobs: int) -> float:
    """Seconds of one benchmark as a process of its own."""
    start = time.perf_counter()
    call = [*CLI, *grid, "--out", str(out), "--jobs", str(jobs)]
    done = subprocess.run(call, check=False, stdout=subprocess.DEVNULL)
    if done.returncode not in (0, 1) or not (out / "queries.csv").is_file():
        raise SystemExit(f"it ended with code {done.returncode}: {call}")
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

"""Ridge regression with several penalties, ours beside scikit-learn's: seconds, memory, the same map.

    python benchmarks/ridge.py
    python benchmarks/ridge.py --rows 4000 --inputs 15750 --penalties 3

Random trials of the size of things-sim ``small`` across subjects (nine subjects, 63 channels x 250 samples),
in single precision. Both solve in double precision; scikit-learn has to be given all trials so, ours makes
it of some at a time. Each way is a process of its own; memory is its peak beyond what its imports and the
trials take.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from loso import peak

WAYS = ("ours", "scikit-learn")
BLOCK = 1024


def main() -> None:
    """Measure both ways and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=14400)
    parser.add_argument("--inputs", type=int, default=15750)
    parser.add_argument("--outputs", type=int, default=1024)
    parser.add_argument("--penalties", type=int, default=3)
    parser.add_argument("--case", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--map", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        files = {way: Path(folder) / f"{way}.npy" for way in WAYS}
        found = {way: in_own_process(way, file) for way, file in files.items()}
        ours, theirs = (np.load(file) for file in files.values())
    print(f"{'':12s}  {'seconds':>8}  {'GB':>6}")
    for way in WAYS:
        print(f"{way:12s}  {found[way]['seconds']:8.1f}  {found[way]['beyond_data_gb']:6.2f}")
    ratios = [found["scikit-learn"][key] / found["ours"][key] for key in found["ours"]]
    print(
        f"{ratios[0]:.2f} times as fast, {ratios[1]:.2f} times less memory; largest difference",
        end=" ",
    )
    print(f"{np.abs(ours - theirs).max() / np.abs(theirs).max():.1e} of the largest weight")


def in_own_process(way: str, file: Path) -> dict[str, float]:
    """Seconds and memory of one way, whose last map is left in a file."""
    call = [sys.executable, __file__, *sys.argv[1:], "--case", way, "--map", str(file)]
    done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Solve with each penalty in turn."""
    from sklearn.linear_model import Ridge

    from braindecode_ssr.training.ridge import SHARES, Scatter

    draw = np.random.default_rng(0)
    x = draw.standard_normal((options.rows, options.inputs), dtype=np.float32)
    y = draw.standard_normal((options.rows, options.outputs), dtype=np.float32)
    shares, n = SHARES[: options.penalties], min(x.shape)
    scale = float(np.var(x[:BLOCK], axis=0).sum()) * len(x) / n
    before, start = peak(), time.perf_counter()
    if options.case == "ours":
        rows = range(0, len(x), BLOCK)
        scatter = Scatter(((x[r : r + BLOCK], y[r : r + BLOCK]) for r in rows), *x.shape)
        for share in shares:
            weight = scatter.weight(share * scale / scatter.mean_eigenvalue)
    else:
        x, y = x.astype(np.float64), y.astype(np.float64)
        for share in shares:
            fitted = Ridge(alpha=share * scale, solver="cholesky", copy_X=False).fit(x, y)
            weight = fitted.coef_.T
    used = {"seconds": time.perf_counter() - start, "beyond_data_gb": peak() - before}
    np.save(options.map, weight)
    return used


if __name__ == "__main__":
    main()

"""Which models can be a brain encoder: every one is built and trained for one step, each in a process.

Three shapes of trials stand for the data there is: 17 and 63 channels of EEG, 271 of MEG. The table is
what ``ssr-bd list backbones`` prints.

    python benchmarks/backbones.py                  # all, writes braindecode_ssr/models/backbone_table.csv
    python benchmarks/backbones.py --only EEGNet    # measures these again and keeps the other rows
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from braindecode_ssr.errors import SSRError
from braindecode_ssr.models.names import COLUMNS, SHAPES, TABLE, backbone_rows, shape_name

N_OUTPUTS = 512
N_TRIALS = 8
LIMIT = 480  # seconds for one model


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="names of backbones; the other rows are kept")
    parser.add_argument("--jobs", type=int, default=1, help="processes at the same time")
    parser.add_argument(
        "--one", metavar="NAME", help="one JSON line for each shape; writes nothing"
    )
    options = parser.parse_args()
    if options.one:
        for shape in SHAPES:
            print(json.dumps(measure(options.one, *shape)), flush=True)
        return
    from braindecode_ssr.models.names import list_backbones

    names = list_backbones()
    rows = {kept["name"]: kept for kept in backbone_rows()} if options.only else {}
    with ThreadPoolExecutor(options.jobs) as pool:
        for one in pool.map(row, options.only or names):
            rows[one["name"]] = one
    table = pd.DataFrame([rows[name] for name in names if name in rows], columns=list(COLUMNS))
    table.astype({"width": "Int64", "parameters": "Int64", "step_ms": "Int64"}).to_csv(
        TABLE, index=False
    )
    print({shape_name(*shape): int((table[shape_name(*shape)] == "yes").sum()) for shape in SHAPES})


def row(name: str) -> dict[str, Any]:
    """One line of the table."""
    from braindecode_ssr.models import BACKBONES
    from braindecode_ssr.models.backbone import adjustments

    found = in_own_process(name)
    works = {shape: one for shape, one in found.items() if "width" in one}
    first = next(iter(works.values()), {})
    wrong = {shape: one["reason"] for shape, one in found.items() if shape not in works}
    row = {
        "name": name,
        "origin": "braindecode_ssr" if name in BACKBONES else "braindecode",
        **{shape: "yes" if shape in works else "no" for shape in found},
        **{key: first.get(key) for key in ("feature_point", "width", "parameters", "step_ms")},
        "needs": adjustments(name).get("needs", ""),
        "adjusted": said(
            {shape: one["adjusted"] for shape, one in works.items() if one["adjusted"]}
        ),
        "reason": said(
            {shape: adjustments(name).get("unfit", why) for shape, why in wrong.items()}
        ),
    }
    print(row, file=sys.stderr, flush=True)
    return row


def said(by_shape: dict[str, str]) -> str:
    """``"17x250: this; 63x250: that"``; the shapes are left out where all say the same."""
    different = list(dict.fromkeys(by_shape.values()))
    if len(different) == 1 and len(by_shape) == len(SHAPES):
        return different[0]
    return "; ".join(
        f"{', '.join(shape for shape in by_shape if by_shape[shape] == one)}: {one}"
        for one in different
    )


def in_own_process(name: str) -> dict[str, dict[str, Any]]:
    """:func:`measure` at every shape, where a crash or a long run does no harm."""
    command = [sys.executable, "-W", "ignore", __file__, "--one", name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    last = f"measuring takes more than {LIMIT} s on one processor core"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT, env=environment
        )
        last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        said_by = done.stdout
    except subprocess.TimeoutExpired as late:
        said_by = (late.stdout or b"").decode()
    lines = [line for line in said_by.splitlines() if line.startswith("{")]
    missing = [{"reason": short(last)}] * (len(SHAPES) - len(lines))
    found = [*map(json.loads, lines), *missing]
    return {shape_name(*shape): one for shape, one in zip(SHAPES, found, strict=True)}


def measure(name: str, n_chans: int, n_times: int) -> dict[str, Any]:
    """Build SSR around a backbone and train it for one step on noise."""
    warnings.simplefilter("ignore")
    import torch

    from braindecode_ssr.models import SSR

    torch.manual_seed(0)
    torch.set_num_threads(1)
    try:
        model = SSR(
            n_outputs=N_OUTPUTS,
            n_times=n_times,
            sfreq=250.0 if n_times == 250 else 200.0,
            chs_info=channels(n_chans),
            backbone=name,
        )
        seconds = step(model, torch.randn(N_TRIALS, n_chans, n_times))
    except SSRError as error:
        return {"reason": short(error.found)}
    except Exception as error:
        return {"reason": short(f"{type(error).__name__}: {error}")}
    return {
        "feature_point": model.feature_point,
        "width": model.backbone_width,
        "parameters": sum(part.numel() for part in model.backbone.parameters()),
        "step_ms": max(1, round(1000 * seconds)),
        "adjusted": ", ".join(f"{key}={value}" for key, value in model.adjusted.items()),
    }


def step(model: Any, x: Any) -> float:
    """Seconds of the faster of two forward and backward passes; raises unless all gradients are finite."""
    import torch

    seconds = []
    for _ in range(2):
        model.zero_grad()
        start = time.perf_counter()
        model.train()(x).square().mean().backward()
        seconds.append(time.perf_counter() - start)
    gradients = [part.grad for part in model.backbone.parameters() if part.grad is not None]
    if not gradients or not all(torch.isfinite(gradient).all() for gradient in gradients):
        raise ValueError("gradients are missing or not finite")
    with torch.no_grad():
        if model.eval()(x[:1]).shape != (1, N_OUTPUTS):
            raise ValueError("a batch of one gives no embedding")
    return min(seconds)


def channels(n_chans: int) -> list[dict[str, Any]]:
    """Channels with names and positions: the caps of THINGS-EEG2, or CTF sensors on a half sphere."""
    from braindecode_ssr.datasets.base import eeg_info
    from braindecode_ssr.preprocessing.channels import OCCIPITAL_17, THINGS_EEG_63

    if n_chans != 271:
        names = OCCIPITAL_17 if n_chans == 17 else THINGS_EEG_63
        return eeg_info(names, 250.0)["chs"]
    import mne

    layout = mne.channels.read_layout("CTF275")
    info = mne.create_info(layout.names[:n_chans], 200.0, "mag", verbose="error")
    flat = layout.pos[:n_chans, :2] + layout.pos[:n_chans, 2:] / 2
    flat = (flat - flat.mean(0)) / np.abs(flat - flat.mean(0)).max()
    radius = np.linalg.norm(flat, axis=1)[:, None]
    angle = radius / radius.max() * np.pi / 2
    around = flat / np.maximum(radius, 1e-9) * np.sin(angle)
    for channel, place in zip(info["chs"], 0.1 * np.hstack([around, np.cos(angle)]), strict=True):
        channel["loc"][:3] = place
    return info["chs"]


def short(reason: str) -> str:
    """The first sentence, at most 100 characters."""
    text = reason.split("which says: ")[-1].split(". ")[0].strip()
    return text if len(text) <= 100 else text[:97] + "..."


if __name__ == "__main__":
    main()

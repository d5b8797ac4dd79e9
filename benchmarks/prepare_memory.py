"""The largest memory that ``ssr-bd data prepare`` takes of a machine, on a session pair of full size.

Writes recordings as published (a pickle of protocol 3: 64 rows of float64 at 1000 Hz, one sample of the
last row for each image) with noise in them and events timed as in the experiment, then runs the command
as a process of its own. The peak is ``ru_maxrss`` of that process: everything resident at once, pages of
mapped files included. Sessions after the first are links to the same files, so that a whole subject costs
no more disk.

    python benchmarks/prepare_memory.py --folder /scratch --sessions 1 4

prints one JSON line for each number of sessions. Files of 3.3 GB and stores of 1.4 GB a session are removed
afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np

from braindecode_ssr.preprocessing.channels import THINGS_EEG_63_RAW

TRAIN_IMAGES, TEST_IMAGES = 8270, 200  # of one session
TRAIN_TRIALS, TEST_TRIALS, TARGET = 16710, 4056, 99999
MARK = b"the content goes here"


def main() -> None:
    """Write, measure, print, remove."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where there is room; default: temporary")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1])
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of images")
    options = parser.parse_args()
    for sessions in options.sessions:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            size = write_subject(Path(folder), sessions, options.scale)
            print(json.dumps({"sessions": sessions, **measure(Path(folder), size)}), flush=True)


def measure(root: Path, size: int) -> dict:
    """Seconds and peak memory of preparing subject 1, in a process of its own."""
    call = [sys.executable, "-m", "braindecode_ssr_cli", "data", "prepare", "things-eeg"]
    start = time.perf_counter()
    call += ["--subject", "1", "--data-dir", str(root)]
    process = subprocess.Popen(call, stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(call)} ended with status {status}")
    peak = usage.ru_maxrss * 1024
    return {
        "training_file_gb": round(size / 1e9, 3),
        "peak_gb": round(peak / 1e9, 3),
        "peak_over_file": round(peak / size, 3),
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
    }


def write_subject(root: Path, sessions: int, scale: float) -> int:
    """Raw files of subject 1 and the image list; the size of a training file in bytes."""
    counts = {"train": max(10, int(TRAIN_IMAGES * scale)), "test": max(2, int(TEST_IMAGES * scale))}
    trials = {"train": int(TRAIN_TRIALS * scale), "test": int(TEST_TRIALS * scale)}
    write_image_list(root, counts)
    names = {"train": "raw_eeg_training.npy", "test": "raw_eeg_test.npy"}
    for session in range(1, sessions + 1):
        folder = root / "Raw_data" / "sub-01" / f"ses-{session:02d}"
        folder.mkdir(parents=True)
        for split, name in names.items():
            if session == 1:
                write_recording(folder / name, counts[split], trials[split])
            else:
                os.link(root / "Raw_data" / "sub-01" / "ses-01" / name, folder / name)
    return (folder / names["train"]).stat().st_size


def write_image_list(root: Path, counts: dict[str, int]) -> None:
    """``image_metadata.npy``: ten training images a concept."""
    lists = {}
    for split, count in counts.items():
        per_concept = 10 if split == "train" else 1
        concepts = [f"{split}{image // per_concept}" for image in range(count)]
        lists[f"{split}_img_concepts"] = [f"{1:05d}_{concept}" for concept in concepts]
        lists[f"{split}_img_files"] = [f"{c}_{image}.jpg" for image, c in enumerate(concepts)]
    (root / "image_set").mkdir()
    np.save(root / "image_set" / "image_metadata.npy", lists)


def write_recording(path: Path, n_images: int, n_trials: int) -> None:
    """Noise with offsets; sequences of 20 images, one every 200 ms, 2.28 s between sequences."""
    rng = np.random.default_rng(n_trials)
    codes = rng.permutation(np.resize(np.append(np.arange(1, n_images + 1), TARGET), n_trials))
    places = np.arange(n_trials)
    onsets = 2000 + 200 * places + 2083 * (places // 20)
    shape = (len(THINGS_EEG_63_RAW) + 1, int(onsets[-1]) + 2000)
    head, tail = pickled_around(shape)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        file.write(head + b"B" + (8 * shape[0] * shape[1]).to_bytes(4, "little"))
        write_rows(file, shape, onsets, codes)
        file.write(tail)


def write_rows(file: BinaryIO, shape: tuple[int, int], onsets: np.ndarray, codes: np.ndarray):
    """The content of the array, row by row."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal(shape[1], np.float32)
    for _ in range(shape[0] - 1):
        row = 1e-5 * (rng.standard_normal(shape[1], np.float32) + common)
        file.write((row + 1e-3 * rng.standard_normal()).astype("<f8").data)
    stimulus = np.zeros(shape[1])
    stimulus[onsets] = codes
    file.write(stimulus.data)


def pickled_around(shape: tuple[int, int]) -> tuple[bytes, bytes]:
    """What stands before and after the bytes of the array in the pickle of a raw file."""

    class Array:
        def __reduce__(self):
            rebuild, args, _ = np.empty(0).__reduce__()
            return rebuild, args, (1, shape, np.dtype("<f8"), False, MARK)

    content = {
        "raw_eeg_data": Array(),
        "ch_names": [*THINGS_EEG_63_RAW, "stim"],
        "ch_types": ["eeg"] * len(THINGS_EEG_63_RAW) + ["stim"],
        "sfreq": 1000,
        "highpass": 0.01,
        "lowpass": 100.0,
    }
    pickled = pickle.dumps(np.array(content, dtype=object), protocol=3)
    head, _, tail = pickled.partition(b"C" + bytes([len(MARK)]) + MARK)
    return head, tail


if __name__ == "__main__":
    main()

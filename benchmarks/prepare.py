"""Our road from a recording to whitened trials against the plain lineage, on the same arrays.

The lineage (facts: Gifford et al. 2022, NICE, ATM, UBP, NeuroBridge): ``mne.Epochs`` with baseline,
``epochs.resample(250)``, the part after onset, a Ledoit-Wolf covariance for every repetition in a Python
loop, mean over repetitions and conditions, ``fractional_matrix_power`` to the -1/2, whitening.

    python benchmarks/prepare.py --train 3000 --test 1000

prints one JSON line: seconds by the clock and of processor time, their ratios, the largest difference
relative to the largest value, and the growth of the largest resident memory of each.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.base import IMAGE_COLUMNS, ImageDataset, Recording
from braindecode_ssr.datasets.prepare import prepare
from braindecode_ssr.preprocessing.channels import THINGS_EEG_63_RAW

SFREQ = 1000.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=3000, help="training trials")
    parser.add_argument("--test", type=int, default=1000, help="test trials")
    parser.add_argument("--channels", type=int, default=63)
    parser.add_argument("--skip-lineage", action="store_true", help="measure our road alone")
    options = parser.parse_args()
    warm_up()
    train = recording("train", options.train, 2, options.channels)
    test = recording("test", options.test, 20, options.channels)
    with tempfile.TemporaryDirectory() as folder:
        dataset = TwoRecordings(folder, train, test)
        before, start, cpu = peak(), time.perf_counter(), time.process_time()
        store = prepare(dataset, 1, TrialSpec())
        ours, ours_cpu = time.perf_counter() - start, time.process_time() - cpu
        ours_peak = peak() - before
        result = {
            "train": options.train,
            "test": options.test,
            "channels": options.channels,
            "recordings_gb": round((train.data.nbytes + test.data.nbytes) / 1e9, 3),
            "ours_seconds": round(ours, 2),
            "ours_cpu_seconds": round(ours_cpu, 2),
            "ours_peak_growth_gb": round(ours_peak, 3),
        }
        if not options.skip_lineage:
            before, start, cpu = peak(), time.perf_counter(), time.process_time()
            reference = lineage(train, test)
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            difference = max(
                np.abs(store.trials[store.rows(split)] - whitened).max() / np.abs(whitened).max()
                for split, whitened in zip(("train", "test"), reference, strict=True)
            )
            result |= {
                "lineage_seconds": round(seconds, 2),
                "lineage_cpu_seconds": round(cpu, 2),
                "lineage_peak_growth_gb": round(peak() - before, 3),
                "ratio": round(seconds / ours, 1),
                "cpu_ratio": round(cpu / ours_cpu, 1),
                "max_relative_difference": float(difference),
            }
    print(json.dumps(result))


def warm_up() -> None:
    """Import what either road needs, and find the linear map, before the clock runs."""
    train, test = recording("train", 40, 2, 63), recording("test", 40, 20, 63)
    with tempfile.TemporaryDirectory() as folder:
        prepare(TwoRecordings(folder, train, test), 1, TrialSpec())
    lineage(train, test)


def recording(split: str, n_trials: int, repetitions: int, n_chans: int) -> Recording:
    """Mixed slow and fast noise with large offsets; onsets every 200 ms in sequences of 20."""
    rng = np.random.default_rng([n_trials, repetitions])
    n_images = max(1, n_trials // repetitions)
    numbers = rng.permutation(np.resize(np.arange(1, n_images + 1), n_trials))
    samples = 1000 + 200 * np.arange(n_trials) + 2283 * (np.arange(n_trials) // 20)
    data = rng.standard_normal((n_chans, samples[-1] + 1500), np.float32).astype(np.float64)
    for channel in data[1:]:  # in place, so that the recording is held once
        channel += 0.7 * data[0]
    data *= 1e-5
    data += rng.standard_normal((n_chans, 1)) * 1e-2
    names = THINGS_EEG_63_RAW[:n_chans]
    return Recording(data, names, SFREQ, samples, numbers, 1, 1, split, f"{split} recording")


class TwoRecordings(ImageDataset):
    """One subject, one session."""

    name = "two-recordings"
    default_encoder = "pyramid"
    subjects = (1,)

    def __init__(self, root: str, train: Recording, test: Recording) -> None:
        super().__init__(root)
        self._recordings = (train, test)

    @property
    def images(self) -> pd.DataFrame:
        """As many images as were shown."""
        rows = [
            (part.split, number, f"{part.split}{number}/image", f"{part.split}{number}", "")
            for part in self._recordings
            for number in np.unique(part.numbers)
        ]
        return pd.DataFrame(rows, columns=IMAGE_COLUMNS)

    def recordings(self, subject: int) -> Iterator[Recording]:
        """Training part, then test part."""
        return iter(self._recordings)

    def source_key(self, subject: int, spec: TrialSpec) -> str:
        """There is one set of recordings."""
        return ""

    def image(self, image_id: str) -> None:
        """There are no pictures."""


def lineage(train: Recording, test: Recording) -> list[np.ndarray]:
    """Whitened training and test trials, step by step as published."""
    from scipy.linalg import fractional_matrix_power
    from sklearn.discriminant_analysis import _cov

    parts = [lineage_epochs(part) for part in (train, test)]
    conditions = []
    for image in np.unique(train.numbers):
        repetitions = parts[0][train.numbers == image]
        covariances = [_cov(trial.T, shrinkage="auto") for trial in repetitions]
        conditions.append(np.mean(covariances, axis=0))
    whitening = fractional_matrix_power(np.mean(conditions, axis=0), -0.5)
    return [(part.swapaxes(1, 2) @ whitening).swapaxes(1, 2) for part in parts]


def lineage_epochs(part: Recording) -> np.ndarray:
    """Epochs of -0.2 to 1 s with baseline, resampled to 250 Hz, from the onset on."""
    import mne

    raw = mne.io.RawArray(part.data, mne.create_info(list(part.ch_names), SFREQ, "eeg"), verbose=0)
    events = np.column_stack([part.samples, np.zeros_like(part.samples), part.numbers])
    epochs = mne.Epochs(
        raw, events, tmin=-0.2, tmax=1.0, baseline=(None, 0), preload=True, verbose="error"
    )
    epochs.resample(250, verbose="error")
    return epochs.get_data(copy=False)[:, :, 50:]


def peak() -> float:
    """The largest resident memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()

"""Our road from a recording to whitened trials against the plain lineage, on the same arrays or files.

The lineage (facts: Gifford et al. 2022, NICE, ATM, UBP, NeuroBridge): ``mne.Epochs`` with baseline,
``epochs.resample(250)``, the part after onset, a Ledoit-Wolf covariance for every repetition in a Python
loop, mean over repetitions and conditions, ``fractional_matrix_power`` to the -1/2, whitening.

    python benchmarks/prepare.py --train 3000 --test 1000
    python benchmarks/prepare.py --root DIR --subject 5

The first makes recordings of noise and holds them in memory for both; the second takes the first session of a
dataset in the raw layout, which both read from its files (the lineage takes about 16 GB of memory on one
of full size; ``--most 4000`` takes so many trials of each part alone). Prints one JSON line: seconds by the
clock and of processor time, their ratios, the largest difference relative to the largest value, and growth of
the largest resident memory of each.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.base import IMAGE_COLUMNS, ImageDataset, Recording
from braindecode_ssr.datasets.things_eeg.dataset import ThingsEEG
from braindecode_ssr.datasets.things_eeg.files import raw_files
from braindecode_ssr.preprocessing.channels import THINGS_EEG_63_RAW
from braindecode_ssr.trials.prepare import prepare

SFREQ = 1000.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=3000, help="training trials")
    parser.add_argument("--test", type=int, default=1000, help="test trials")
    parser.add_argument("--channels", type=int, default=63)
    parser.add_argument("--skip-lineage", action="store_true", help="measure our road alone")
    parser.add_argument("--root", type=Path, help="a dataset in the raw layout")
    parser.add_argument("--subject", type=int, default=1, help="with --root")
    parser.add_argument("--most", type=int, help="with --root: trials of each part, at most")
    options = parser.parse_args()
    warm_up()
    with tempfile.TemporaryDirectory(dir=options.root) as folder:
        if options.root is None:
            train = recording("train", options.train, 2, options.channels)
            test = recording("test", options.test, 20, options.channels)
            dataset: ImageDataset = TwoRecordings(folder, train, test)
            result: dict[str, Any] = {"channels": options.channels}
            parts = lambda: (train, test)  # noqa: E731
        else:
            dataset = FirstSession(options.root, folder, options.most)
            result = {"root": str(options.root)}
            parts = lambda: read_session(options.root, options.subject, options.most)  # noqa: E731
        print(json.dumps(result | compare(dataset, options, parts)))


def compare(dataset: ImageDataset, options: argparse.Namespace, parts: Callable) -> dict[str, Any]:
    """Seconds, memory and difference of both roads."""
    subject = options.subject
    store, seconds, ours_cpu, grown = measured(lambda: prepare(dataset, subject, TrialSpec()))
    result = {
        "train": len(store.rows("train")),
        "test": len(store.rows("test")),
        "ours_seconds": round(seconds, 2),
        "ours_cpu_seconds": round(ours_cpu, 2),
        "ours_peak_growth_gb": round(grown, 3),
    }
    if options.skip_lineage:
        return result
    reference, plain, cpu, grown = measured(lambda: lineage(*parts()))
    difference = max(
        np.abs(store.trials[store.rows(split)] - whitened).max() / np.abs(whitened).max()
        for split, whitened in zip(("train", "test"), reference, strict=True)
    )
    return result | {
        "lineage_seconds": round(plain, 2),
        "lineage_cpu_seconds": round(cpu, 2),
        "lineage_peak_growth_gb": round(grown, 3),
        "ratio": round(plain / seconds, 1),
        "cpu_ratio": round(cpu / ours_cpu, 1),
        "max_relative_difference": float(difference),
    }


def measured(work: Callable[[], Any]) -> tuple[Any, float, float, float]:
    """The result, seconds by the clock and of processor time, and growth of the peak in GB."""
    before, start, cpu = peak(), time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - start, time.process_time() - cpu, peak() - before


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


class FirstSession(ThingsEEG):
    """The first session of each subject of a raw dataset, its trials kept elsewhere."""

    def __init__(self, root: Path, derived: str, most: int | None) -> None:
        super().__init__(root)
        self._derived, self._most = Path(derived), most

    @property
    def derived(self) -> Path:
        """A folder of its own."""
        return self._derived

    def recordings(self, subject: int) -> Iterator[Recording]:
        """Training part, then test part."""
        for part in super().recordings(subject):
            if part.session > 1:
                return
            yield replace(
                part, samples=part.samples[: self._most], numbers=part.numbers[: self._most]
            )


def read_session(root: Path, subject: int, most: int | None) -> Iterator[Recording]:
    """The same files as the public scripts read them: the pickle whole, events by MNE."""
    import mne

    dataset = ThingsEEG(root)
    files = raw_files(dataset.root, subject, int((dataset.images["split"] == "train").sum()))
    for _, split, path in files[:2]:
        content = np.load(path, allow_pickle=True).item()
        names, sfreq = content["ch_names"], content["sfreq"]
        info = mne.create_info(names, sfreq, content["ch_types"])
        raw = mne.io.RawArray(content["raw_eeg_data"], info, verbose="error")
        events = mne.find_events(raw, stim_channel="stim", verbose="error")
        events = events[events[:, 2] != 99999][:most]
        data = content["raw_eeg_data"][:-1]
        yield Recording(data, names[:-1], sfreq, events[:, 0], events[:, 2], subject, 1, split)


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

    raw = mne.io.RawArray(
        part.data, mne.create_info(list(part.ch_names), part.sfreq, "eeg"), verbose=0
    )
    events = np.column_stack([part.samples, np.zeros_like(part.samples), part.numbers])
    epochs = mne.Epochs(
        raw, events, tmin=-0.2, tmax=1.0, baseline=(None, 0), preload=True, verbose="error"
    )
    if part.sfreq != 250:
        epochs.resample(250, verbose="error")
    return epochs.get_data(copy=False)[:, :, 50:300]


def peak() -> float:
    """The largest resident memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()

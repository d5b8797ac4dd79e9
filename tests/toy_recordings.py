"""A small made-up experiment: recordings of any length, any channels, any events."""

import sys
import time

import numpy as np
import pandas as pd

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.base import IMAGE_COLUMNS, ImageDataset, Recording
from braindecode_ssr.trials.prepare import prepare

CHANNELS = ("P7", "P5", "P3", "P1", "Pz", "P2", "P4", "Oz")


def toy_images(n_train=6, n_test=3):
    """Two training images a concept; every test image has its own."""
    rows = [
        ("train", k + 1, f"c{k // 2}/c{k // 2}_{k}", f"c{k // 2}", "f.jpg") for k in range(n_train)
    ]
    rows += [("test", k + 1, f"t{k}/t{k}_0", f"t{k}", "f.jpg") for k in range(n_test)]
    return pd.DataFrame(rows, columns=IMAGE_COLUMNS)


def toy_signal(rng, n_chans, n_samples, offset=1e-3):
    """Correlated drifting noise in volts, with a large offset on each channel."""
    mix = rng.standard_normal((n_chans, 3))
    slow = np.cumsum(rng.standard_normal((3, n_samples)), axis=1) * 1e-7
    fast = rng.standard_normal((n_chans, n_samples)) * 3e-6
    return mix @ slow + fast + offset * rng.standard_normal((n_chans, 1))


def toy_recording(
    numbers, session=1, split="train", seed=0, sfreq=1000.0, ch_names=CHANNELS, subject=1, **changes
):
    """A recording with one image every 200 ms or so."""
    rng = np.random.default_rng([seed, session, split == "train"])
    numbers = np.asarray(numbers)
    step = rng.integers(round(0.199 * sfreq), round(0.202 * sfreq) + 1, len(numbers))
    samples = round(0.4 * sfreq) + np.cumsum(step)
    data = toy_signal(rng, len(ch_names), samples[-1] + round(1.5 * sfreq))
    parts = {
        "data": data,
        "ch_names": tuple(ch_names),
        "sfreq": sfreq,
        "samples": samples,
        "numbers": numbers,
        "subject": subject,
        "session": session,
        "split": split,
        "source": f"toy file {session} {split}",
        "fingerprint": f"print {session} {split}",
    }
    return Recording(**(parts | changes))


class ToyDataset(ImageDataset):
    """Recordings that are given, or made when asked for."""

    name = "toy"
    default_encoder = "pyramid"
    subjects = (1, 2)

    def __init__(self, root, recordings, images=None, key="key"):
        super().__init__(root)
        self._recordings, self.key, self._made = recordings, key, []
        self._images = toy_images() if images is None else images

    @property
    def images(self):
        return self._images

    @property
    def made(self):
        """How often recordings were asked for, of this dataset or a copy with a spec."""
        return len(self._made)

    def recordings(self, subject):
        self._made.append(subject)
        for recording in self._recordings:
            yield recording() if callable(recording) else recording

    def source_key(self, subject, spec):
        return self.key

    def image(self, image_id):
        return None


def published_sessions(n_train=8, n_test=3, seed=0):
    """Four sessions as designed: each training image in two of them; a few extra showings."""
    rng = np.random.default_rng(seed)
    halves = [part for _ in range(2) for part in np.split(rng.permutation(n_train) + 1, 2)]
    recordings = []
    for session, images in enumerate(halves, 1):
        train = rng.permutation(np.r_[np.repeat(images, 2), rng.choice(images, 2)])
        test = rng.permutation(np.r_[np.repeat(np.arange(1, n_test + 1), 20), session % n_test + 1])
        recordings.append(toy_recording(train, session, "train", seed))
        recordings.append(toy_recording(test, session, "test", seed))
    return recordings


def sessions(**changes):
    """Three sessions, training and test part each."""
    numbers = [1, 2, 3, 1]
    return [
        toy_recording(numbers, session=session, split=split, **changes)
        for session in (1, 2, 3)
        for split in ("train", "test")
    ]


def two_sessions():
    return [toy_recording([1, 2, 3, 1], session=session) for session in (1, 2)]


def prepare_slowly(folder, parts, place, seconds=60.0):
    """Prepare, in a process of its own, with a pause before the recording in this place."""
    part = parts[place]

    def slow():
        print("half way", flush=True)
        time.sleep(seconds)
        return part

    parts[place] = slow
    try:
        prepare(ToyDataset(folder, parts), 1, TrialSpec())
    except KeyboardInterrupt:
        sys.exit(130)

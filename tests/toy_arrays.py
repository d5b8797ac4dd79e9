"""A dataset of arrays, whole: what CONTRIBUTING calls one file and one registry line."""

import mne
import numpy as np
import pandas as pd
from PIL import Image

from braindecode_ssr.datasets.base import (
    IMAGE_COLUMNS,
    TRIAL_COLUMNS,
    EpochedTrials,
    ImageDataset,
    TrialBatch,
    check_images,
)
from braindecode_ssr.errors import MissingDataError
from braindecode_ssr.files import file_key

CHANNELS = ["P7", "P3", "Pz", "P4", "P8", "Oz"]


class ToyArrays(ImageDataset):
    """``sub-<N>.npy`` of shape (images, chans, times), one trial per row of the image table."""

    name = "toy-arrays"
    default_encoder = "pyramid"
    subjects = (1, 2)
    settings = {"trials": {"sfreq": 100.0, "start": 0.0, "stop": 0.5, "whitening": "none"}}
    channel_defaults = {"intra": "all", "inter": "all"}
    first_times = {}  # by subject; else 0 s

    @property
    def images(self):
        """24 training images of 12 concepts and 8 test images."""
        rows = [("train", k + 1, f"c{k // 2}_{k}", f"c{k // 2}", f"c{k}.png") for k in range(24)]
        rows += [("test", k + 1, f"t{k}", f"t{k}", f"t{k}.png") for k in range(8)]
        return check_images(pd.DataFrame(rows, columns=IMAGE_COLUMNS), self.name)

    def image_file(self, split, file):
        """The file of an image."""
        return self.root / file

    def source_files(self, subject, spec):
        """The array of a subject."""
        path = self.root / f"sub-{subject:02d}.npy"
        if not path.is_file():
            raise MissingDataError(f"{path} is missing", "copy it there")
        return [path]

    def source_key(self, subject, spec):
        """Changes with the content of the array."""
        return file_key(self.source_files(subject, spec), self.hashes)

    def epochs(self, subject, spec):
        """All trials in one batch."""
        (path,) = self.source_files(subject, spec)
        table = self.images.assign(subject=subject, session=1, repetition=1)[TRIAL_COLUMNS]
        batch = TrialBatch(np.load(path), table, source=str(path))
        info = mne.create_info(CHANNELS, 100.0, "eeg", verbose="error")
        first = self.first_times.get(subject, 0.0)
        last = first + (batch.trials.shape[2] - 1) / 100
        return EpochedTrials([batch], info, {"units": "V", "first_time": first, "last_time": last})


def write_toy_arrays(root, seed=0):
    """Noise for both subjects, and images of noise."""
    rng = np.random.default_rng(seed)
    dataset = ToyArrays(root)
    for subject in dataset.subjects:
        trials = rng.normal(size=(32, len(CHANNELS), 50)).astype(np.float32)
        np.save(root / f"sub-{subject:02d}.npy", trials)
    for file in dataset.images["file"]:
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(root / file)
    return dataset

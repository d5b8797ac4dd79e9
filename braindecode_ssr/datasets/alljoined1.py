"""Alljoined-1: 960 images of the Natural Scenes Dataset, seen by eight people with 64 electrodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..errors import DataError, MissingDataError, reading
from ..files import file_key, files_sha256
from ..preprocessing.channels import channel_indices
from ..preprocessing.epochs import n_times
from ..registry import Label
from .base import IMAGE_COLUMNS, ImageDataset, Recording, check_images, eeg_info

if TYPE_CHECKING:
    import mne

    from ..config import TrialSpec

CHANNELS = tuple(
    "Fp1 AF7 AF3 F1 F3 F5 F7 FT7 FC5 FC3 FC1 C1 C3 C5 T7 TP7 CP5 CP3 CP1 P1 P3 P5 P7 P9 PO7 PO3 O1 Iz Oz "
    "POz Pz CPz Fpz Fp2 AF8 AF4 AFz Fz F2 F4 F6 F8 FT8 FC6 FC4 FC2 FCz Cz C2 C4 C6 T8 TP8 CP6 CP4 CP2 P2 P4 "
    "P6 P8 P10 PO8 PO4 O2".split()
)
SFREQ = 512.0
N_IMAGES = 960
"""Of the images that all subjects of the Natural Scenes Dataset saw, the first ones, in both sessions."""
SESSIONS = (1, 2)
DESIGN, TESTED = "nsd_expdesign.mat", "test_indices.json"
CODE = "github.com/Alljoined/alljoined-dataset1"
AUTHORS = {
    DESIGN: f"0_data_collection/{DESIGN} of {CODE}",
    TESTED: f"1_preprocessing/final_dataset/{TESTED} of {CODE}",
}


class Alljoined1(ImageDataset):
    """Alljoined-1 of Xu and others (2024), arXiv 2404.05553, as published at OSF kqgs8.

    Eight subjects, one or two sessions, a BioSemi ActiveTwo with 64 electrodes at 512 Hz; images for 300 ms
    every 600 to 650 ms. A trigger of 1 to 960 counts through the images that all subjects of the Natural
    Scenes Dataset (NSD) saw, by the lists in the authors' code, which also name the tested ones. No file
    names a concept: **each image is a concept of its own**, called after its number in NSD, counted from 0.

    Parameters
    ----------
    root : path-like
        The folder with ``raw/subj01_session1_eeg.fif``, ``nsd_expdesign.mat``, ``test_indices.json`` and
        ``images/02950.png``.
    """

    name = "alljoined1"
    channel_defaults = {"intra": "all", "inter": "all"}
    named_concepts = False

    @property
    def subjects(self) -> tuple[Label, ...]:
        """The eight published subjects."""
        return tuple(range(1, 9))

    @property
    def present_subjects(self) -> tuple[Label, ...]:
        """The subjects with a recording here."""
        return tuple(subject for subject in self.subjects if self._sessions(subject))

    @cached_property
    def _shown(self) -> np.ndarray:
        """The number in NSD, counted from 0, of the image of each trigger, (960,)."""
        from scipy.io import loadmat

        path = self._listed(DESIGN)
        with reading(path, _again(path)):
            shared = np.asarray(loadmat(path, variable_names=["sharedix"])["sharedix"]).reshape(-1)
        numbers = shared[:N_IMAGES].astype(np.int64) - 1
        if len(np.unique(numbers)) < N_IMAGES or numbers.min() < 0:
            found = f"{path} lists {len(np.unique(numbers))} images, not {N_IMAGES}"
            raise DataError(found, _again(path))
        return numbers

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row per image, in the order of triggers; MissingDataError without the lists."""
        path, shown = self._listed(TESTED), self._shown
        with reading(path, _again(path)):
            tested = np.isin(shown, np.asarray(json.loads(path.read_text(encoding="utf-8")), int))
        if tested.all() or not tested.any():
            found = f"by {path}, {tested.sum()} of the {N_IMAGES} images are tested"
            raise DataError(found, _again(path))
        names = [f"nsd{number:05d}" for number in shown]
        table = pd.DataFrame(
            {
                "split": np.where(tested, "test", "train"),
                "number": np.where(tested, tested.cumsum(), (~tested).cumsum()),
                "image_id": [f"{name}/{name}" for name in names],
                "concept": names,
                "file": [f"{number:05d}.png" for number in shown],
            }
        )
        return check_images(table[IMAGE_COLUMNS], str(self.root))

    def image_file(self, split: str, file: str) -> Path:
        names = (file, f"{int(file[:5])}.png", f"{file[:5]}.jpg")
        folders = (self.root / "images", self.root / "nsd_stimuli")
        if here := next((f / n for f in folders for n in names if (f / n).is_file()), None):
            return here
        raise MissingDataError(
            f"there is no image {self.root / 'images' / file}",
            "write it from nsd_stimuli.hdf5 of the Natural Scenes Dataset, see docs/datasets.rst, or import "
            "features of the images",
        )

    def recordings(self, subject: Label) -> Iterator[Recording]:
        """The sessions of a subject: trials of training images, then those of test images."""
        subject = self.check_subject(subject)
        by_trigger = self.images.reset_index(drop=True)
        for session, path in self._here(subject).items():
            data, samples, triggers = _read(path)
            [digest] = files_sha256([path], self.hashes)
            shown = by_trigger.loc[triggers - 1]
            for split in ("train", "test"):
                rows = (shown["split"] == split).to_numpy()
                if rows.any():
                    yield Recording(
                        data,
                        CHANNELS,
                        SFREQ,
                        samples[rows],
                        shown["number"].to_numpy(np.int64)[rows],
                        subject,
                        session,
                        split,
                        source=str(path),
                        fingerprint=digest,
                    )

    def trial_axes(self, subject: Label, spec: TrialSpec) -> tuple[mne.Info, int]:
        return eeg_info(CHANNELS, spec.sfreq), n_times(SFREQ, spec)

    def source_files(self, subject: Label, spec: TrialSpec | None = None) -> list[Path]:
        """The two lists and the recordings of a subject."""
        lists = [self._listed(DESIGN), self._listed(TESTED)]
        return [*lists, *self._here(self.check_subject(subject)).values()]

    def source_key(self, subject: Label, spec: TrialSpec | None = None) -> str:
        return file_key(self.source_files(subject), self.hashes)

    def _sessions(self, subject: Label) -> dict[int, Path]:
        folders = [self.root / "raw", self.root / "xu2024" / "raw"]
        files = {s: f"subj{int(subject):02d}_session{s}_eeg.fif" for s in SESSIONS}
        here = {s: [f / name for f in folders if (f / name).is_file()] for s, name in files.items()}
        return {session: found[0] for session, found in here.items() if found}

    def _here(self, subject: Label) -> dict[int, Path]:
        found = self._sessions(subject)
        if not found:
            name = f"subj{int(subject):02d}_session1_eeg.fif"
            wrong = f"there is no recording {self.root / 'raw' / name}"
            raise MissingDataError(wrong, "download the folder xu2024/raw of osf.io/kqgs8")
        return found

    def _listed(self, name: str) -> Path:
        path = self.root / name
        if not path.is_file():
            found = f"there is no list {path}, which says what was shown"
            raise MissingDataError(found, f"get {AUTHORS[name]}")
        return path


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The signal (chans, samples) in volts, and sample and value of each trigger."""
    import mne

    with reading(path, "download it again"):
        raw = mne.io.read_raw_fif(path, verbose="error")
        events = mne.find_events(raw, "Status", verbose="error")
        data = raw.get_data(channel_indices(raw.ch_names, CHANNELS))
    if raw.info["sfreq"] != SFREQ:
        raise DataError(
            f"{path} was sampled at {raw.info['sfreq']:g} Hz, not {SFREQ:g}",
            "use the published files of Alljoined-1",
        )
    wrong = events[(events[:, 2] < 1) | (events[:, 2] > N_IMAGES), 2]
    if len(wrong) or not len(events):
        found = f"the trigger {wrong[0]}" if len(wrong) else "no trigger"
        raise DataError(
            f"{path} has {found}, and images have 1 to {N_IMAGES}",
            "use the files *_eeg.fif, in which the authors joined the triggers of BioSemi to one per image",
        )
    return data, events[:, 0] - raw.first_samp, events[:, 2]


def _again(path: Path) -> str:
    return f"get {AUTHORS[path.name]} again"

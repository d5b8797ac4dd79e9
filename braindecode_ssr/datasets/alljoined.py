"""Alljoined-1.6M: the images of THINGS-EEG2, seen by twenty people with a 32-channel consumer headset."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..errors import DataError, MissingDataError, reading
from ..files import file_key, files_sha256, sha256
from ..preprocessing.channels import channel_indices
from ..preprocessing.epochs import n_times
from ..registry import Label, folder_name
from .base import ImageDataset, Recording, eeg_info
from .things_eeg.files import metadata_file, numbered_folders, read_images

if TYPE_CHECKING:
    import mne

    from ..config import TrialSpec

CHANNELS = tuple(
    "Cz FCz AFz Fp1 F5 F1 CP5 CP3 CP1 P7 P5 P3 P1 PO7 PO3 O1 "
    "Pz POz Oz O2 PO4 PO8 P2 P4 P6 P8 CP2 CP4 CP6 F2 F6 Fp2".split()
)
"""The 32 electrodes of every recording; the files hold many other signals of the headset."""
SFREQ = 256.0
SPLITS = {"stim_train": "train", "stim_test": "test"}
OTHER_MARKS = ("oddball", "behav")
WRONG_LABEL = (8, 19)
"""Files of the first subject that are named after the second."""


class Alljoined(ImageDataset):
    """Alljoined-1.6M of Xu and others (2025), arXiv 2508.18571, as published on the Hugging Face hub.

    20 subjects, 4 sessions of 19 blocks, an Emotiv Flex 2 at 256 Hz; images for 100 ms every 200 ms. Each
    block is an EDF file whose annotations, such as ``stim_train,11134,-1,1``, give the split and the image.
    Image ids count from 0 through the list of THINGS-EEG2, training images first, then test images; concepts
    come from that list, which has to be here as ``image_metadata.npy``.

    Parameters
    ----------
    root : path-like
        The folder with ``raw_eeg/sub-01/session_01/block_01`` and ``stimuli/images/00000.jpg``.
    """

    name = "alljoined"
    channel_defaults = {"intra": "all", "inter": "all"}
    image_folders = ("stimuli/images", "stimuli", "images")

    @property
    def subjects(self) -> tuple[Label, ...]:
        """The twenty published subjects."""
        return tuple(range(1, 21))

    @property
    def present_subjects(self) -> tuple[Label, ...]:
        """The subjects with a folder here."""
        here = numbered_folders(self.root / "raw_eeg", "sub")
        return tuple(number for number in self.subjects if number in here)

    def check_here(self) -> None:
        """Raise MissingDataError if no subject is here; in NEMAR's copy most events are not listed."""
        if not self.present_subjects and (self.root / "sub-01" / "ses-01").is_dir():
            raise MissingDataError(
                f"{self.root} looks like NEMAR nm000134, whose events.tsv list no training image",
                "use raw_eeg and stimuli of huggingface.co/datasets/Alljoined/Alljoined-1.6M",
            )
        super().check_here()

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row per image, of THINGS-EEG2's list; MissingDataError without that list."""
        images = read_images(metadata_file(self.root))
        return images.assign(file=[f"{number:05d}.jpg" for number in range(len(images))])

    def image_file(self, split: str, file: str) -> Path:
        paths = [self.root / folder / file for folder in self.image_folders]
        if here := next(filter(Path.is_file, paths), None):
            return here
        raise MissingDataError(
            f"there is no image {paths[0]}",
            "unpack stimuli.zip of Alljoined-1.6M in a folder stimuli, or import features of the images",
        )

    def blocks(self, subject: Label) -> dict[int, list[Path]]:
        """The EDF files of each session, by block; raises if a block has none, several, or a wrong one."""
        subject = self.check_subject(subject)
        usual = self.root / "raw_eeg" / folder_name(subject)
        folder = numbered_folders(self.root / "raw_eeg", "sub").get(subject, usual)
        names = WRONG_LABEL if subject == WRONG_LABEL[0] else (subject,)
        found: dict[int, list[Path]] = {}
        for session, inside in numbered_folders(folder, "session", "_").items():
            for block, place in numbered_folders(inside, "block", "_").items():
                files = sorted(place.glob("*.edf"))
                if len(files) != 1:
                    wrong = f"{place} holds {len(files)} EDF files, not one"
                    raise DataError(wrong, "download the block again from Alljoined/Alljoined-1.6M")
                named = re.match(r"Subject (\d+), Session (\d+), Block (\d+)", files[0].name)
                said = tuple(map(int, named.groups())) if named else ()
                if said and said not in [(s, session, block) for s in names]:
                    raise DataError(
                        f"{files[0]} is in the folder of subject {subject}, session {session}, block "
                        f"{block}, and its name says otherwise",
                        "move it to its own folder",
                    )
                found.setdefault(session, []).append(files[0])
        if not found:
            raise MissingDataError(
                f"there is no recording {usual / 'session_01' / 'block_01'}/*.edf",
                "download raw_eeg of Alljoined/Alljoined-1.6M from the Hugging Face hub",
            )
        return found

    def recordings(self, subject: Label) -> Iterator[Recording]:
        """The sessions of a subject, blocks joined end to end, training blocks before test blocks."""
        subject = self.check_subject(subject)
        for session, paths in self.blocks(subject).items():
            parts: dict[str, list[tuple[Path, np.ndarray, np.ndarray, np.ndarray]]] = {}
            for path in paths:
                split, signal, shown, ids = self._read(path)
                parts.setdefault(split, []).append((path, signal, shown, ids))
            for split in sorted(parts, reverse=True):
                files, signals, samples, numbers = zip(*parts[split], strict=True)
                starts = np.cumsum([0, *(one.shape[1] for one in signals[:-1])])
                onsets = [own + start for own, start in zip(samples, starts, strict=True)]
                yield Recording(
                    np.concatenate(signals, axis=1),
                    CHANNELS,
                    SFREQ,
                    np.concatenate(onsets),
                    np.concatenate(numbers),
                    subject,
                    session,
                    split,
                    source=", ".join(map(str, files)),
                    fingerprint=sha256("".join(files_sha256(files, self.hashes))),
                    joins=starts[1:].tolist(),
                )

    def _read(self, path: Path) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
        """Split, signal (chans, samples) in volts, onsets and image numbers of a block."""
        import mne

        with reading(path, "download it again"):
            raw = mne.io.read_raw_edf(path, verbose="error")
        if raw.info["sfreq"] != SFREQ:
            found = f"{path} was sampled at {raw.info['sfreq']:g} Hz, not {SFREQ:g}"
            raise DataError(found, "use the published files of Alljoined-1.6M")
        n_images = self.images["split"].value_counts()
        first = {"train": 0, "test": int(n_images["train"])}
        onsets: list[float] = []
        numbers: list[int] = []
        splits: set[str] = set()
        for onset, text in zip(raw.annotations.onset, raw.annotations.description, strict=True):
            mark, image, *_ = [*str(text).split(","), ""]
            if mark in OTHER_MARKS:
                continue
            split = SPLITS.get(mark, "")
            number = int(image) - first[split] + 1 if split and image.isdecimal() else 0
            if not split or not 1 <= number <= n_images[split]:
                raise DataError(
                    f"the annotation {str(text)!r} of {path} names no {split} image of the list in "
                    f"{metadata_file(self.root)}",
                    "use the published files of Alljoined-1.6M and the image_metadata.npy of THINGS-EEG2",
                )
            splits.add(split)
            onsets.append(onset)
            numbers.append(number)
        if len(splits) != 1:
            found = f"{path} shows {'both training and test' if splits else 'no'} images"
            raise DataError(found, "use the published files of Alljoined-1.6M")
        picks = channel_indices(raw.ch_names, CHANNELS)
        samples = np.round(np.array(onsets) * SFREQ).astype(np.int64)
        return splits.pop(), raw.get_data(picks), samples, np.array(numbers, np.int64)

    def trial_axes(self, subject: Label, spec: TrialSpec) -> tuple[mne.Info, int]:
        return eeg_info(CHANNELS, spec.sfreq), n_times(SFREQ, spec)

    def source_files(self, subject: Label, spec: TrialSpec | None = None) -> list[Path]:
        """The list of images and all blocks of a subject."""
        paths = [path for paths in self.blocks(subject).values() for path in paths]
        return [metadata_file(self.root), *paths]

    def source_key(self, subject: Label, spec: TrialSpec | None = None) -> str:
        return file_key(self.source_files(subject), self.hashes)

"""THINGS-EEG2: ten people, 16,540 training and 200 test images of the THINGS objects."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import DataError
from ..files import files_sha256
from ..preprocessing.channels import THINGS_EEG_63_RAW, ChannelSet, in_standard_order
from ..preprocessing.windows import n_times
from .base import IMAGE_COLUMNS, ImageDataset, Recording, check_images, eeg_info
from .bids_events import read_events
from .bids_marks import subject_marks
from .bids_signal import open_signal
from .pickles import load_dict
from .released_files import FORMS, find_release, release_files, release_folders
from .things_bids import (
    bids_root,
    things_bids_recordings,
    things_bids_sessions,
    things_bids_subjects,
)
from .things_layout import (
    PUBLISHED_SUBJECTS,
    dataset_folder,
    file_key,
    image_file,
    metadata_file,
    raw_sessions,
    raw_subjects,
)
from .things_raw import (
    RawSession,
    image_events,
    read_header,
    read_image_numbers,
    read_raw_session,
    same_channels,
)

if TYPE_CHECKING:
    import mne

    from ..config import TrialSpec
    from .released import ReleasedTrials

_SPLIT_KEYS = {"train": "train_img", "test": "test_img"}


class ThingsEEG(ImageDataset):
    """THINGS-EEG2 of Gifford, Dwivedi, Roig and Cichy (2022), NeuroImage 264, 119754.

    63 channels at 1000 Hz in volts, reference Fz; images for 100 ms every 200 ms; four sessions of
    each subject, each with a training and a test part. How many images, sessions and channels there
    are is read from the files, so that reduced sets of the same layout work. The published training files
    are five recordings joined end to end; the joins are filter edges a fraction of a second wide, and are
    left as they are.

    Parameters
    ----------
    root : path-like
        The folder with ``Raw_data`` (or a released form, see :mod:`.released`, or recordings in BIDS, see
        :mod:`.things_bids`) and ``image_set/image_metadata.npy``; or the folder above it, where it is
        called ``things-eeg``.
    bids : dict of str to str, optional
        Which version of a recording in BIDS to use where there are several, as ``data.bids`` of a run.
    """

    name = "things-eeg"
    default_encoder = "open-clip:RN50/openai"
    options = ("bids",)
    _release = "auto"
    _bad_channels = "keep"

    def __init__(self, root: str | Path, bids: Mapping[str, str] | None = None) -> None:
        super().__init__(root)
        self.choice = dict(bids or {})
        self.root = dataset_folder(self.root)

    @property
    def subjects(self) -> tuple[int, ...]:
        """The ten published subjects, and any other that has a folder here."""
        return tuple(sorted({*PUBLISHED_SUBJECTS, *self.present_subjects}))

    @property
    def present_subjects(self) -> tuple[int, ...]:
        """Subjects with a folder here: raw, in a released form or in BIDS."""
        released = (release_folders(self.root, form) for form in FORMS)
        recorded = {*raw_subjects(self.root), *things_bids_subjects(self.root)}
        return tuple(sorted(recorded.union(*released)))

    def inventory(
        self, subjects: Iterable[int] | None = None, *, read: bool = False
    ) -> list[dict[str, Any]]:
        """Every file that is looked for; see :mod:`braindecode_ssr.datasets.check`."""
        from .check import as_rows, check, where

        return as_rows((check if read else where)(self, subjects))

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row per image, from ``image_metadata.npy``; the number is the place in its list.

        Raises
        ------
        MissingDataError
            If the list is not here.
        DataError
            If its lists disagree or an image occurs twice.
        LeakageError
            If a test concept is a training concept too.
        """
        return read_images(metadata_file(self.root))

    def recordings(self, subject: int | str) -> Iterator[Recording]:
        """The sessions of a subject: training part before test part.

        Read from the raw files, or from BIDS where only that is here or was asked for (``as_asked``).

        Raises
        ------
        MissingDataError
            If a file of the subject is not here; names every path.
        DataError
            If a file is broken, its channels or events are not those of the set.
        """
        subject = self.check_subject(subject)
        if find_release(self.root, subject, self._release) == "bids":
            yield from things_bids_recordings(
                self.root, subject, self.images, self.choice, self._bad_channels
            )
            return
        counts = self.images["split"].value_counts()
        like: list[ChannelSet] = []
        for files in raw_sessions(self.root, subject, counts["train"]):
            for split, path in (("train", files.train), ("test", files.test)):
                # nothing here holds on to what is yielded: a session is gigabytes
                yield _recording(path, subject, files.session, split, int(counts[split]), like)

    def presentations(
        self, subject: int | str, spec: TrialSpec
    ) -> list[tuple[str, np.ndarray]] | None:
        """Split and image numbers of each raw file, quick to get; None where another form is used."""
        subject = self.check_subject(subject)
        if find_release(self.root, subject, spec.release) != "raw":
            return None
        n_training = int((self.images["split"] == "train").sum())
        return [
            (split, read_image_numbers(path))
            for files in raw_sessions(self.root, subject, n_training)
            for split, path in (("train", files.train), ("test", files.test))
        ]

    def trial_axes(self, subject: int | str, spec: TrialSpec) -> tuple[mne.Info, int]:
        """All channels of the trials and samples of each, from the first file of the subject."""
        subject = self.check_subject(subject)
        form = find_release(self.root, subject, spec.release)
        n_training = int((self.images["split"] == "train").sum())
        if form == "bids":
            run = things_bids_sessions(self.root, subject, n_training)[0].train[0]
            marks = subject_marks([run], [read_events(run.events)], spec.bad_channels)
            signal = open_signal([run], bids_root(run), marks=marks)
            names, sfreq = signal.ch_names, signal.sfreq
        elif form == "raw":
            names, sfreq = read_header(raw_sessions(self.root, subject, n_training)[0].train)
        else:
            from .released import crop, read_release

            files = release_files(form, self.root, subject)
            train = read_release(form, "train", files, self.images)
            keep = crop(train.times, train.sfreq, spec.start, spec.stop, str(files[0]))
            return eeg_info(train.ch_names, train.sfreq), keep.stop - keep.start
        return eeg_info(names, spec.sfreq), n_times(sfreq, spec)

    def as_asked(self, spec: TrialSpec) -> ThingsEEG:
        """The dataset whose ``recordings`` are in the form that ``spec.release`` names.

        Bad channels of BIDS recordings are treated as ``spec.bad_channels`` says.
        """
        dataset = copy.copy(self)
        dataset._release, dataset._bad_channels = spec.release, spec.bad_channels
        dataset.asked = spec
        return dataset

    def batches(self, subject: int | str, spec: TrialSpec) -> ReleasedTrials | None:
        """The trials of a released form, or None where the raw recordings are to be used.

        Parameters
        ----------
        spec : TrialSpec
            ``spec.release`` names the form; ``"auto"`` is raw if it is here, else the one form that is, else
            BIDS.
        """
        from .released import open_release

        subject = self.check_subject(subject)
        form = find_release(self.root, subject, spec.release)
        if form in ("raw", "bids"):
            return None
        return open_release(form, self.root, subject, self.images, spec)

    def flags(self, subject: int | str, spec: TrialSpec) -> tuple[str, ...]:
        """``"test-in-whitening"`` for the 17-channel release.

        Its public code averages the noise covariance over both partitions; the files of NICE, UBP and
        NeuroBridge were whitened with training trials only.
        """
        return ("test-in-whitening",) if self._form(subject, spec) == "gifford" else ()

    def source_key(self, subject: int | str, spec: TrialSpec | None = None) -> str:
        """The form of the files that the trials of a subject are made of, and a digest of their content.

        Raises
        ------
        MissingDataError
            If one is not here.
        """
        form = self._form(subject, spec)
        return f"{form}|{file_key(self.source_files(subject, spec), self.hashes)}"

    def _form(self, subject: int | str, spec: TrialSpec | None) -> str:
        release = spec.release if spec else "auto"
        return find_release(self.root, self.check_subject(subject), release)

    def source_files(self, subject: int | str, spec: TrialSpec | None = None) -> list[Path]:
        """The image list and the recordings of a subject, in the form that is used.

        Raises
        ------
        MissingDataError
            If one is not here.
        """
        subject, form = self.check_subject(subject), self._form(subject, spec)
        files = [metadata_file(self.root)]
        n_training = int((self.images["split"] == "train").sum())
        if form == "raw":
            for session in raw_sessions(self.root, subject, n_training):
                files += [session.train, session.test]
        elif form == "bids":
            for session in things_bids_sessions(self.root, subject, n_training, self.choice):
                files += [file for run in session.runs for file in run.files]
        else:
            files += release_files(form, self.root, subject)
        return files

    def image_source(self, image_id: str) -> Path:
        """The file of an original image.

        Raises
        ------
        DataError
            If the dataset has no image of that name.
        MissingDataError
            If the image file is not here; names the path.
        """
        if image_id not in self._files:
            found = f"no image {image_id!r}"
            raise DataError(f"an image of {self.name}", found, "names are concept/file stem")
        return image_file(self.root, *self._files[image_id])

    @cached_property
    def _files(self) -> dict[str, tuple[str, str]]:
        columns = (self.images[column] for column in ("image_id", "split", "file"))
        return {name: (split, file) for name, split, file in zip(*columns, strict=True)}


def read_images(path: Path) -> pd.DataFrame:
    """The image table of an ``image_metadata.npy``.

    Parameters
    ----------
    path : Path
        A pickled dict of lists; ``train_img_concepts`` holds folders such as ``00001_aardvark``,
        ``train_img_files`` files such as ``aardvark_01b.jpg``, in image-number order; so for test.

    Returns
    -------
    DataFrame
        ``split, number, image_id, concept, file``, training images first.

    Raises
    ------
    DataError, LeakageError
        If the lists disagree, are empty, hold paths, or share a concept between the splits.
    """
    keys = [f"{prefix}_{what}" for prefix in _SPLIT_KEYS.values() for what in ("concepts", "files")]
    content = load_dict(path, keys)
    lists = {key: [str(name) for name in np.atleast_1d(content[key])] for key in keys}
    tables = []
    for split, prefix in _SPLIT_KEYS.items():
        folders, files = lists[f"{prefix}_concepts"], lists[f"{prefix}_files"]
        if not folders or len(folders) != len(files):
            raise DataError(
                f"one folder for every {split} image in {path}",
                f"{len(folders)} folders and {len(files)} files",
                "download it again from https://osf.io/download/qkgtf",
            )
        tables.append(_split_table(split, folders, files, path))
    return check_images(pd.concat(tables, ignore_index=True), str(path))


def _split_table(split: str, folders: list[str], files: list[str], path: Path) -> pd.DataFrame:
    for name in (*folders, *files):
        if name in ("", ".", "..") or re.search(r"[/\\]", name):
            found = f"{name!r} in {path}"
            raise DataError("plain folder and file names", found, "use the published list")
    concepts = [re.sub(r"^\d+_", "", folder) for folder in folders]
    stems = [PurePosixPath(file).stem for file in files]
    columns = (
        [split] * len(files),
        range(1, len(files) + 1),
        [f"{concept}/{stem}" for concept, stem in zip(concepts, stems, strict=True)],
        concepts,
        [f"{folder}/{file}" for folder, file in zip(folders, files, strict=True)],
    )
    return pd.DataFrame(dict(zip(IMAGE_COLUMNS, columns, strict=True)))


def raw_recording(
    path: Path, subject: int, number: int, split: str, n_images: int, like: list[ChannelSet]
) -> tuple[RawSession, Recording]:
    """The content of a raw file and the recording in it, whose fingerprint is still open.

    Parameters
    ----------
    number : int
        The session.
    n_images : int
        Images of the split.
    like : list of ChannelSet
        Holds the subject's channels in order; filled by the first file.

    Raises
    ------
    DataError
        If its channels or events are not those of the set.
    """
    session = read_raw_session(path)
    if not like:
        order = in_standard_order(session.ch_names, THINGS_EEG_63_RAW)
        like.append(ChannelSet(str(path), tuple(session.ch_names[index] for index in order)))
    session = same_channels(session, like[0], str(path))
    samples, numbers = image_events(session, n_images, f"session {number}, {path}")
    found = Recording(
        data=session.data,
        ch_names=session.ch_names,
        sfreq=session.sfreq,
        samples=samples,
        numbers=numbers,
        subject=subject,
        session=number,
        split=split,
        source=str(path),
    )
    return session, found


def _recording(path: Path, *known: Any) -> Recording:
    with ThreadPoolExecutor(1) as pool:
        fingerprint = pool.submit(files_sha256, [path])
        _, found = raw_recording(path, *known)
    return dataclasses.replace(found, fingerprint=fingerprint.result()[0])

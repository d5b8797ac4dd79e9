"""The forms in which THINGS-EEG2 can be fetched."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...errors import DataError, SSRError
from ...files import file_key, files_sha256
from ...labels import Label
from ...preprocessing.channels import ChannelSet
from ...preprocessing.epochs import n_times
from ..base import ImageDataset, Recording, eeg_info
from ..bids.events import read_events
from ..bids.marks import subject_marks
from ..bids.recordings import common_reference, open_signal
from ..bids.things import (
    bids_root,
    things_bids_recordings,
    things_bids_sessions,
    things_bids_subjects,
)
from ..download import Source
from ..fetch import Downloads, Form
from .files import (
    IMAGE_SOURCES,
    PUBLISHED_SUBJECTS,
    bids_source,
    dataset_folder,
    image_file,
    image_folders,
    metadata_file,
    raw_sessions,
    raw_source,
    raw_subjects,
    read_images,
    release_source,
)
from .preprocessed import FORMS, find_release, release_files, release_folders
from .raw import raw_recording, read_header, read_image_numbers

if TYPE_CHECKING:
    import mne

    from ...config import TrialSpec
    from ..base import EpochedTrials


def _image_sources(root: Path) -> tuple[Source, ...]:
    """The image list and both archives; which images they must hold is known once the list is here."""
    listed, *archives = IMAGE_SOURCES
    if here := _metadata(root):
        listed = replace(listed, place=str(here.relative_to(root)))
    pairs = zip(archives, ("train", "test"), strict=True)
    return (listed, *(_image_archive(root, source, split) for source, split in pairs))


def _image_archive(root: Path, source: Source, split: str) -> Source:
    here = [folder for folder in image_folders(root, split) if folder.is_dir()]
    place = str(here[0].relative_to(root)) if here else source.place
    assert source.archive is not None
    archive = replace(source.archive, names=_image_names(root, split))
    return replace(source, place=place, archive=archive)


def _image_names(root: Path, split: str) -> tuple[str, ...]:
    from ..base import images_by_number

    pass

    try:
        images = read_images(metadata_file(root))
    except SSRError:
        return ()
    return tuple(images_by_number(images, split)["file"])


def _metadata(root: Path) -> Path | None:
    try:
        return metadata_file(root)
    except SSRError:
        return None


def _gifford(root: Path, subject: Label) -> tuple[Source, ...]:
    from .preprocessed import release_folders

    return (
        _where_it_is(
            root, release_source("gifford", subject), release_folders(root, "gifford"), subject
        ),
    )


def _raw(root: Path, subject: Label) -> tuple[Source, ...]:
    return (_where_it_is(root, raw_source(subject), raw_subjects(root), subject),)


def _bids(root: Path, subject: Label) -> tuple[Source, ...]:
    return (bids_source(subject),)


def _where_it_is(root: Path, source: Source, folders: dict[Any, Path], subject: Label) -> Source:
    """Under the name that the folder of the subject has here, if there is one."""
    if subject not in folders:
        return source
    return replace(source, place=str(folders[subject].relative_to(root)))


DOWNLOADS = Downloads(
    subjects=PUBLISHED_SUBJECTS,
    forms={
        "gifford": Form(
            "preprocessed by the authors, 17 channels, 100 Hz, and the images: the smallest download",
            _image_sources,
            _gifford,
        ),
        "raw": Form("as recorded, 63 channels, 1000 Hz, and the images", _image_sources, _raw),
        "bids": Form("as recorded, in BIDS, and the images", _image_sources, _bids),
        "images": Form("the images and their list alone", _image_sources, by_subject=False),
    },
    elsewhere={form: release_source(form, 1).url for form in ("nice", "ubp", "neurobridge")},
)


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
        self, subjects: Iterable[Label] | None = None, *, read: bool = False
    ) -> list[dict[str, Any]]:
        """Every file that is looked for; see :mod:`braindecode_ssr.datasets.things_eeg.check`."""
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
            from .preprocessed import crop, read_release

            files = release_files(form, self.root, subject)
            train = read_release(form, "train", files, self.images)
            keep = crop(train.times, train.sfreq, spec.start, spec.stop, str(files[0]))
            return eeg_info(train.ch_names, train.sfreq), keep.stop - keep.start
        return eeg_info(names, spec.sfreq), n_times(sfreq, spec)

    def reference(self, subject: int | str) -> str:
        """The reference that the sidecar files of recordings in BIDS name; empty for other files.

        Raises
        ------
        DataError
            If they name several.
        """
        subject = self.check_subject(subject)
        if find_release(self.root, subject, self._release) != "bids":
            return ""
        n_training = int((self.images["split"] == "train").sum())
        sessions = things_bids_sessions(self.root, subject, n_training, self.choice)
        return common_reference([run for session in sessions for run in session.runs])

    def as_asked(self, spec: TrialSpec) -> ThingsEEG:
        """The dataset whose ``recordings`` are in the form that ``spec.release`` names.

        Bad channels of BIDS recordings are treated as ``spec.bad_channels`` says.
        """
        dataset = copy.copy(self)
        dataset._release, dataset._bad_channels = spec.release, spec.bad_channels
        dataset.asked = spec
        return dataset

    def epochs(self, subject: int | str, spec: TrialSpec) -> EpochedTrials | None:
        """The trials of a released form, or None where the raw recordings are to be used.

        Parameters
        ----------
        spec : TrialSpec
            ``spec.release`` names the form; ``"auto"`` is raw if it is here, else the one form that is, else
            BIDS.
        """
        from .preprocessed import open_release

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
            for raw in raw_sessions(self.root, subject, n_training):
                files += [raw.train, raw.test]
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


def _recording(path: Path, *known: Any) -> Recording:
    with ThreadPoolExecutor(1) as pool:
        fingerprint = pool.submit(files_sha256, [path])
        _, found = raw_recording(path, *known)
    return dataclasses.replace(found, fingerprint=fingerprint.result()[0])

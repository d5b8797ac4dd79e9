"""THINGS-EEG2: the dataset in all its forms, and what can be downloaded of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...config import TrialSpec
from ...errors import MissingDataError, SSRError, UsageError
from ...files import file_key, file_sha256, files_sha256
from ...preprocessing.channels import THINGS_EEG_63_RAW, ChannelSet, in_standard_order
from ...preprocessing.epochs import check_session, n_times
from ...registry import Label, unknown_name
from ..base import (
    BROKEN,
    MISSING,
    EpochedTrials,
    ImageDataset,
    Recording,
    Row,
    check_copies,
    described,
    eeg_info,
    fault,
    file_row,
    images_by_number,
    images_row,
    state_row,
)
from ..bids.things import ThingsEEGBids, things_bids_subjects
from ..download import Source
from ..fetch import Downloads, Form
from . import files as layout
from .preprocessed import FORMS, crop, open_release, read_release, release_files, release_folders
from .raw import read_header, read_image_numbers, read_raw_session, to_recording

if TYPE_CHECKING:
    import mne


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
        The folder with ``Raw_data`` (or a released form, see :mod:`.things_eeg.preprocessed`, or recordings
        in BIDS, see :mod:`.bids.things`) and ``image_set/image_metadata.npy``; or the folder above it, where
        it is called ``things-eeg``.
    bids : dict of str to str, optional
        Which version of a recording in BIDS to use where there are several, as ``data.bids`` of a run.
    """

    name = "things-eeg"
    options = ("bids",)

    def __init__(self, root: str | Path, bids: Mapping[str, str] | None = None) -> None:
        super().__init__(root)
        self.choice = dict(bids or {})
        self.root = layout.dataset_folder(self.root)

    @property
    def subjects(self) -> tuple[int, ...]:
        """The ten published subjects, and any other that has a folder here."""
        return tuple(sorted({*layout.PUBLISHED_SUBJECTS, *self.present_subjects}))

    @property
    def present_subjects(self) -> tuple[int, ...]:
        released = (release_folders(self.root, form) for form in FORMS)
        recorded = {*layout.raw_subjects(self.root), *things_bids_subjects(self.root)}
        return tuple(sorted(recorded.union(*released)))

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row per image, from ``image_metadata.npy``; the number is the place in its list."""
        return layout.read_images(layout.metadata_file(self.root))

    def _raw_files(self, subject: Label) -> list[layout.RawFile]:
        n_training = int((self.images["split"] == "train").sum())
        return layout.raw_files(self.root, subject, n_training)

    @property
    def _in_bids(self) -> ThingsEEGBids:
        return ThingsEEGBids(self.root, self.choice).with_spec(self.spec)

    def inventory(
        self, subjects: Iterable[Label] | None = None, *, read: bool = False
    ) -> list[Row]:
        """Rows for the subjects who are here, else for the published ten."""
        images, rows = _image_rows(self.root, read)
        whole = (
            images is None or (images["split"] == "train").sum() >= layout.PUBLISHED_TRAINING_IMAGES
        )
        n_sessions, here = layout.PUBLISHED_SESSIONS if whole else 1, self.present_subjects
        usual = here if read or (here and not whole) else layout.PUBLISHED_SUBJECTS
        for subject in map(self.check_subject, usual if subjects is None else subjects):
            forms = [form for form in FORMS if subject in release_folders(self.root, form)]
            in_bids = subject in things_bids_subjects(self.root)
            if subject in layout.raw_subjects(self.root) or not (forms or in_bids):
                rows += _raw_rows(self, subject, images, n_sessions, read)
            for form in forms:
                rows += _release_rows(self.root, form, subject, images, read)
            if in_bids:
                rows += self._in_bids.subject_rows(subject, read and images is not None)
        return rows

    def form(self, subject: int | str, spec: TrialSpec | None = None) -> str:
        """The form of a subject's files: ``"raw"``, ``"bids"`` or that of a release.

        ``spec.release`` names it; ``"auto"`` is raw if it is here, else the one release that is, else BIDS.
        """
        subject, spec = self.check_subject(subject), spec or self.spec
        if spec is not None and spec.release != "auto":
            name, known = spec.release.lower().replace("-", ""), ["raw", "bids", *FORMS]
            if name not in known:
                raise unknown_name("released form", spec.release, ["auto", *known])
            return name
        if subject in layout.raw_subjects(self.root):
            return "raw"
        here = [name for name in FORMS if subject in release_folders(self.root, name)]
        if len(here) > 1:
            raise UsageError(
                f"{self.root} holds no raw files of subject {subject}, but the forms {', '.join(here)}",
                f"choose one with --set trials.release={here[0]}",
            )
        if here:
            return here[0]
        return "bids" if subject in things_bids_subjects(self.root) else "raw"

    def recordings(self, subject: int | str) -> Iterator[Recording]:
        """The sessions of a subject, from raw files, or from BIDS if only that is here or is asked for."""
        subject = self.check_subject(subject)
        if self.form(subject) == "bids":
            yield from self._in_bids.recordings(subject)
            return
        n_images = self.images["split"].value_counts()
        files = self._raw_files(subject)
        check_copies(((file.path, file.path) for file in files), self.hashes)
        names = read_header(files[0].path)[0]
        order = in_standard_order(names, THINGS_EEG_63_RAW)
        channels = ChannelSet(str(files[0].path), tuple(names[index] for index in order))
        for file in files:  # nothing here holds on to what is yielded: a session is gigabytes
            yield self._recording(file, channels, subject, n_images[file.split])

    def _recording(
        self, file: layout.RawFile, channels: ChannelSet, subject: Label, n_images: int
    ) -> Recording:
        with ThreadPoolExecutor(1) as pool:
            fingerprint = pool.submit(files_sha256, [file.path])
            recording = to_recording(read_raw_session(file.path, channels), file, subject, n_images)
        return replace(recording, fingerprint=fingerprint.result()[0])

    def presentations(
        self, subject: int | str, spec: TrialSpec
    ) -> list[tuple[str, np.ndarray]] | None:
        subject = self.check_subject(subject)
        if self.form(subject, spec) != "raw":
            return None
        files = self._raw_files(subject)
        return [(file.split, read_image_numbers(file.path)) for file in files]

    def trial_axes(self, subject: int | str, spec: TrialSpec) -> tuple[mne.Info, int]:
        subject = self.check_subject(subject)
        form = self.form(subject, spec)
        if form == "bids":
            return self._in_bids.trial_axes(subject, spec)
        if form == "raw":
            names, sfreq = read_header(self._raw_files(subject)[0].path)
            return eeg_info(names, spec.sfreq), n_times(sfreq, spec)
        files = release_files(form, self.root, subject)
        train = read_release(form, "train", files, self.images)
        keep = crop(train.times, train.sfreq, spec.start, spec.stop, str(files[0]))
        return eeg_info(train.ch_names, train.sfreq), keep.stop - keep.start

    def reference(self, subject: int | str) -> str:
        subject = self.check_subject(subject)
        return self._in_bids.reference(subject) if self.form(subject) == "bids" else ""

    def epochs(self, subject: int | str, spec: TrialSpec) -> EpochedTrials | None:
        """The trials of a released form, or None where the raw recordings are to be used."""
        subject = self.check_subject(subject)
        form = self.form(subject, spec)
        if form in ("raw", "bids"):
            return None
        return open_release(form, self.root, subject, self.images, spec)

    def flags(self, subject: int | str, spec: TrialSpec) -> tuple[str, ...]:
        """``"test-in-whitening"`` for the 17-channel release, whose whitening was fitted on both parts."""
        return ("test-in-whitening",) if self.form(subject, spec) == "gifford" else ()

    def source_key(self, subject: int | str, spec: TrialSpec | None = None) -> str:
        """The form of the files that the trials of a subject are made of, and a digest of their content."""
        files = self.source_files(subject, spec)
        return f"{self.form(subject, spec)}|{file_key(files, self.hashes)}"

    def source_files(self, subject: int | str, spec: TrialSpec | None = None) -> list[Path]:
        subject, form = self.check_subject(subject), self.form(subject, spec)
        files = [layout.metadata_file(self.root)]
        if form == "raw":
            files += [file.path for file in self._raw_files(subject)]
        elif form == "bids":
            files += [file for run in self._in_bids.runs(subject) for file in run.files]
        else:
            files += release_files(form, self.root, subject)
        return files

    def image_file(self, split: str, file: str) -> Path:
        return layout.image_file(self.root, split, file)


# -- what can be downloaded ----------------------------------------------------------------------------------


def _image_sources(root: Path) -> tuple[Source, ...]:
    """The image list and both archives; once the list is here, it says what they must contain."""
    listed, *archives = layout.IMAGE_SOURCES
    files: dict[Any, tuple[str, ...]] = {}
    with suppress(SSRError):
        path = layout.metadata_file(root)
        listed = replace(listed, place=str(path.relative_to(root)))
        images = layout.read_images(path)
        files = {split: tuple(rows["file"]) for split, rows in images.groupby("split")}
    sources = [listed]
    for split, source in zip(("train", "test"), archives, strict=True):
        here = (folder for folder in layout.image_folders(root, split) if folder.is_dir())
        folder = next(here, root / source.place)
        assert source.archive is not None
        archive = replace(source.archive, names=files.get(split, ()))
        sources.append(replace(source, place=str(folder.relative_to(root)), archive=archive))
    return tuple(sources)


def _subject_source(
    source_of: Callable[[Label], Source],
    folders_of: Callable[[Path], dict[Any, Path]] = lambda root: {},
) -> Callable[[Path, int], tuple[Source, ...]]:
    """The source of a subject, placed in the folder that the subject has here, if any."""

    def sources(root: Path, subject: int) -> tuple[Source, ...]:
        source, folder = source_of(subject), folders_of(root).get(subject)
        return (replace(source, place=str(folder.relative_to(root))) if folder else source,)

    return sources


DOWNLOADS = Downloads(
    subjects=layout.PUBLISHED_SUBJECTS,
    forms={
        "gifford": Form(
            "preprocessed by the authors, 17 channels, 100 Hz, and the images: the smallest download",
            _image_sources,
            _subject_source(
                partial(layout.release_source, "gifford"), partial(release_folders, form="gifford")
            ),
        ),
        "raw": Form(
            "as recorded, 63 channels, 1000 Hz, and the images",
            _image_sources,
            _subject_source(layout.raw_source, layout.raw_subjects),
        ),
        "bids": Form(
            "as recorded, in BIDS, and the images",
            _image_sources,
            _subject_source(layout.bids_source),
        ),
        "images": Form("the images and their list alone", _image_sources),
    },
    elsewhere={form: layout.release_source(form, 1).url for form in ("nice", "ubp", "neurobridge")},
)


IMAGE_HEADS = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"BM", b"GIF8")


# -- what is found, missing or broken ------------------------------------------------------------------------


def _image_rows(root: Path, read: bool) -> tuple[pd.DataFrame | None, list[Row]]:
    """The image table, if its file is whole, and the rows of that file and of the images."""
    listed, *archives = _image_sources(root)
    path, images = root / listed.place, None

    def counts() -> str:
        nonlocal images
        images = layout.read_images(path)
        n = images["split"].value_counts()
        published = read and file_sha256(path) == layout.METADATA_SHA256
        counts = f"{n['train']} training and {n['test']} test images"
        return f"{counts}, as published" if published else counts

    rows = [file_row("image list", path, listed, counts)]
    for split, source in zip(layout.SPLIT_FOLDERS, archives, strict=True):
        what, folder = f"{split} images", root / source.place
        if images is None:
            detail = "not known without the image list"
            rows.append(state_row(what, folder, source, MISSING, detail, needed=False))
            continue
        names = images_by_number(images, split)["file"]
        files = [partial(layout.image_file, root, split, name) for name in names]
        rows.append(images_row(what, folder, source, files, heads=IMAGE_HEADS if read else ()))
    for source in archives:  # cut off by the download
        path = root / source.file
        if path.is_file() and path.stat().st_size != source.size:
            detail = f"{path.stat().st_size} bytes instead of {source.size}: not whole; download it again"
            rows.append(state_row(path.name, path, source, BROKEN, detail, [path]))
    return images, rows


def _raw_rows(
    dataset: ThingsEEG, subject: Label, images: pd.DataFrame | None, n_sessions: int, read: bool
) -> list[Row]:
    root = dataset.root
    folder = layout.raw_subjects(root).get(subject, root / "Raw_data" / f"sub-{subject:02d}")
    last = max([*layout.numbered_folders(folder, "ses"), n_sessions])
    source = described(layout.raw_source(subject))
    if not folder.is_dir():
        source += f"; smaller, preprocessed: {described(layout.release_source('gifford', subject))}"
    # the other part of a session is another file, so there is nothing to whiten with
    spec = (dataset.spec or TrialSpec()).model_copy(update={"whitening": "none"})
    channels: ChannelSet | None = None
    whole: list[Path] = []

    def content(file: layout.RawFile) -> str:
        nonlocal channels
        n_images = 99998 if images is None else int((images["split"] == file.split).sum())
        raw = read_raw_session(file.path, channels)
        channels = channels or ChannelSet(str(file.path), raw.ch_names)
        recording = to_recording(raw, file, subject, n_images)
        check_session([recording], spec)
        check_copies(((path, path) for path in (*whole, file.path)), dataset.hashes)
        whole.append(file.path)
        numbers = recording.numbers
        return (
            f"{len(raw.ch_names)} channels, {raw.data.shape[1]} samples at {raw.sfreq:g} Hz, "
            f"{len(numbers)} trials of {len(set(numbers.tolist()))} images, "
            f"{len(raw.codes) - len(numbers)} targets"
        )

    rows = []
    for session in range(1, last + 1):
        for file in layout.session_files(folder, session):
            what = f"raw EEG, subject {subject}, session {session}, {file.split}"
            rows.append(file_row(what, file.path, source, partial(content, file) if read else None))
    return rows


def _release_rows(
    root: Path, form: str, subject: Label, images: pd.DataFrame | None, read: bool
) -> list[Row]:
    source, what = layout.release_source(form, subject), f"form {form!r}, subject {subject}"
    try:
        files = release_files(form, root, subject)
    except MissingDataError as error:
        return [state_row(what, release_folders(root, form)[subject], source, **fault(error))]

    def content(split: str) -> str:
        assert images is not None
        released = read_release(form, split, files, images)
        n_images, repetitions, chans, times = released.data.shape
        return (
            f"{n_images} images x {repetitions} repetitions, {chans} channels, {times} samples at "
            f"{released.sfreq:g} Hz, {released.normalization}"
        )

    def row(split: str, path: Path) -> Row:
        whole = partial(content, split) if read and images is not None else None
        return file_row(f"{what}, {split}", path, source, whole)

    return list(map(row, ("train", "test"), files))

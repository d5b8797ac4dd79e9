"""Which files of THINGS-EEG2 are here, what is in them, and which are missing or broken."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...config import TrialSpec
from ...errors import MissingDataError
from ...files import file_sha256
from ...labels import Label
from ...preprocessing.channels import ChannelSet
from ..base import images_by_number
from ..bids.check import things_rows
from ..bids.things import image_reader, recorded_parts, things_bids_sessions, things_bids_subjects
from ..inventory import BROKEN, described, fault, images_row, row
from ..usable_trials import check_session
from .files import (
    IMAGE_FOLDERS,
    IMAGE_SOURCES,
    METADATA_SHA256,
    PUBLISHED_SESSIONS,
    PUBLISHED_SUBJECTS,
    PUBLISHED_TRAINING_IMAGES,
    SPLIT_FOLDERS,
    RawFile,
    image_file,
    metadata_file,
    numbered_folders,
    raw_source,
    raw_subjects,
    read_images,
    release_source,
    session_files,
)
from .preprocessed import FORMS, read_release, release_files, release_folders
from .raw import read_raw_session, to_recording

if TYPE_CHECKING:
    from .dataset import ThingsEEG

_IMAGE_HEADS = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"BM", b"GIF8")


def inventory(
    dataset: ThingsEEG, subjects: Iterable[Label] | None, read: bool
) -> list[dict[str, Any]]:
    """The rows of :meth:`.ImageDataset.inventory`; subjects: those here, else the published ten."""
    images, rows = _image_rows(dataset.root, read)
    reduced = images is not None and (images["split"] == "train").sum() < PUBLISHED_TRAINING_IMAGES
    here = dataset.present_subjects
    usual = here if read or (reduced and here) else PUBLISHED_SUBJECTS
    for subject in map(dataset.check_subject, usual if subjects is None else subjects):
        forms = [form for form in FORMS if subject in release_folders(dataset.root, form)]
        in_bids = subject in things_bids_subjects(dataset.root)
        if subject in raw_subjects(dataset.root) or not (forms or in_bids):
            rows += _raw_rows(dataset, subject, images, reduced, read)
        for form in forms:
            rows += _release_rows(dataset.root, form, subject, images, read)
        if in_bids:
            rows += _bids_rows(dataset, subject, images, read)
    return rows


def _image_rows(root: Path, read: bool) -> tuple[pd.DataFrame | None, list[dict[str, Any]]]:
    """The image table, if its file is whole, and the rows of that file and of the images."""
    try:
        path = metadata_file(root)
    except MissingDataError:
        path = root / IMAGE_FOLDERS[0] / "image_metadata.npy"
    images = None

    def counts() -> str:
        nonlocal images
        images = read_images(path)
        n = images["split"].value_counts()
        published = read and file_sha256(path) == METADATA_SHA256
        return f"{n['train']} training and {n['test']} test images" + (
            ", as published" if published else ""
        )

    listed, *archives = IMAGE_SOURCES
    rows = [row("image list", path, listed, counts)]
    for split, source in zip(SPLIT_FOLDERS, archives, strict=True):
        what, folder = f"{split} images", root / source.place
        if images is None:
            unknown = row(what, folder, source, needed=False)
            rows.append(unknown | {"detail": "not known without the image list"})
            continue
        files = [
            partial(image_file, root, split, f) for f in images_by_number(images, split)["file"]
        ]
        rows.append(images_row(what, folder, source, files, *[_looks_like_image] * read))
    for source in archives:  # cut off by the download
        path = root / source.file
        if path.is_file() and path.stat().st_size != source.size:
            detail = f"{path.stat().st_size} bytes instead of {source.size}: not whole; download it again"
            rows.append(row(path.name, path, source) | {"state": BROKEN, "detail": detail})
    return images, rows


def _looks_like_image(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8).startswith(_IMAGE_HEADS)


def _raw_rows(
    dataset: ThingsEEG, subject: Label, images: pd.DataFrame | None, reduced: bool, read: bool
) -> list[dict[str, Any]]:
    root = dataset.root
    folder = raw_subjects(root).get(subject, root / "Raw_data" / f"sub-{subject:02d}")
    last = max([*numbered_folders(folder, "ses"), 1 if reduced else PUBLISHED_SESSIONS])
    source = described(raw_source(subject))
    if not folder.is_dir():
        source += f"; smaller, preprocessed: {described(release_source('gifford', subject))}"
    # the other part of a session is another file, so there is nothing to whiten with
    spec = (dataset.spec or TrialSpec()).model_copy(update={"whitening": "none"})
    channels: ChannelSet | None = None

    def content(file: RawFile) -> str:
        nonlocal channels
        n_images = 99998 if images is None else int((images["split"] == file.split).sum())
        raw = read_raw_session(file.path, channels)
        channels = channels or ChannelSet(str(file.path), raw.ch_names)
        recording = to_recording(raw, file, subject, n_images)
        check_session([recording], spec)
        numbers = recording.numbers
        return (
            f"{len(raw.ch_names)} channels, {raw.data.shape[1]} samples at {raw.sfreq:g} Hz, "
            f"{len(numbers)} trials of {len(set(numbers.tolist()))} images, "
            f"{len(raw.codes) - len(numbers)} targets"
        )

    return [
        row(
            f"raw EEG, subject {subject}, session {session}, {file.split}",
            file.path,
            source,
            partial(content, file) if read else None,
        )
        for session in range(1, last + 1)
        for file in session_files(folder, session)
    ]


def _release_rows(
    root: Path, form: str, subject: Label, images: pd.DataFrame | None, read: bool
) -> list[dict[str, Any]]:
    source, what = release_source(form, subject), f"form {form!r}, subject {subject}"
    try:
        files = release_files(form, root, subject)
    except MissingDataError as error:
        return [row(what, release_folders(root, form)[subject], source) | fault(error)]

    def content(split: str) -> str:
        assert images is not None
        released = read_release(form, split, files, images)
        n_images, repetitions, chans, times = released.data.shape
        return (
            f"{n_images} images x {repetitions} repetitions, {chans} channels, {times} samples at "
            f"{released.sfreq:g} Hz, {released.normalization}"
        )

    return [
        row(
            f"{what}, {split}",
            path,
            source,
            partial(content, split) if read and images is not None else None,
        )
        for split, path in zip(("train", "test"), files, strict=False)
    ]


def _bids_rows(
    dataset: ThingsEEG, subject: Label, images: pd.DataFrame | None, read: bool
) -> list[dict[str, Any]]:
    root, spec = dataset.root, dataset.spec or TrialSpec()
    n_images = 0 if images is None else int((images["split"] == "train").sum())
    sessions = partial(things_bids_sessions, root, subject, n_images, dataset.choice)
    readers, parts = {}, None
    if images is not None:
        readers = {split: image_reader(split, images) for split in SPLIT_FOLDERS}
        parts = partial(
            recorded_parts, subject=subject, images=images, bad_channels=spec.bad_channels
        )
    folder = things_bids_subjects(root)[subject]
    return things_rows(subject, sessions, readers, folder, read, spec, parts)

"""Which files of THINGS-EEG2 are here, which are missing or broken, and where they can be had."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...config import TrialSpec
from ...errors import DataError, MissingDataError, SSRError
from ...files import file_sha256, gigabytes
from ...labels import Label
from ...preprocessing.channels import ChannelSet
from ..base import images_by_number
from ..bids.things import image_reader, recorded_parts, things_bids_sessions, things_bids_subjects
from ..download import Source
from ..usable_trials import check_session
from .files import (
    IMAGE_FOLDERS,
    IMAGE_SOURCES,
    METADATA_SHA256,
    PUBLISHED_SESSIONS,
    PUBLISHED_SUBJECTS,
    PUBLISHED_TRAINING_IMAGES,
    SPLIT_FOLDERS,
    image_file,
    metadata_file,
    numbered_folders,
    raw_source,
    raw_subjects,
    read_images,
    release_source,
    session_files,
)
from .preprocessed import FORMS, release_files, release_folders
from .raw import raw_recording

if TYPE_CHECKING:
    from .dataset import ThingsEEG

FOUND, MISSING, BROKEN = "found", "missing", "broken"
_IMAGE_HEADS = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"BM", b"GIF8")


@dataclass(frozen=True)
class FileReport:
    """What is known of a file, or of a folder of images.

    Parameters
    ----------
    state : {"found", "missing", "broken"}
        ``where`` only looks whether it is there; ``check`` reads it.
    what : str
        What it is.
    path : Path
        Where it is, or is looked for first.
    size : int
        Bytes that are here.
    detail : str
        What was found in it, or what is wrong with it.
    source : str
        Where it can be had: address, size where known, licence.
    needed : bool
        False for image files: features can be imported instead.
    """

    state: str
    what: str
    path: Path
    size: int
    detail: str
    source: str
    needed: bool = True


def where(dataset: ThingsEEG, subjects: Iterable[Label] | None = None) -> list[FileReport]:
    """Every file that is looked for, whether it is there, and where it can be had.

    Parameters
    ----------
    dataset : ThingsEEG
    subjects : iterable of int, optional
        None: the ten published ones, or in a reduced set those that are here.

    Returns
    -------
    list of FileReport
        Nothing is read but the image list.
    """
    return _reports(dataset, subjects, deep=False)


def check(dataset: ThingsEEG, subjects: Iterable[Label] | None = None) -> list[FileReport]:
    """Read every file and say what is in it; a file that is missing or broken does not end the check.

    Parameters
    ----------
    dataset : ThingsEEG
    subjects : iterable of int, optional
        None: those that are here.

    Returns
    -------
    list of FileReport
    """
    return _reports(dataset, subjects, deep=True)


def as_rows(reports: Iterable[FileReport]) -> list[dict[str, Any]]:
    """The reports as flat dicts, for a table or JSON."""
    return [{**asdict(report), "path": str(report.path)} for report in reports]


def is_whole(reports: Iterable[FileReport]) -> bool:
    """Whether nothing is broken and nothing that is needed is missing."""
    return all(
        report.state == FOUND or (report.state == MISSING and not report.needed)
        for report in reports
    )


def _reports(dataset: ThingsEEG, subjects: Iterable[Label] | None, deep: bool) -> list[FileReport]:
    root = dataset.root
    reports = [_image_list(root, deep)]
    images = None if reports[0].state != FOUND else _images_or_none(dataset)
    reports += [_images(root, images, split, deep) for split in SPLIT_FOLDERS]
    reports += _archives(root)
    reduced = images is not None and (images["split"] == "train").sum() < PUBLISHED_TRAINING_IMAGES
    here = dataset.present_subjects
    usual = here if deep or (reduced and here) else PUBLISHED_SUBJECTS
    for subject in usual if subjects is None else subjects:
        reports += _subject(dataset, dataset.check_subject(subject), images, reduced, deep)
    return reports


def _subject(
    dataset: ThingsEEG, subject: Label, images: pd.DataFrame | None, reduced: bool, deep: bool
) -> list[FileReport]:
    """The raw files of a subject, and those of the released forms and of BIDS that are here."""
    root = dataset.root
    forms = [form for form in FORMS if subject in release_folders(root, form)]
    in_bids = subject in things_bids_subjects(root)
    reports = []
    if subject in raw_subjects(root) or not (forms or in_bids):
        reports += _raw(root, subject, images, reduced, deep, dataset.asked or TrialSpec())
    for form in forms:
        reports += _released(root, form, subject, images, deep)
    if in_bids:
        reports += _bids(dataset, subject, images, deep)
    return reports


def _bids(
    dataset: ThingsEEG, subject: Label, images: pd.DataFrame | None, deep: bool
) -> list[FileReport]:
    from ..bids.check import things_rows

    root, spec = dataset.root, dataset.asked or TrialSpec()
    n_images = 0 if images is None else int((images["split"] == "train").sum())
    sessions = partial(things_bids_sessions, root, subject, n_images, dataset.choice)
    known = () if images is None else SPLIT_FOLDERS
    readers = {split: image_reader(split, images) for split in known}
    parts = None
    if images is not None:
        parts = partial(
            recorded_parts, subject=subject, images=images, bad_channels=spec.bad_channels
        )
    folder = things_bids_subjects(root)[subject]
    rows = things_rows(subject, sessions, readers, folder, deep, spec, parts)
    return [FileReport(**{**row, "path": Path(row["path"])}) for row in rows]


def _raw(
    root: Path,
    subject: Label,
    images: pd.DataFrame | None,
    reduced: bool,
    deep: bool,
    spec: TrialSpec,
) -> list[FileReport]:
    folder = raw_subjects(root).get(subject, root / "Raw_data" / f"sub-{subject:02d}")
    last = max([*numbered_folders(folder, "ses"), 1 if reduced else PUBLISHED_SESSIONS])
    source, reports = _say(raw_source(subject)), []
    like: list[ChannelSet] = []
    if not folder.is_dir():
        source += f"; smaller, preprocessed: {_say(release_source('gifford', subject))}"
    for session in range(1, last + 1):
        files = session_files(folder, session)
        for split, path in (("train", files.train), ("test", files.test)):
            what = f"raw EEG, subject {subject}, session {session}, {split}"
            look = _reader(path, split, images, session, like, spec) if deep else None
            reports.append(_report(what, path, source, look))
    return reports


def _reader(
    path: Path,
    split: str,
    images: pd.DataFrame | None,
    session: int,
    like: list[ChannelSet],
    spec: TrialSpec,
) -> Callable[[], str]:
    def read() -> str:
        n_images = int((images["split"] == split).sum()) if images is not None else 99998
        raw, found = raw_recording(path, 0, session, split, n_images, like)
        check_session(
            [found], spec.model_copy(update={"whitening": "none"})
        )  # the other part is a file
        return (
            f"{len(raw.ch_names)} channels, {raw.data.shape[1]} samples at {raw.sfreq:g} Hz, "
            f"{len(found.numbers)} trials of {len(set(found.numbers.tolist()))} images, "
            f"{len(raw.codes) - len(found.numbers)} targets"
        )

    return read


def _released(
    root: Path, form: str, subject: Label, images: pd.DataFrame | None, deep: bool
) -> list[FileReport]:
    source = _say(release_source(form, subject))
    try:
        files = release_files(form, root, subject)
    except MissingDataError as error:
        folder = release_folders(root, form)[subject]
        what = f"form {form!r}, subject {subject}"
        return [FileReport(MISSING, what, folder, 0, error.found, source)]
    reports = []
    for split, path in zip(("train", "test"), files, strict=False):
        look = None if not deep or images is None else _release_reader(form, split, files, images)
        reports.append(_report(f"form {form!r}, subject {subject}, {split}", path, source, look))
    return reports


def _release_reader(
    form: str, split: str, files: list[Path], images: pd.DataFrame
) -> Callable[[], str]:
    from .preprocessed import read_release

    def read() -> str:
        released = read_release(form, split, files, images)
        n_images, repetitions, chans, times = released.data.shape
        return (
            f"{n_images} images x {repetitions} repetitions, {chans} channels, {times} samples at "
            f"{released.sfreq:g} Hz, {released.normalisation}"
        )

    return read


def _image_list(root: Path, deep: bool) -> FileReport:
    try:
        path = metadata_file(root)
    except MissingDataError:
        path = root / IMAGE_FOLDERS[0] / "image_metadata.npy"

    def read() -> str:
        counts = read_images(path)["split"].value_counts()
        published = deep and file_sha256(path) == METADATA_SHA256
        origin = ", as published" if published else ""
        return f"{counts['train']} training and {counts['test']} test images{origin}"

    return _report("image list", path, _say(IMAGE_SOURCES[0]), read)


def _images(root: Path, images: pd.DataFrame | None, split: str, deep: bool) -> FileReport:
    source = _say(IMAGE_SOURCES[1 if split == "train" else 2])
    folder, what = root / IMAGE_FOLDERS[0] / SPLIT_FOLDERS[split][0], f"{split} images"
    if images is None:
        return FileReport(
            MISSING, what, folder, 0, "not known without the image list", source, False
        )
    files = images_by_number(images, split)["file"]
    size, missing, broken = 0, [], []
    for file in files:
        try:
            path = image_file(root, split, file)
        except MissingDataError as error:
            missing.append(error.expected.removeprefix("the image "))
            continue
        size += path.stat().st_size
        folder = path.parent.parent
        if deep and not _looks_like_image(path):
            broken.append(str(path))
    detail = f"{len(files) - len(missing)} of {len(files)} here"
    if missing:
        detail += f", not {missing[0]} (needed unless features are imported)"
    if broken:
        detail += f"; {len(broken)} are no images, the first {broken[0]}"
    state = BROKEN if broken else MISSING if missing else FOUND
    return FileReport(state, what, folder, size, detail, source, needed=False)


def _looks_like_image(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8).startswith(_IMAGE_HEADS)


def _archives(root: Path) -> list[FileReport]:
    """Image archives that are here: cut off by the download, or not unpacked."""
    reports = []
    for source in IMAGE_SOURCES[1:]:
        path = root / source.file
        if path.is_file() and path.stat().st_size != source.size:
            found = (
                f"{path.stat().st_size} bytes instead of {source.size}: not whole; load it again"
            )
            reports.append(
                FileReport(BROKEN, path.name, path, path.stat().st_size, found, _say(source))
            )
    return reports


def _images_or_none(dataset: ThingsEEG) -> pd.DataFrame | None:
    try:
        return dataset.images
    except SSRError:
        return None


def _report(what: str, path: Path, source: str, look: Callable[[], str] | None) -> FileReport:
    """Found, missing or broken; ``look`` reads the file and says what is in it."""
    if not path.is_file():
        return FileReport(MISSING, what, path, 0, "no such file", source)
    size = path.stat().st_size
    if size == 0:
        return FileReport(BROKEN, what, path, size, "an empty file", source)
    try:
        return FileReport(FOUND, what, path, size, look() if look else "", source)
    except MissingDataError as error:
        return FileReport(MISSING, what, path, size, error.found, source)
    except (DataError, SSRError) as error:
        return FileReport(BROKEN, what, path, size, error.message, source)


def _say(source: Source) -> str:
    about = "" if source.size else "about "
    size = f", {about}{gigabytes(source.bytes)}" if source.bytes else ""
    if source.archive:
        size += f", {gigabytes(source.on_disk)} unpacked"
    return f"{source.url} ({source.what}{size}; {source.licence}) -> {source.place}"

"""Where the files of THINGS-MEG lie: parts of split fif files, sample attributes, images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import DataError, MissingDataError
from .things_meg_fif import read_tags

FOLDERS = ("things-meg", "ds004212")
"""Names of the folder of the dataset inside a data directory."""
PUBLISHED_SUBJECTS = (1, 2, 3, 4)
TRIAL_FOLDERS = ("derivatives/preprocessed", "")
ATTRIBUTE_FOLDERS = ("sourcedata", "derivatives/preprocessed", "")
IMAGE_FOLDERS = ("object_images", "images/object_images", "image_set/object_images")
EEG_IMAGE_FOLDERS = tuple(
    f"{base}{name}"
    for base in ("image_set/", "images/", "")
    for name in ("training_images", "train_images", "test_images")
)
HOW = (
    "'ssr-bd data fetch things-meg --subject N' brings what can be fetched; "
    "'ssr-bd data where things-meg' lists files, sources and sizes"
)
KEEP_NAMES = "the parts must keep the names that they were published with"


def dataset_folder(root: Path) -> Path:
    """The folder of the dataset: the one given, or the folder ``things-meg`` or ``ds004212`` in it."""
    if subject_files(root) or (root / IMAGE_FOLDERS[0]).is_dir():
        return root
    inside = [root / name for name in FOLDERS if (root / name).is_dir()]
    return inside[0] if inside else root


def subject_files(root: Path) -> dict[int, Path]:
    """The first part of each subject whose trials are here, by number."""
    found: dict[int, Path] = {}
    for name in TRIAL_FOLDERS:
        folder = root / name
        for path in sorted(folder.glob("preprocessed_P*-epo.fif")) if folder.is_dir() else ():
            if match := re.fullmatch(r"preprocessed_P0*(\d+)-epo\.fif", path.name):
                found.setdefault(int(match[1]), path)
    return dict(sorted(found.items()))


def first_part(root: Path, subject: int) -> Path:
    """The file ``preprocessed_P<subject>-epo.fif``.

    Raises
    ------
    MissingDataError
        If it is not here; names every path that was looked for, and what is there under other names.
    """
    here = subject_files(root)
    if subject in here:
        return here[subject]
    name = f"preprocessed_P{subject}-epo.fif"
    looked = [root / folder / name for folder in TRIAL_FOLDERS]
    beside = sorted(
        path.name
        for folder in {path.parent for path in looked}
        for path in (folder.glob(f"*P{subject}*.fif*") if folder.is_dir() else ())
    )
    found = f"nothing there, but {', '.join(beside[:6])}: {KEEP_NAMES}" if beside else "nothing"
    raise MissingDataError(
        f"the MEG trials of subject {subject} at {looked[0]} or {looked[1]}",
        f"{found} there" if found == "nothing" else found,
        f"put the four parts there (8.25 GB), or give their folder with --data-dir; {HOW}",
    )


def subject_parts(root: Path, subject: int) -> list[Path]:
    """All parts of a subject in order, each read as far as needed to know that it is whole.

    Raises
    ------
    MissingDataError
        If a part is not here; says which, and which are.
    DataError
        If a part is no fif file, is cut off, or names itself or an earlier part as the next.
    """
    parts = [first_part(root, subject)]
    while name := read_tags(parts[-1]).next_part:
        path = parts[-1].parent / Path(name).name
        if path in parts:
            found = f"{parts[-1].name}, which is followed by {path.name}"
            raise DataError(f"parts in a row from {parts[0]}", found, KEEP_NAMES)
        if not path.is_file():
            raise _missing_part(path, parts)
        parts.append(path)
    return parts


def attributes_file(root: Path, subject: int) -> Path | None:
    """The file ``sample_attributes_P<subject>.csv``, if it is here."""
    paths = (root / folder / f"sample_attributes_P{subject}.csv" for folder in ATTRIBUTE_FOLDERS)
    return next((path for path in paths if path.is_file()), None)


def attribute_files(root: Path) -> Iterator[Path]:
    """The sample attributes that are here, in the order of subjects."""
    for subject in sorted({*PUBLISHED_SUBJECTS, *subject_files(root)}):
        if path := attributes_file(root, subject):
            yield path


def image_file(root: Path, file: str) -> Path:
    """The file of an image, ``file`` being its path below ``object_images``.

    Raises
    ------
    MissingDataError
        If it is not here; names the path, and says so where only the image set of THINGS-EEG2 is here.
    """
    paths = [root / folder / file for folder in IMAGE_FOLDERS]
    for path in paths:
        if path.is_file():
            return path
    there = [path for path in paths if path.parent.parent.is_dir()]
    eeg = [root / folder for folder in EEG_IMAGE_FOLDERS if (root / folder).is_dir()]
    found = "no such file"
    if eeg and not there:
        found = (
            f"only {eeg[0]}, the image set of THINGS-EEG2, which lacks most images of THINGS-MEG"
        )
    raise MissingDataError(
        f"the image {(there or paths)[0]}",
        found,
        "unpack THINGS' object_images (26,107 images in 1,854 folders) into "
        f"{root / IMAGE_FOLDERS[0]}; {HOW}",
    )


def _missing_part(path: Path, parts: list[Path]) -> MissingDataError:
    stem = parts[0].name.removesuffix(".fif")
    others = sorted(other.name for other in path.parent.glob(f"{stem}*.fif") if other not in parts)
    also = f" and, not in this row, {', '.join(others)}" if others else ""
    return MissingDataError(
        f"the part {path}, which {parts[-1].name} names as its next",
        f"only {', '.join(part.name for part in parts)}{also}",
        f"fetch it, or rename it back: {KEEP_NAMES}; {HOW}",
    )

"""Files of THINGS-MEG: where they lie, whether the parts of a split fif file are whole, where to get them."""

from __future__ import annotations

import csv
import re
import struct
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import DataError, MissingDataError
from ...labels import Label
from ..archives import Archive
from ..download import HEAD, Source, wrong_head
from ..fetch import Downloads, Form

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
    "'ssr-bd data fetch things-meg --subject N' downloads what is public; "
    "'ssr-bd data where things-meg' lists all files and their sources"
)
AGAIN = "download it again; 'ssr-bd data check things-meg' reads every part"
KEEP_NAMES = "the parts must keep the names that they were published with"
_TAG = struct.Struct(">4i")  # kind, type, bytes that follow, place of the next tag
_ROLE, _FILE_NAME, _NEXT_FILE = 115, 118, 2


def dataset_folder(root: Path) -> Path:
    """The folder of the dataset: the one given, or the folder ``things-meg`` or ``ds004212`` in it."""
    if subject_files(root) or (root / IMAGE_FOLDERS[0]).is_dir():
        return root
    return next((root / name for name in FOLDERS if (root / name).is_dir()), root)


def subject_files(root: Path) -> dict[Any, Path]:
    """The first part of each subject whose trials are here, by number."""
    found: dict[Any, Path] = {}
    for name in TRIAL_FOLDERS:
        folder = root / name
        for path in sorted(folder.glob("preprocessed_P*-epo.fif")) if folder.is_dir() else ():
            if match := re.fullmatch(r"preprocessed_P0*(\d+)-epo\.fif", path.name):
                found.setdefault(int(match[1]), path)
    return dict(sorted(found.items()))


def first_part(root: Path, subject: Label) -> Path:
    """The file ``preprocessed_P<subject>-epo.fif``; the error names what is there under other names."""
    here = subject_files(root)
    if subject in here:
        return here[subject]
    looked = [root / folder / f"preprocessed_P{subject}-epo.fif" for folder in TRIAL_FOLDERS]
    beside = sorted(
        path.name
        for folder in {path.parent for path in looked}
        for path in (folder.glob(f"*P{subject}*.fif*") if folder.is_dir() else ())
    )
    renamed = f", but {', '.join(beside[:6])}: {KEEP_NAMES}" if beside else ""
    raise MissingDataError(
        f"there are no MEG trials of subject {subject} at {looked[0]} or {looked[1]}{renamed}",
        f"put the four parts there (8.25 GB), or give their folder with --data-dir; {HOW}",
    )


def subject_parts(root: Path, subject: Label) -> list[Path]:
    """All parts of a subject in order, each read as far as needed to know that it is whole."""
    parts = [first_part(root, subject)]
    while name := next_part(parts[-1]):
        path = parts[-1].parent / Path(name).name
        if path in parts:
            raise DataError(
                f"{parts[-1]} names {path.name} as the part that follows, which comes before it",
                KEEP_NAMES,
            )
        if not path.is_file():
            stem = parts[0].name.removesuffix(".fif")
            others = sorted({*path.parent.glob(f"{stem}*.fif")} - {*parts})
            also = f" and, not in this row, {', '.join(p.name for p in others)}" if others else ""
            raise MissingDataError(
                f"the part {path}, which {parts[-1].name} names as the next, is missing; here are only "
                f"{', '.join(part.name for part in parts)}{also}",
                f"download it, or rename it back: {KEEP_NAMES}; {HOW}",
            )
        parts.append(path)
    return parts


def next_part(path: Path) -> str:
    """The part that a fif file names as the next (empty for the last), read from its tags only."""
    size, position, role, following = path.stat().st_size, 0, 0, ""
    with path.open("rb") as file:
        if found := wrong_head(path.name, file.read(HEAD)):
            raise DataError(f"{path} is not a fif file: {found}", AGAIN)
        while position >= 0:
            file.seek(position)
            header, end = file.read(_TAG.size), position + _TAG.size
            if len(header) == _TAG.size:
                kind, _, length, follows = _TAG.unpack(header)
                end += length
            if len(header) < _TAG.size or length < 0 or end > size:
                raise DataError(
                    f"{path} is cut off: it has {size} bytes, and its tags need {end} or more",
                    AGAIN,
                )
            if kind == _ROLE:
                role = int.from_bytes(file.read(4), "big")
            elif kind == _FILE_NAME and role == _NEXT_FILE:
                following = file.read(length).decode("latin-1").rstrip("\0")
            position = end if follows == 0 else follows if follows > position else -1
    return following


def attributes_file(root: Path, subject: Label) -> Path | None:
    """The file ``sample_attributes_P<subject>.csv``, if it is here."""
    paths = (root / folder / f"sample_attributes_P{subject}.csv" for folder in ATTRIBUTE_FOLDERS)
    return next((path for path in paths if path.is_file()), None)


def image_file(root: Path, file: str) -> Path:
    """The file of an image, ``file`` being its path below ``object_images``."""
    paths = [root / folder / file for folder in IMAGE_FOLDERS]
    for path in paths:
        if path.is_file():
            return path
    usual = next((path for path in paths if path.parent.parent.is_dir()), None)
    eeg = next((root / name for name in EEG_IMAGE_FOLDERS if (root / name).is_dir()), None)
    only = ""
    if eeg and not usual:
        only = f", only {eeg}, the image set of THINGS-EEG2, which lacks most images of THINGS-MEG"
    raise MissingDataError(
        f"there is no image {usual or paths[0]}{only}",
        "unpack THINGS' object_images (26,107 images in 1,854 folders) into "
        f"{root / IMAGE_FOLDERS[0]}; {HOW}",
    )


# -- where to get the files ----------------------------------------------------------------------------------

S3 = "https://s3.amazonaws.com/openneuro.org/ds004212"
OBJECT_IMAGES = Source(
    what="THINGS images, all 26,107",
    place="object_images",
    urls=("https://files.osf.io/v1/resources/jum2f/providers/osfstorage/670d6f7dbce84f4a7bb9371b",),
    size=0,
    licence="research use only, not to be redistributed; the owners keep their copyright",
    about=12_000_000_000,
    archive=Archive(
        place="images_THINGS.zip",
        keep=2,
        count=26107,
        unpacked=12_000_000_000,
        password="https://osf.io/52wrx (password_images.txt of https://osf.io/jum2f)",
    ),
)


@cache
def meg_sources(subject: Label) -> tuple[Source, ...]:
    """The four parts of a subject's epochs, first part first, and the table of trials; empty beyond 4."""
    names = (f"preprocessed_P{subject}-epo", f"sample_attributes_P{subject}.")
    with Path(__file__).with_name("files.csv").open(encoding="utf-8", newline="") as table:
        rows = [row for row in csv.DictReader(table) if Path(row["place"]).name.startswith(names)]
    return tuple(
        Source(
            what=f"{'table of trials' if row['place'].endswith('.csv') else 'preprocessed MEG'} of subject "
            f"{subject}, {PurePosixPath(row['place']).name}",
            place=row["place"],
            urls=(f"{S3}/{row['place']}?versionId={row['version']}",),
            size=int(row["size"]),
            licence="CC0",
            sha256=row["sha256"],
        )
        for row in rows
    )


def _subject_sources(root: Path, subject: Label) -> tuple[Source, ...]:
    """The files of a subject; directly below ``root`` where one of them lies there."""
    sources = meg_sources(subject)
    names = [PurePosixPath(source.place).name for source in sources]
    if not any((root / name).is_file() for name in names):
        return sources
    return tuple(
        source if (root / source.place).is_file() else replace(source, place=name)
        for source, name in zip(sources, names, strict=True)
    )


DOWNLOADS = Downloads(
    subjects=PUBLISHED_SUBJECTS,
    forms={
        "preprocessed": Form(
            "preprocessed by the authors, 271 sensors, 200 Hz", of_subject=_subject_sources
        ),
        "images": Form(
            "all THINGS images, behind a password", lambda root: (OBJECT_IMAGES,), by_subject=False
        ),
    },
)

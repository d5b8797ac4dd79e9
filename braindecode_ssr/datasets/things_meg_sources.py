"""Where the files of THINGS-MEG can be had: OpenNeuro ds004212 version 2.0.1, addresses, sizes, checksums.

``things_meg_files.csv`` holds the version id on S3, the size and the SHA-256 of every file, as they stand in
the dataset's git-annex. The images are the whole THINGS image set; it is protected by a password that THINGS
tells those who accept its terms.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath

from ..download.source import Archive, Source
from .offer import Form, Offer

SUBJECTS = (1, 2, 3, 4)
LICENCE = "CC0"
IMAGE_LICENCE = "research use only, not to be redistributed; the owners keep their copyright"
S3 = "https://s3.amazonaws.com/openneuro.org/ds004212"

OBJECT_IMAGES = Source(
    what="THINGS images, all 26,107",
    place="object_images",
    urls=("https://files.osf.io/v1/resources/jum2f/providers/osfstorage/670d6f7dbce84f4a7bb9371b",),
    size=0,
    licence=IMAGE_LICENCE,
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
def meg_sources(subject: int) -> tuple[Source, ...]:
    """The four parts of a subject's epochs, first part first, and the table of its trials.

    Parameters
    ----------
    subject : int
        1 to 4; for any other there is nothing.
    """
    parts = (f"preprocessed_P{subject}-epo", f"sample_attributes_P{subject}.")
    table = Path(__file__).with_name("things_meg_files.csv")
    with table.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if Path(row["place"]).name.startswith(parts)]
    return tuple(_source(subject, **row) for row in rows)


def _source(subject: int, place: str, version: str, size: str, sha256: str) -> Source:
    what = "table of trials" if place.endswith(".csv") else "preprocessed MEG"
    return Source(
        what=f"{what} of subject {subject}, {PurePosixPath(place).name}",
        place=place,
        urls=(f"{S3}/{place}?versionId={version}",),
        size=int(size),
        licence=LICENCE,
        sha256=sha256,
    )


def _subject(root: Path, subject: int) -> tuple[Source, ...]:
    """The files of a subject; directly below ``root`` where one of them lies there."""
    sources = meg_sources(subject)
    names = [PurePosixPath(source.place).name for source in sources]
    if not any((root / name).is_file() for name in names):
        return sources
    pairs = zip(sources, names, strict=True)
    return tuple(
        source if (root / source.place).is_file() else replace(source, place=name)
        for source, name in pairs
    )


def _images(root: Path) -> tuple[Source, ...]:
    return (OBJECT_IMAGES,)


OFFER = Offer(
    subjects=SUBJECTS,
    forms={
        "preprocessed": Form(
            "preprocessed by the authors, 271 sensors, 200 Hz", of_subject=_subject
        ),
        "images": Form("all THINGS images, behind a password", _images, by_subject=False),
    },
)

"""The forms in which THINGS-EEG2 can be fetched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..download.source import Source
from ..errors import SSRError
from .offer import Form, Offer
from .things_layout import (
    PUBLISHED_SUBJECTS,
    image_folders,
    metadata_file,
    raw_subjects,
)
from .things_sources import IMAGE_SOURCES, bids_source, raw_source, release_source


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
    return replace(
        source, place=place, archive=replace(source.archive, names=_image_names(root, split))
    )


def _image_names(root: Path, split: str) -> tuple[str, ...]:
    from .base import images_by_number
    from .things_eeg import read_images

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


def _gifford(root: Path, subject: int) -> tuple[Source, ...]:
    from .released_files import release_folders

    return (
        _where_it_is(
            root, release_source("gifford", subject), release_folders(root, "gifford"), subject
        ),
    )


def _raw(root: Path, subject: int) -> tuple[Source, ...]:
    return (_where_it_is(root, raw_source(subject), raw_subjects(root), subject),)


def _bids(root: Path, subject: int) -> tuple[Source, ...]:
    return (bids_source(subject),)


def _where_it_is(root: Path, source: Source, folders: dict[int, Path], subject: int) -> Source:
    """Under the name that the folder of the subject has here, if there is one."""
    if subject not in folders:
        return source
    return replace(source, place=str(folders[subject].relative_to(root)))


OFFER = Offer(
    subjects=PUBLISHED_SUBJECTS,
    forms={
        "gifford": Form(
            "preprocessed by the authors, 17 channels, 100 Hz, and the images: the shortest road",
            _image_sources,
            _gifford,
        ),
        "raw": Form("as recorded, 63 channels, 1000 Hz, and the images", _image_sources, _raw),
        "bids": Form("as recorded, in BIDS, and the images", _image_sources, _bids),
        "images": Form("the images and their list alone", _image_sources, by_subject=False),
    },
    elsewhere={form: release_source(form, 1).url for form in ("nice", "ubp", "neurobridge")},
)

"""Split fif files of epochs: whether they are whole, and their trials, read a few at a time."""

from __future__ import annotations

import csv
import re
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import DataError, MissingDataError
from ...labels import Label
from ..archives import Archive
from ..download import HEAD, Source, wrong_head
from ..fetch import Downloads, Form

if TYPE_CHECKING:
    import mne


_TAG = struct.Struct(">4i")  # kind, type, bytes that follow, place of the next tag
_ROLE, _FILE_NAME, _NEXT_FILE = 115, 118, 2
AGAIN = "fetch it again; 'ssr-bd data check things-meg' reads every part"


@dataclass(frozen=True)
class FifTags:
    """What a walk through the tags of a fif file tells.

    Parameters
    ----------
    next_part : str
        Name of the file that goes on where this one ends; empty for the last.
    size : int
        Bytes of the file.
    """

    next_part: str
    size: int


def read_tags(path: Path) -> FifTags:
    """Walk from tag to tag to the end of a fif file; data are skipped, so that this takes no time.

    Raises
    ------
    DataError
        If the file is no fif file, or ends before its tags do.
    """
    size, position, role, next_part = path.stat().st_size, 0, 0, ""
    with path.open("rb") as file:
        if found := wrong_head(path.name, file.read(HEAD)):
            raise DataError(f"a fif file at {path}", found, AGAIN)
        while position >= 0:
            file.seek(position)
            header = file.read(_TAG.size)
            if len(header) < _TAG.size:
                raise _cut_off(path, size, position + _TAG.size)
            kind, _, length, follows = _TAG.unpack(header)
            end = position + _TAG.size + length
            if length < 0 or end > size:
                raise _cut_off(path, size, end)
            if kind == _ROLE:
                role = int.from_bytes(file.read(4), "big")
            elif kind == _FILE_NAME and role == _NEXT_FILE:
                next_part = file.read(length).decode("latin-1").rstrip("\0")
            position = end if follows == 0 else follows if follows > position else -1
    return FifTags(next_part, size)


def open_epochs(parts: list[Path]) -> mne.BaseEpochs:
    """The epochs of all parts; the data stay on disk.

    Parameters
    ----------
    parts : list of Path
        As :func:`.things_meg_layout.subject_parts` gives them.

    Raises
    ------
    DataError
        If the parts hold no epochs, or differ in sensors or times.
    """
    import mne

    _check_same_sensors(parts)
    try:
        return mne.read_epochs(parts[0], proj=False, preload=False, verbose="error")
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, IndexError) as error:
        names = ", ".join(part.name for part in parts)
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"epochs in {parts[0].parent}, {names}", text, AGAIN) from error


class EpochTrials:
    """Some trials of epochs on disk, read when a slice of them is asked for.

    Parameters
    ----------
    epochs : mne.BaseEpochs
        Not preloaded.
    rows : ndarray of int, shape (n_trials,)
        Which epochs, in which order.
    picks : ndarray of int, shape (chans,)
        Which channels.
    keep : slice
        Which samples.
    weights : ndarray, shape (chans, chans), optional
        What bad channels are interpolated with; the identity for the others.
    """

    def __init__(
        self,
        epochs: mne.BaseEpochs,
        rows: np.ndarray,
        picks: np.ndarray,
        keep: slice,
        weights: np.ndarray | None = None,
    ) -> None:
        self.epochs, self.rows, self.picks, self.keep = epochs, rows, picks, keep
        self.weights = weights
        self._one_reader = threading.Lock()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Trials, channels, samples."""
        return len(self.rows), len(self.picks), self.keep.stop - self.keep.start

    def __getitem__(self, part: slice) -> np.ndarray:
        """Trials of a slice; float32, shape (n, chans, times).

        Raises
        ------
        DataError
            If they cannot be read.
        """
        rows = self.rows[part]
        trials = np.empty((len(rows), *self.shape[1:]), np.float32)
        with self._one_reader:  # the parts are open files with one place each
            try:
                data = self.epochs.get_data(
                    item=rows, picks=self.picks, copy=False, verbose="error"
                )
            except (OSError, ValueError, RuntimeError) as error:
                expected = f"{len(rows)} trials in {self.epochs.filename}"
                raise DataError(expected, str(error).splitlines()[0], AGAIN) from error
        trials[:] = data[:, :, self.keep]
        if self.weights is not None:
            bad = ~self.weights.diagonal().astype(bool)
            trials[:, bad] = self.weights[bad][:, ~bad].astype(np.float32) @ trials[:, ~bad]
        return trials


def count_epochs(part: Path) -> int:
    """How many epochs one fif file holds."""
    import mne

    return len(mne.read_events(part, verbose="error"))


def sensors(info: mne.Info) -> np.ndarray:
    """Places of the MEG sensors in a recording; reference sensors and all else left out."""
    import mne

    return mne.pick_types(info, meg=True, ref_meg=False, exclude=())


def sensor_names(part: Path) -> list[str]:
    """The MEG sensors of a fif file, in its order.

    Raises
    ------
    DataError
        If its description cannot be read.
    """
    import mne

    try:
        info = mne.io.read_info(part, verbose="error")
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise DataError(f"a description of channels in {part}", str(error), AGAIN) from error
    return [info["ch_names"][index] for index in sensors(info)]


def check_sensors(found: list[str], wanted: list[str], where: str, like: str) -> None:
    """Raise DataError unless two lists of sensors are the same, in the same order."""
    if found == wanted:
        return
    lacks, more = [n for n in wanted if n not in found], [n for n in found if n not in wanted]
    differ = [f"without {', '.join(lacks[:3])}"] if lacks else []
    differ += [f"with {', '.join(more[:3])} besides"] if more else []
    raise DataError(
        f"the {len(wanted)} sensors of {like} in {where}",
        f"{len(found)} {' and '.join(differ) or 'in another order'}",
        "use parts and subjects of one release, or take the same sensors from all: epochs.pick(...)",
    )


def _check_same_sensors(parts: list[Path]) -> None:
    wanted = sensor_names(parts[0])
    for part in parts[1:]:
        check_sensors(sensor_names(part), wanted, part.name, parts[0].name)


def _cut_off(path: Path, size: int, wanted: int) -> DataError:
    found = f"{size} bytes where the file itself speaks of {wanted} or more: it is cut off"
    return DataError(f"a whole fif file at {path}", found, AGAIN)


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


def subject_parts(root: Path, subject: Label) -> list[Path]:
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


def attributes_file(root: Path, subject: Label) -> Path | None:
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
def meg_sources(subject: Label) -> tuple[Source, ...]:
    """The four parts of a subject's epochs, first part first, and the table of its trials.

    Parameters
    ----------
    subject : int
        1 to 4; for any other there is nothing.
    """
    parts = (f"preprocessed_P{subject}-epo", f"sample_attributes_P{subject}.")
    table = Path(__file__).with_name("files.csv")
    with table.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if Path(row["place"]).name.startswith(parts)]
    return tuple(_source(subject, **row) for row in rows)


def _source(subject: Label, place: str, version: str, size: str, sha256: str) -> Source:
    what = "table of trials" if place.endswith(".csv") else "preprocessed MEG"
    return Source(
        what=f"{what} of subject {subject}, {PurePosixPath(place).name}",
        place=place,
        urls=(f"{S3}/{place}?versionId={version}",),
        size=int(size),
        licence=LICENCE,
        sha256=sha256,
    )


def _subject(root: Path, subject: Label) -> tuple[Source, ...]:
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


DOWNLOADS = Downloads(
    subjects=SUBJECTS,
    forms={
        "preprocessed": Form(
            "preprocessed by the authors, 271 sensors, 200 Hz", of_subject=_subject
        ),
        "images": Form("all THINGS images, behind a password", _images, by_subject=False),
    },
)

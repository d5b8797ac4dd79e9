"""Files of THINGS-MEG: where they lie and come from, whether fif parts are whole, and what they show."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from ...errors import DataError, MissingDataError
from ...preprocessing.epochs import running_count
from ...registry import Label
from ..archives import Archive
from ..base import IMAGE_COLUMNS, TRIAL_COLUMNS, check_images
from ..download import Source, read_head, wrong_head
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
    for folder in (root / name for name in TRIAL_FOLDERS):
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
    folders = {path.parent for path in looked if path.parent.is_dir()}
    beside = sorted(path.name for folder in folders for path in folder.glob(f"*P{subject}*.fif*"))
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
            found = f"{parts[-1]} names {path.name} as the next part, which comes before it"
            raise DataError(found, KEEP_NAMES)
        if not path.is_file():
            stem = parts[0].name.removesuffix(".fif")
            others = sorted(p.name for p in {*path.parent.glob(f"{stem}*.fif")} - {*parts})
            also = f" and, outside this chain, {', '.join(others)}" if others else ""
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
    if found := wrong_head(path.name, read_head(path)):
        raise DataError(f"{path} is not a fif file: {found}", AGAIN)
    with path.open("rb") as file:
        while position >= 0:
            file.seek(position)
            header, end = file.read(_TAG.size), position + _TAG.size
            if len(header) == _TAG.size:
                kind, _, length, follows = _TAG.unpack(header)
                end += length
            if len(header) < _TAG.size or length < 0 or end > size:
                wrong = f"{path} is cut off: it has {size} bytes, but its tags need at least {end}"
                raise DataError(wrong, AGAIN)
            if kind == _ROLE:
                role = int.from_bytes(file.read(4), "big")
            elif kind == _FILE_NAME and role == _NEXT_FILE:
                following = file.read(length).decode("latin-1").rstrip("\0")
            position = end if follows == 0 else follows if follows > position else -1
    return following


def attributes_file(root: Path, subject: Label) -> Path | None:
    """The file ``sample_attributes_P<subject>.csv``, if it is here."""
    paths = (root / folder / f"sample_attributes_P{subject}.csv" for folder in ATTRIBUTE_FOLDERS)
    return next(filter(Path.is_file, paths), None)


def image_file(root: Path, file: str) -> Path:
    """The file of an image, ``file`` being its path below ``object_images``."""
    paths = [root / folder / file for folder in IMAGE_FOLDERS]
    if here := next(filter(Path.is_file, paths), None):
        return here
    usual = next((path for path in paths if path.parent.parent.is_dir()), None)
    eeg = next(filter(Path.is_dir, (root / name for name in EEG_IMAGE_FOLDERS)), None)
    only = f", only {eeg}, the image set of THINGS-EEG2, which lacks most images of THINGS-MEG"
    only = only if eeg and not usual else ""
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
    table = pd.read_csv(Path(__file__).with_name("files.csv"))
    rows = table[table["place"].str.rpartition("/")[2].str.startswith(names)].to_dict("records")
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
    sources = {PurePosixPath(source.place).name: source for source in meg_sources(subject)}
    if not any((root / name).is_file() for name in sources):
        return tuple(sources.values())
    return tuple(
        source if (root / source.place).is_file() else replace(source, place=name)
        for name, source in sources.items()
    )


DOWNLOADS = Downloads(
    subjects=PUBLISHED_SUBJECTS,
    forms={
        "preprocessed": Form(
            "preprocessed by the authors, 271 sensors, 200 Hz", of_subject=_subject_sources
        ),
        "images": Form("all THINGS images, behind a password", lambda root: (OBJECT_IMAGES,)),
    },
)


SPLITS = {"exp": "train", "test": "test"}
CATCH = 999999
"""Event code of catch trials."""
NEEDED = ("trial_type", "image_path", "things_image_nr", "session_nr")
PUBLISHED_SESSIONS, PUBLISHED_EXP_IMAGES = 12, 22248
MOST_MISMATCHES = 0.01
"""Share of event codes that may differ from the table, as single trials of the original recordings do."""
PUBLISHED = "use the files of ds004212 version 2.0.1, or its sourcedata/sample_attributes_P*.csv beside them"


def shown_images(metadata: pd.DataFrame, source: str) -> pd.DataFrame:
    """What every trial but catch trials shows, by the columns of ``sample_attributes``, indexed by its place.

    ``split, session, image_id, concept, file, things_image_nr``; ``exp`` trials of test concepts are
    included.
    """
    if missing := [name for name in NEEDED if name not in metadata.columns]:
        there = ", ".join(map(str, metadata.columns)) or "none"
        found = f"the metadata of {source} have no {', '.join(missing)}, only {there}"
        raise DataError(found, PUBLISHED)
    kind = metadata["trial_type"].astype(str).str.strip().str.lower().to_numpy()
    if unknown := sorted(set(kind) - {*SPLITS, "catch"}):
        found = f"{source} has trials of the type {unknown[0]!r}, not only exp, test and catch"
        raise DataError(found, PUBLISHED)
    rows = np.flatnonzero(kind != "catch")
    part, kind = metadata.iloc[rows], kind[rows]
    number = pd.to_numeric(part["things_image_nr"], errors="coerce").to_numpy(float)
    session = pd.to_numeric(part["session_nr"], errors="coerce").to_numpy(float)
    path = part["image_path"].fillna("").astype(str).str.strip().to_numpy()
    empty = np.isnan(number) | (number == CATCH) | (path == "")
    if empty.any():
        first = np.flatnonzero(empty)[0]
        raise DataError(
            f"{int(empty.sum())} trials of {source} show no image but are not marked as catch trials, "
            f"such as trial {rows[first]} of type {kind[first]!r}",
            "remove them, or give them the trial_type catch",
        )
    for first in rows[np.isnan(session)][:1]:
        raise DataError(f"trial {first} of {source} has no session_nr", PUBLISHED)
    names = pd.Series(path, rows).str.extract(r"(?P<file>(?P<stem>[^/\\]+?)(?:\.[^./\\]*)?)$")
    concepts = names["stem"].str.extract(r"^(.+)_\d+[a-z]*$", expand=False)
    if concepts.isna().any():
        raise DataError(
            f"the image file {names['file'][concepts.isna()].iloc[0]!r} in {source} is not named as in "
            "THINGS, such as aardvark_01b.jpg",
            PUBLISHED,
        )
    return pd.DataFrame(
        {
            "split": [SPLITS[name] for name in kind],
            "session": session.astype(int),
            "image_id": concepts + "/" + names["stem"],
            "concept": concepts,
            "file": concepts + "/" + names["file"],
            "things_image_nr": number.astype(int),
        },
        index=rows,
    )


def image_table(shown: pd.DataFrame, source: str) -> pd.DataFrame:
    """The test images and those of concepts that are not tested, numbered from 1 by THINGS image numbers."""
    images = shown.drop_duplicates(["split", "image_id", "things_image_nr"])
    for one, other in (("image_id", "things_image_nr"), ("things_image_nr", "image_id")):
        twice = images[images[one].duplicated(keep=False)]
        if len(twice):
            value = twice[one].iloc[0]
            names = ", ".join(map(str, twice[twice[one] == value][other]))
            found = f"the {one} {value} in {source} has more than one {other} or type: {names}"
            raise DataError(found, PUBLISHED)
    test = images["split"] == "test"
    images = images[test | ~images["concept"].isin(set(images["concept"][test]))]
    images = images.sort_values("things_image_nr", kind="stable")
    images = images.sort_values("split", kind="stable", ascending=False)  # train before test
    for split in {"train", "test"} - set(images["split"]):
        tested = " of concepts that are not tested" if split == "train" else ""
        raise DataError(f"{source} has no trials of {split} images{tested}", PUBLISHED)
    images["number"] = running_count(images["split"]) + 1
    return check_images(images.reset_index(drop=True)[IMAGE_COLUMNS], source)


def trial_table(
    shown: pd.DataFrame, images: pd.DataFrame, subject: Label, source: str
) -> pd.DataFrame:
    """``TRIAL_COLUMNS`` by session, joined with the images by name, without ``exp`` of test concepts."""
    known = images.set_index("image_id")
    tested = set(images["concept"][images["split"] == "test"])
    kept = (shown["split"] == "test") | ~shown["concept"].isin(tested)
    trials = shown[kept].sort_values("session", kind="stable")
    split = known["split"].reindex(trials["image_id"]).to_numpy()
    other = np.flatnonzero(split != trials["split"].to_numpy())
    if len(other):
        first = trials.iloc[other[0]]
        raise DataError(
            f"{len(other)} trials of {source} show images in another split than other subjects saw them "
            f"in, the first {first['image_id']} as {first['split']} image",
            "use subjects of one release",
        )
    sessions = set(trials["session"])
    last = max([*sessions, PUBLISHED_SESSIONS if is_published(images) else 1])
    missing = sorted(set(range(1, last + 1)) - sessions)
    never = sorted(set(images["image_id"]) - set(trials["image_id"]))
    if missing or never:
        problems = [f"no trial of session {', '.join(map(str, missing))}"] if missing else []
        problems += [f"{len(never)} images never shown, the first {never[0]}"] if never else []
        raise DataError(
            f"of {last} sessions and {len(images)} images, {source} has {' and '.join(problems)}",
            "get all parts of the subject, with all their trials",
        )
    train = trials["image_id"][trials["split"] == "train"]
    again = train[train.duplicated()]
    if len(again):
        raise DataError(
            f"{len(again)} trials of type exp in {source} repeat an image that is shown once, the first "
            f"{again.iloc[0]}",
            "use the parts of one subject",
        )
    numbers = known["number"].loc[trials["image_id"]].to_numpy()
    by_split = numbers + (trials["split"] == "test").to_numpy() * (numbers.max() + 1)
    table = trials.assign(subject=subject, number=numbers, repetition=running_count(by_split) + 1)
    return table[TRIAL_COLUMNS]


def check_codes(codes: np.ndarray, shown: pd.DataFrame, source: str) -> list[str]:
    """A note if single event codes differ from THINGS image numbers; DataError if more than 1 in 100."""
    numbers = shown["things_image_nr"].to_numpy()
    difference = np.asarray(codes)[shown.index] - numbers
    wrong = np.flatnonzero(difference)
    if len(wrong) <= MOST_MISMATCHES * len(numbers):
        note = "trials have another event code than the table says; the table is trusted"
        return [f"{len(wrong)} {note}"] if len(wrong) else []
    first, steps = wrong[0], np.unique(difference)
    shift = f", all of them by {steps[0]:+d}" if len(steps) == 1 else ""
    raise DataError(
        f"{len(wrong)} of {len(numbers)} event codes in {source} differ from things_image_nr, which counts "
        f"from 1{shift}, the first is {codes[shown.index[first]]} for image number {numbers[first]} "
        f"({shown['image_id'].iloc[first]})",
        "use events and metadata of one release, both counted from 1",
    )


@cache
def published_test_images() -> pd.Series:
    """THINGS image number of each published test image, by image id."""
    table = pd.read_csv(Path(__file__).with_name("test_images.csv"))
    ids = table["concept"] + "/" + table["file"].map(lambda file: Path(file).stem)
    return pd.Series(table["things_image_nr"].to_numpy(), index=ids.tolist())


def is_published(images: pd.DataFrame) -> bool:
    """Whether these are the images of the published experiment: its 200 test images are tested."""
    return set(images["image_id"][images["split"] == "test"]) == set(published_test_images().index)


def check_published_numbers(shown: pd.DataFrame, source: str) -> None:
    """Raise DataError if published test images carry other THINGS numbers than the published ones."""
    known = published_test_images().reindex(shown["image_id"]).to_numpy()
    wrong = np.flatnonzero(~np.isnan(known) & (known != shown["things_image_nr"].to_numpy()))
    if len(wrong):
        row = shown.iloc[wrong[0]]
        raise DataError(
            f"things_image_nr of {row['image_id']} in {source} is {row['things_image_nr']}, not "
            f"{known[wrong[0]]:.0f}: ids are shifted",
            "THINGS counts its images from 1; use the published table",
        )


def check_count(images: pd.DataFrame, source: str) -> None:
    """Raise DataError if training images of the published experiment are missing."""
    tested = images["concept"][images["split"] == "test"].nunique()
    published = PUBLISHED_EXP_IMAGES - tested * PUBLISHED_SESSIONS
    found = int((images["split"] == "train").sum())
    if is_published(images) and found != published:
        wrong = f"{source} has {found} training images, not {published} as published"
        raise DataError(wrong, "get all sessions and parts of the subject")

"""Which image each MEG trial shows, by name, and the zero-shot split by name.

The trials of THINGS-MEG carry the table ``sample_attributes``: 22,248 trials of type ``exp`` (1,854
concepts x 12 images, each shown once), 2,400 of type ``test`` (200 images x 12 sessions) and 2,400
``catch`` trials. The 200 test concepts are among the 1,854, so their ``exp`` trials leave: 19,848 = 1,654
x 12 are trained on. THINGS numbers are never used to join anything: its canonical order of concepts is
not the ASCII order of their names.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import DataError
from ..preprocessing.repetitions import running_count
from .base import IMAGE_COLUMNS, check_images
from .store_files import TRIAL_COLUMNS

SPLITS = {"exp": "train", "test": "test"}
CATCH = 999999
"""Event code of catch trials."""
NEEDED = ("trial_type", "image_path", "things_image_nr", "session_nr")
PUBLISHED_SESSIONS, PUBLISHED_SENSORS, PUBLISHED_EXP_IMAGES = 12, 271, 22248
MOST_MISMATCHES = 0.01
"""Share of event codes that may differ from the table, as single trials of the original recordings do."""
_STEM = re.compile(r"(.+)_\d+[a-z]*")
_FETCH = "use the files of ds004212 version 2.0.1, or put its sourcedata/sample_attributes_P*.csv beside them"


def shown_images(metadata: pd.DataFrame, source: str) -> pd.DataFrame:
    """What is shown in every trial that is no catch trial.

    Parameters
    ----------
    metadata : DataFrame
        The columns of ``sample_attributes``; others, such as an unnamed index, do not matter.
    source : str
        Where it comes from, for messages.

    Returns
    -------
    DataFrame
        ``split, session, image_id, concept, file, things_image_nr``; its index is the place of the trial in
        ``metadata``. ``exp`` trials of test concepts are still there.

    Raises
    ------
    DataError
        If a column is missing, a trial has another type, or a trial of a session or of an image does not
        say which.
    """
    missing = [name for name in NEEDED if name not in metadata.columns]
    if missing:
        there = ", ".join(map(str, metadata.columns)) or "none"
        expected = f"the columns {', '.join(NEEDED)} in the metadata of {source}"
        raise DataError(expected, f"no {', '.join(missing)}, only {there}", _FETCH)
    kind = metadata["trial_type"].astype(str).str.strip().str.lower().to_numpy()
    unknown = sorted(set(kind) - {*SPLITS, "catch"})
    if unknown:
        expected = f"trials of the types exp, test and catch in {source}"
        raise DataError(expected, f"the type {unknown[0]!r}", _FETCH)
    rows = np.flatnonzero(kind != "catch")
    part, kind = metadata.iloc[rows], kind[rows]
    number, session, path = _checked(part, rows, kind, source)
    files = [re.split(r"[/\\]", name)[-1] for name in path]
    concepts = [_concept(name, source) for name in files]
    stems = (Path(file).stem for file in files)
    return pd.DataFrame(
        {
            "split": [SPLITS[name] for name in kind],
            "session": session,
            "image_id": [f"{c}/{stem}" for c, stem in zip(concepts, stems, strict=True)],
            "concept": concepts,
            "file": [f"{c}/{file}" for c, file in zip(concepts, files, strict=True)],
            "things_image_nr": number,
        },
        index=rows,
    )


def image_table(shown: pd.DataFrame, source: str) -> pd.DataFrame:
    """The image table: test images, and the images of all concepts that are not tested.

    Images are numbered from 1 within their split, in the order of their THINGS image numbers, which is that
    of the public arrays.

    Parameters
    ----------
    shown : DataFrame
        From :func:`shown_images`.

    Raises
    ------
    DataError
        If a split is empty, an image has two numbers, or a number two images.
    """
    images = shown.drop_duplicates(["split", "image_id", "things_image_nr"])
    for one, other in (("image_id", "things_image_nr"), ("things_image_nr", "image_id")):
        twice = images[images[one].duplicated(keep=False)]
        if len(twice):
            names = ", ".join(map(str, twice[twice[one] == twice[one].iloc[0]][other]))
            raise DataError(
                f"one {other} and one type for {one} {twice[one].iloc[0]} in {source}",
                names,
                _FETCH,
            )
    test = images["split"] == "test"
    images = images[test | ~images["concept"].isin(set(images["concept"][test]))]
    images = images.sort_values("things_image_nr", kind="stable")
    parts = [images[images["split"] == split] for split in ("train", "test")]
    for split, part in zip(("train", "test"), parts, strict=True):
        if part.empty:
            expected = f"trials of {split} images in {source}"
            raise DataError(expected, f"none (of concepts that are not tested: {split})", _FETCH)
    numbered = [part.assign(number=range(1, len(part) + 1)) for part in parts]
    return check_images(pd.concat(numbered, ignore_index=True)[IMAGE_COLUMNS], source)


def trial_table(
    shown: pd.DataFrame, images: pd.DataFrame, subject: int, source: str
) -> pd.DataFrame:
    """One row per trial, session by session, joined with the image table by name.

    Returns
    -------
    DataFrame
        ``TRIAL_COLUMNS``; its index is the place of the trial in the file. Trials of test concepts other than
        those of test images are left out.

    Raises
    ------
    DataError
        If an image is not in the table, images of the table are never shown or training images twice, or a
        session is missing.
    """
    known = images.set_index("image_id")
    tested = set(images["concept"][images["split"] == "test"])
    stay = (shown["split"] == "test") | ~shown["concept"].isin(tested)
    trials = shown[stay].sort_values("session", kind="stable")
    split = known["split"].reindex(trials["image_id"]).to_numpy()
    other = np.flatnonzero(split != trials["split"].to_numpy())
    if len(other):
        first = trials.iloc[other[0]]
        raise DataError(
            f"the images of {source} to be those of the other subjects",
            f"{len(other)} trials of others, the first {first['image_id']} as {first['split']} image",
            "use subjects of one release",
        )
    _check_sessions(trials, images, source)
    _check_shown_once(trials[trials["split"] == "train"], source)
    numbers = known["number"].loc[trials["image_id"]].to_numpy()
    by_split = pd.Series(numbers) + (trials["split"] == "test").to_numpy() * (numbers.max() + 1)
    table = trials.assign(
        subject=subject, number=numbers, repetition=running_count(by_split.to_numpy()) + 1
    )
    return table[TRIAL_COLUMNS]


def check_codes(codes: np.ndarray, shown: pd.DataFrame, source: str) -> list[str]:
    """Compare event codes with the THINGS image numbers of the table.

    Parameters
    ----------
    codes : ndarray of int, shape (n_epochs,)
        Third column of the events.
    shown : DataFrame
        From :func:`shown_images` of the same epochs.

    Returns
    -------
    list of str
        A note, if single trials differ; the table is believed.

    Raises
    ------
    DataError
        If more than one in a hundred differ: table and events do not belong together, or one of them counts
        from 0.
    """
    numbers = shown["things_image_nr"].to_numpy()
    difference = np.asarray(codes)[shown.index] - numbers
    wrong = np.flatnonzero(difference)
    if len(wrong) <= MOST_MISMATCHES * len(numbers):
        told = "trials have another event code than the table says; the table is believed"
        return [f"{len(wrong)} {told}"] if len(wrong) else []
    first, steps = wrong[0], np.unique(difference)
    shift = f", all of them by {steps[0]:+d}" if len(steps) == 1 else ""
    raise DataError(
        f"event codes equal to things_image_nr, which counts from 1, in {source}",
        f"{len(wrong)} of {len(numbers)} differ{shift}, the first {codes[shown.index[first]]} for image "
        f"number {numbers[first]} ({shown['image_id'].iloc[first]})",
        "use events and metadata of one release, both counted from 1",
    )


@cache
def published_test_images() -> pd.Series:
    """THINGS image number of each published test image, by image id."""
    table = pd.read_csv(Path(__file__).with_name("things_meg_test_images.csv"))
    ids = [
        f"{concept}/{Path(file).stem}"
        for concept, file in zip(table["concept"], table["file"], strict=True)
    ]
    return pd.Series(table["things_image_nr"].to_numpy(), index=ids)


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
            f"things_image_nr {known[wrong[0]]:.0f} for {row['image_id']} in {source}",
            f"{row['things_image_nr']}: ids are shifted",
            "THINGS counts its images from 1; use the published table",
        )


def _checked(
    part: pd.DataFrame, rows: np.ndarray, kind: np.ndarray, source: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Image number, session and image path of trials that must all have them."""
    number = pd.to_numeric(part["things_image_nr"], errors="coerce").to_numpy(float)
    session = pd.to_numeric(part["session_nr"], errors="coerce").to_numpy(float)
    path = part["image_path"].fillna("").astype(str).str.strip().to_numpy()
    empty = np.isnan(number) | (number == CATCH) | (path == "")
    if empty.any():
        row = np.flatnonzero(empty)[0]
        raise DataError(
            f"an image of every trial that is no catch trial in {source}",
            f"{int(empty.sum())} without, as catch trials are, the first trial {rows[row]} of type "
            f"{kind[row]!r}",
            "take them out, or give them the trial_type catch",
        )
    if np.isnan(session).any():
        row = rows[np.flatnonzero(np.isnan(session))[0]]
        expected = f"a session_nr for every trial in {source}"
        raise DataError(expected, f"none for trial {row}", _FETCH)
    return number.astype(int), session.astype(int), path.tolist()


def _concept(file: str, source: str) -> str:
    match = _STEM.fullmatch(Path(file).stem)
    if match is None:
        expected = f"image files named as in THINGS, such as aardvark_01b.jpg, in {source}"
        raise DataError(expected, repr(file), _FETCH)
    return match[1]


def _check_sessions(trials: pd.DataFrame, images: pd.DataFrame, source: str) -> None:
    published, sessions = is_published(images), set(trials["session"])
    last = max([*sessions, PUBLISHED_SESSIONS if published else 1])
    missing = sorted(set(range(1, last + 1)) - sessions)
    never = sorted(set(images["image_id"]) - set(trials["image_id"]))
    if missing or never:
        problem = f"no trial of session {', '.join(map(str, missing))}" if missing else ""
        absent = f"{len(never)} images never shown, the first {never[0]}" if never else ""
        raise DataError(
            f"sessions 1 to {last} and all {len(images)} images in {source}",
            " and ".join(filter(None, (problem, absent))),
            "get all parts of the subject, with all their trials",
        )


def _check_shown_once(train: pd.DataFrame, source: str) -> None:
    again = train["image_id"][train["image_id"].duplicated()]
    if len(again):
        raise DataError(
            f"every image of type exp shown once in {source}",
            f"{len(again)} shown again, the first {again.iloc[0]}",
            "use the parts of one subject",
        )


def check_count(images: pd.DataFrame, source: str) -> None:
    """Raise DataError if training images of the published experiment are missing."""
    tested = images["concept"][images["split"] == "test"].nunique()
    expected = PUBLISHED_EXP_IMAGES - tested * PUBLISHED_SESSIONS
    found = int((images["split"] == "train").sum())
    if is_published(images) and found != expected:
        raise DataError(
            f"{expected} training images in {source}, as published",
            str(found),
            "get all sessions and parts of the subject",
        )

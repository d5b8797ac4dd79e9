"""Which image each MEG trial shows, by name, and the zero-shot split by name.

The trials of THINGS-MEG carry the table ``sample_attributes``: 22,248 trials of type ``exp`` (1,854
concepts x 12 images, each shown once), 2,400 of type ``test`` (200 images x 12 sessions) and 2,400
``catch`` trials. The 200 test concepts are among the 1,854, so their ``exp`` trials are left out: 19,848 =
1,654 x 12 are trained on. THINGS numbers are never used to join anything: its canonical order of concepts is
not the ASCII order of their names.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import DataError
from ...labels import Label
from ...preprocessing.epochs import running_count
from ..base import IMAGE_COLUMNS, TRIAL_COLUMNS, check_images

SPLITS = {"exp": "train", "test": "test"}
CATCH = 999999
"""Event code of catch trials."""
NEEDED = ("trial_type", "image_path", "things_image_nr", "session_nr")
PUBLISHED_SESSIONS, PUBLISHED_EXP_IMAGES = 12, 22248
MOST_MISMATCHES = 0.01
"""Share of event codes that may differ from the table, as single trials of the original recordings do."""
PUBLISHED = "use the files of ds004212 version 2.0.1, or its sourcedata/sample_attributes_P*.csv beside them"


def shown_images(metadata: pd.DataFrame, source: str) -> pd.DataFrame:
    """What every trial but catch trials shows, given the columns of ``sample_attributes``.

    ``split, session, image_id, concept, file, things_image_nr``, indexed by the place of the trial;
    ``exp`` trials of test concepts are still there.
    """
    missing = [name for name in NEEDED if name not in metadata.columns]
    if missing:
        there = ", ".join(map(str, metadata.columns)) or "none"
        raise DataError(
            f"the metadata of {source} have no {', '.join(missing)}, only {there}", PUBLISHED
        )
    kind = metadata["trial_type"].astype(str).str.strip().str.lower().to_numpy()
    unknown = sorted(set(kind) - {*SPLITS, "catch"})
    if unknown:
        raise DataError(
            f"{source} has trials of the type {unknown[0]!r}, not only exp, test and catch",
            PUBLISHED,
        )
    rows = np.flatnonzero(kind != "catch")
    part, kind = metadata.iloc[rows], kind[rows]
    number = pd.to_numeric(part["things_image_nr"], errors="coerce").to_numpy(float)
    session = pd.to_numeric(part["session_nr"], errors="coerce").to_numpy(float)
    path = part["image_path"].fillna("").astype(str).str.strip().to_numpy()
    empty = np.isnan(number) | (number == CATCH) | (path == "")
    if empty.any():
        first = np.flatnonzero(empty)[0]
        raise DataError(
            f"{int(empty.sum())} trials of {source} show no image and are not called catch trials, the first "
            f"is trial {rows[first]} of type {kind[first]!r}",
            "take them out, or give them the trial_type catch",
        )
    if np.isnan(session).any():
        first = rows[np.flatnonzero(np.isnan(session))[0]]
        raise DataError(f"trial {first} of {source} has no session_nr", PUBLISHED)
    files = [re.split(r"[/\\]", name)[-1] for name in path]
    stems = [Path(file).stem for file in files]
    concepts = []
    for file, stem in zip(files, stems, strict=True):
        match = re.fullmatch(r"(.+)_\d+[a-z]*", stem)
        if match is None:
            raise DataError(
                f"the image file {file!r} in {source} is not named as in THINGS, such as aardvark_01b.jpg",
                PUBLISHED,
            )
        concepts.append(match[1])
    return pd.DataFrame(
        {
            "split": [SPLITS[name] for name in kind],
            "session": session.astype(int),
            "image_id": [f"{c}/{stem}" for c, stem in zip(concepts, stems, strict=True)],
            "concept": concepts,
            "file": [f"{c}/{file}" for c, file in zip(concepts, files, strict=True)],
            "things_image_nr": number.astype(int),
        },
        index=rows,
    )


def image_table(shown: pd.DataFrame, source: str) -> pd.DataFrame:
    """The test images and the images of all concepts that are not tested.

    They are numbered from 1 within a split, in order of THINGS image numbers, which is that of the public
    arrays.
    """
    images = shown.drop_duplicates(["split", "image_id", "things_image_nr"])
    for one, other in (("image_id", "things_image_nr"), ("things_image_nr", "image_id")):
        twice = images[images[one].duplicated(keep=False)]
        if len(twice):
            value = twice[one].iloc[0]
            names = ", ".join(map(str, twice[twice[one] == value][other]))
            raise DataError(
                f"the {one} {value} in {source} has more than one {other} or type: {names}",
                PUBLISHED,
            )
    test = images["split"] == "test"
    images = images[test | ~images["concept"].isin(set(images["concept"][test]))]
    images = images.sort_values("things_image_nr", kind="stable")
    parts = []
    for split in ("train", "test"):
        part = images[images["split"] == split]
        if part.empty:
            tested = " of concepts that are not tested" if split == "train" else ""
            raise DataError(f"{source} has no trials of {split} images{tested}", PUBLISHED)
        parts.append(part.assign(number=range(1, len(part) + 1)))
    return check_images(pd.concat(parts, ignore_index=True)[IMAGE_COLUMNS], source)


def trial_table(
    shown: pd.DataFrame, images: pd.DataFrame, subject: Label, source: str
) -> pd.DataFrame:
    """``TRIAL_COLUMNS`` by session, indexed by the place in the file; joined with the images by name.

    Trials of test concepts other than those of test images are left out.
    """
    known = images.set_index("image_id")
    tested = set(images["concept"][images["split"] == "test"])
    kept = (shown["split"] == "test") | ~shown["concept"].isin(tested)
    trials = shown[kept].sort_values("session", kind="stable")
    split = known["split"].reindex(trials["image_id"]).to_numpy()
    other = np.flatnonzero(split != trials["split"].to_numpy())
    if len(other):
        first = trials.iloc[other[0]]
        raise DataError(
            f"{len(other)} trials of {source} show images that the other subjects did not see so, the first "
            f"{first['image_id']} as {first['split']} image",
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
            f"{len(again)} trials of type exp in {source} show an image again that is shown once, the first "
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
        raise DataError(
            f"{source} has {found} training images, not {published} as published",
            "get all sessions and parts of the subject",
        )

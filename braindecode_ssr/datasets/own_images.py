"""Which image, concept and split an event of one's own recordings has, and the table of all images."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from ..errors import DataError, LeakageError, MissingDataError
from .base import IMAGE_COLUMNS
from .bids_events import NOTHING, BidsEvents, read_text
from .bids_files import check_content

TEST_CONCEPTS = "test_concepts.txt"
SPLITS = ("train", "test")
_SUFFIXES = r"\.(?i:jpe?g|png|webp|bmp|tiff?)$"


def image_column(events: BidsEvents) -> str:
    """Where events say the image: ``image``, else BIDS's own ``stim_file`` if it names pictures."""
    table = events.table
    if "image" in table or "stim_file" not in table:
        return "image"
    return "stim_file" if table["stim_file"].str.contains(_SUFFIXES).any() else "image"


def image_events(events: BidsEvents) -> BidsEvents:
    """The events that show an image; sounds and films of a ``stim_file`` are none."""
    column = image_column(events)
    shows = events.has(column)
    if column == "stim_file":
        shows &= events.table[column].str.contains(_SUFFIXES).to_numpy(bool)
    return events.keep(shows)


def read_test_concepts(path: Path, events: Sequence[BidsEvents]) -> frozenset[str] | None:
    """The concepts of the test split, one a line; None where events have a column ``split``.

    Parameters
    ----------
    path : Path
        The file.
    events : sequence of BidsEvents
        All of them, to see whether they say the split; empty: only read the file, if it is there.

    Raises
    ------
    MissingDataError
        If there is neither the file nor the column.
    DataError
        If there are both, or some events have the column and some not, or the file is empty.
    """
    having = [part for part in events if "split" in part.table]
    if having and path.is_file():
        raise DataError(
            "the split in one place",
            f"the column 'split' in {having[0].path}, and {path}",
            "remove one of the two",
        )
    if having:
        for part in events:
            part.require(["split"], "write train or test there, as in the other recordings")
        return None
    check_content(path)
    if not path.is_file():
        if not events:
            return None
        raise MissingDataError(
            f"a column 'split' (train or test) in {events[0].path}, or the file {path}",
            "neither",
            f"write the concepts that are to be tested into {TEST_CONCEPTS}, one a line",
        )
    lines = read_text(path).splitlines()
    concepts = frozenset(line.strip() for line in lines if line.strip())
    if not concepts:
        raise DataError(f"a concept a line in {path}", "an empty file", "write them there")
    return concepts


def listed_images(events: BidsEvents, tested: frozenset[str] | None) -> pd.DataFrame:
    """What each event shows; events without image are left out.

    Parameters
    ----------
    events : BidsEvents
        With ``image`` or ``stim_file`` and perhaps ``concept`` and ``split``.
    tested : frozenset of str, optional
        The concepts of the test split; None: by the column ``split``.

    Returns
    -------
    DataFrame
        ``image_id`` (the path without suffix), ``concept``, ``split``, ``file``, and ``place`` of the line.

    Raises
    ------
    DataError
        If an image is no path below a folder, has no concept, or a split is not train or test; names file,
        line and column.
    """
    column = image_column(events)
    events = image_events(events)
    files = events.table[column].str.replace("\\", "/", regex=False).str.strip()
    bad = np.flatnonzero(files.map(_leaves_its_folder).to_numpy(bool))
    if len(bad):
        raise DataError(
            "a path below the folder of the images, such as aardvark/aardvark_01.jpg",
            f"{files.iloc[bad[0]]!r} in {events.place(bad[0], column)}",
            "write it without the folders above, and without '..'",
        )
    concepts = _concepts(events, files)
    table = pd.DataFrame(
        {
            "image_id": files.str.replace(_SUFFIXES, "", regex=True),
            "concept": concepts,
            "split": _splits(events, concepts, tested),
            "file": files,
            "place": [f"{events.path}, line {row + 2}" for row in files.index],
        }
    )
    return table.reset_index(drop=True)


def image_table(shown: pd.DataFrame, root: Path, tested: frozenset[str] | None) -> pd.DataFrame:
    """The image table of all that is shown, by name within a split.

    Parameters
    ----------
    shown : DataFrame
        From :func:`listed_images`, of all recordings.
    root : Path
        The BIDS folder, for messages.
    tested : frozenset of str, optional
        The concepts that the file of test concepts names.

    Raises
    ------
    DataError
        If two events do not agree on an image, or a split has too few images.
    LeakageError
        If a concept is in both splits.
    """
    _check_agreement(shown)
    _check_known(tested or frozenset(), set(shown["concept"]), root / TEST_CONCEPTS)
    tables = []
    for split in SPLITS:
        rows = shown[shown["split"] == split].drop_duplicates("image_id").sort_values("image_id")
        if len(rows) < 2:
            raise DataError(
                f"at least two {split} images in the events of {root}",
                f"{len(rows)}",
                f"tell by the column 'split' or by {TEST_CONCEPTS} which concepts are tested, and which not",
            )
        tables.append(rows.assign(number=range(1, len(rows) + 1)))
    return pd.concat(tables, ignore_index=True)[IMAGE_COLUMNS]


def _check_known(tested: frozenset[str], concepts: set[str], path: Path) -> None:
    unknown = sorted(tested - concepts)
    if unknown:
        near = difflib.get_close_matches(unknown[0], concepts, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise DataError(
            f"concepts of the images that are shown in {path}",
            f"{unknown[0]!r}, of which no event shows an image",
            f"{hint}correct or remove the line",
        )


def _leaves_its_folder(file: str) -> bool:
    path = PurePosixPath(file)
    return path.is_absolute() or ".." in path.parts or ":" in file or not path.name


def _concepts(events: BidsEvents, files: pd.Series) -> pd.Series:
    folders = files.map(lambda file: PurePosixPath(file).parent.name)
    if "concept" not in events.table:
        said, column = folders, image_column(events)
    else:
        said, column = events.table["concept"].str.strip(), "concept"
    bad = np.flatnonzero(said.isin(NOTHING).to_numpy())
    if len(bad):
        raise DataError(
            "the concept of every image: the column 'concept', or the folder that the image is in",
            f"neither for {files.iloc[bad[0]]!r} in {events.place(bad[0], column)}",
            "write the concept there, or put the image into a folder of that name",
        )
    return said


def _splits(events: BidsEvents, concepts: pd.Series, tested: frozenset[str] | None) -> pd.Series:
    if tested is not None:
        return pd.Series(np.where(concepts.isin(tested), "test", "train"), concepts.index, str)
    splits = events.table["split"].str.strip()
    bad = np.flatnonzero(~splits.isin(SPLITS).to_numpy())
    if len(bad):
        found = f"{splits.iloc[bad[0]]!r} in {events.place(bad[0], 'split')}"
        raise DataError("train or test", found, "write one of the two for every image")
    return splits


def _check_agreement(shown: pd.DataFrame) -> None:
    """Raise where two events disagree on an image, or a concept is in both splits."""
    for by, what in (("image_id", "file"), ("image_id", "concept"), ("concept", "split")):
        pairs = shown.drop_duplicates([by, what])
        twice = pairs[pairs[by].duplicated(keep=False)]
        if not len(twice):
            continue
        first, second = (row for _, row in twice[twice[by] == twice[by].iloc[0]].head(2).iterrows())
        error = LeakageError if what == "split" else DataError
        raise error(
            f"one {what} for the {by.removesuffix('_id')} {first[by]!r}",
            f"{first[what]} in {first['place']}, and {second[what]} in {second['place']}",
            "a concept is tested or trained on, never both: change one of them"
            if what == "split"
            else "write the same everywhere, or give the images different names",
        )

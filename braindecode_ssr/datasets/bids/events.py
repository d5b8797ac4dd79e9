"""The events.tsv of BIDS recordings: tables in which every cell can be named, and the images in them."""

from __future__ import annotations

import codecs
import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ...errors import DataError, LeakageError, MissingDataError, listed, reading
from ...preprocessing.epochs import first_twice
from ..base import IMAGE_COLUMNS
from ..zero_shot import folded
from .files import check_content, file_state

EMPTY = ("", "n/a")
STIMULI = ("image", "stim_file", "stim", "tot_img_number")
"""Columns that name the image that is shown."""
KINDS = ("trial_type", "stim_type", "event_type", "description", "value")
"""Columns that may mark a row as a bad segment or a boundary instead of an event."""
TEST_CONCEPTS = "test_concepts.txt"
SPLITS = ("train", "test")

_BOUNDARY = re.compile(r"(?i)(?:comment/)?(?:(?:bad|edge)[ _])?boundary\b|new segment\b")
_BAD = re.compile(r"(?:Comment/)?(?:BAD|(?i:bad(?![a-z])))")
_BAD_IMAGE = re.compile(r"BAD(?![A-Z])|(?i:bad(?![a-z]))")  # a badger is not a bad image
_SUFFIXES = r"\.(?i:jpe?g|png|webp|bmp|tiff?)$"


def mark_of(text: str, *, image: bool = False) -> str:
    """``"bad"``, ``"boundary"`` or ``""`` as MNE reads an annotation; ``image``: it names an image."""
    if image:
        return "bad" if _BAD_IMAGE.match(text) else ""
    return "boundary" if _BOUNDARY.match(text) else "bad" if _BAD.match(text) else ""


@dataclass(frozen=True, eq=False)
class BidsEvents:
    """An events.tsv as strings; ``marks`` are rows of bad segments without image: onset, duration, mark."""

    table: pd.DataFrame
    path: Path
    marks: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def lines(self) -> np.ndarray:
        """The line of each row in the file; int, shape (n_rows,)."""
        return self.table.index.to_numpy() + 2

    def has(self, column: str) -> np.ndarray:
        """Which rows have a value in a column, which may be missing; bool, shape (n_rows,)."""
        if column not in self.table:
            return np.zeros(len(self), bool)
        return ~self.table[column].isin(EMPTY).to_numpy()

    def keep(self, rows: np.ndarray) -> BidsEvents:
        return BidsEvents(self.table[rows], self.path, self.marks)

    def place(self, row: int, column: str) -> str:
        """A cell of the ``row``-th row, as messages name it."""
        return f"{self.path}, line {self.lines[row]}, column {column!r}"

    def refuse(self, wrong: np.ndarray | pd.Series, column: str, what: str, hint: str) -> None:
        """Raise DataError that names the first cell of a column where ``wrong`` holds, if there is one."""
        rows = np.flatnonzero(np.asarray(wrong, bool))
        if len(rows):
            cell = self.table[column].iloc[rows[0]]
            raise DataError(f"{cell!r} in {self.place(rows[0], column)} {what}", hint)

    def numbers(self, column: str, what: str) -> np.ndarray:
        """A column of finite numbers; float64, shape (n_rows,). DataError names the first other cell."""
        values = pd.to_numeric(self.table[column], errors="coerce").to_numpy(np.float64)
        hint = "write a number there, or remove the line"
        wrong = ~np.isfinite(values)
        self.refuse(wrong, column, f"is not a number (the column holds {what})", hint)
        return values

    def require(self, columns: Sequence[str], hint: str) -> None:
        """Raise DataError if a column is missing; names those that exist."""
        if missing := [column for column in columns if column not in self.table]:
            names, plural = ", ".join(map(repr, missing)), "s" if len(missing) > 1 else ""
            there = listed(list(self.table.columns), 25)
            raise DataError(f"{self.path} has no column{plural} {names}, only {there}", hint)


def read_events(path: Path) -> BidsEvents:
    """Read an events.tsv and set aside the rows that mark bad segments and boundaries."""
    if not path.is_file() and not path.is_symlink():
        raise MissingDataError(
            f"{path} does not exist, so it is not known when images were shown",
            "add the file; its name is that of the recording with _events.tsv in place of _eeg or _meg and "
            "the rest",
        )
    return _read_events(path, file_state(path))


@lru_cache(maxsize=64)
def _read_events(path: Path, state: tuple[int, int]) -> BidsEvents:
    events = BidsEvents(read_table(path), path)
    if not len(events):
        raise DataError(f"{path} has no rows below its header", "get the complete file")
    events.require(["onset"], "BIDS requires it: seconds from the start of the recording")
    events.numbers("onset", "onsets in seconds")
    if "duration" in events.table:
        seconds = pd.to_numeric(events.table["duration"], errors="coerce").to_numpy(np.float64)
        wrong = events.has("duration") & ~(np.isfinite(seconds) & (seconds >= 0))
        hint = "write it with a decimal point and without a unit, or write n/a"
        events.refuse(wrong, "duration", "is not a duration in seconds", hint)

    image = np.any([events.has(column) for column in STIMULI], axis=0)
    marks = np.full(len(events), "", object)
    for column in (column for column in KINDS if column in events.table):
        texts = events.table[column].str.strip()
        found = [mark_of(text, image=shows) for text, shows in zip(texts, image, strict=True)]
        marks = np.where(marks == "", found, marks)
    marked = marks != ""
    if not marked.any():
        return events
    rows = events.table[marked]
    durations = rows["duration"] if "duration" in rows else "n/a"
    table = pd.DataFrame({"onset": rows["onset"], "duration": durations, "mark": marks[marked]})
    return BidsEvents(events.table[~marked | image], path, table)


def read_table(path: Path) -> pd.DataFrame:
    """A tab-separated table of strings, uninterpreted, in UTF-8 or UTF-16 with a byte order mark."""
    text = read_text(path).rstrip("\n")
    if not text:
        raise DataError(f"{path} is empty", "get the complete file")
    header, *rows = (line.split("\t") for line in text.split("\n"))
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise DataError(
                f"line {number} of {path} has {len(row)} cells, but its header has {len(header)}",
                "correct the line: cells are separated by single tabs",
            )
    columns = [name.strip() for name in header]
    if len(set(columns)) != len(columns):
        names = ", ".join(name or "a column without a name" for name in columns)
        found = f"two columns of {path} have the same name: {names}"
        raise DataError(found, "rename one in the first line")
    return pd.DataFrame(rows, columns=columns, dtype=str)


def read_text(path: Path) -> str:
    """A text file in UTF-8 or UTF-16; newlines become line feeds and accents NFC."""
    check_content(path)
    with reading(path, "check the file"):
        data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
        bad = text.find("\0")
        line = text[:bad].count("\n") + 1
    except UnicodeDecodeError as error:
        bad, line = error.start, data[: error.start].count(b"\n") + 1
    if bad >= 0:
        raise DataError(
            f"{path} is not UTF-8 text: line {line} has a byte that is not part of a character",
            f"save it as UTF-8; if it is Latin-1: iconv -f latin1 -t utf-8 {path.name} > new, then rename",
        )
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


def onset_samples(events: BidsEvents, sfreq: float) -> np.ndarray:
    """Onsets in samples, int64 (n_rows,); a complete column ``sample`` is used and must agree with them."""
    onsets = events.numbers("onset", "onsets in seconds") * sfreq
    if "sample" in events.table and events.has("sample").all():
        samples = events.numbers("sample", "onsets in samples")
        apart = np.flatnonzero(np.abs(samples - onsets) > 1.01)
        if len(apart):
            row = events.table.iloc[apart[0]]
            raise DataError(
                f"the onset of {row['onset']} seconds and the sample {row['sample']} do not agree at "
                f"{sfreq:g} Hz in {events.place(apart[0], 'sample')}",
                "write onsets in seconds, or remove the column 'sample'",
            )
        onsets = samples
    events.refuse(
        onsets < 0, "onset", "is before the start of the recording", "correct or remove the line"
    )
    return np.rint(onsets).astype(np.int64)


def check_once(events: BidsEvents, samples: np.ndarray, shown: ArrayLike, sfreq: float) -> None:
    """Raise DataError if one presentation is listed twice.

    That is two events at one time, an image repeated within 50 ms, or a ``trial_type`` (a response, a
    photodiode) that only repeats the image of the line before.
    """
    images = np.asarray(shown)
    pair = first_twice(samples, images, sfreq)
    if pair is None and "trial_type" in events.table:
        order = np.argsort(samples, kind="stable")
        kinds, image = events.table["trial_type"].to_numpy(str)[order], images[order]
        repeats = np.append(False, (image[1:] == image[:-1]) & (kinds[1:] != kinds[:-1]))
        for kind in np.unique(kinds):
            of_kind = kinds == kind
            if repeats[of_kind].all() and 3 * of_kind.sum() > len(kinds):
                row = int(np.flatnonzero(of_kind)[0])
                pair = int(order[row - 1]), int(order[row])
                break
    if pair is None:
        return
    first, second = events.lines[list(pair)]
    same = images[pair[0]] == images[pair[1]]
    what = f"both show {images[pair[0]]}" if same else "show two images"
    seconds = [samples[row] / sfreq for row in pair]
    raise DataError(
        f"lines {first} and {second} of {events.path} {what}, at {seconds[0]:.3f} and {seconds[1]:.3f} s: "
        "one event is listed twice",
        "remove one of the lines, or write n/a for the image in rows where none appears",
    )


# -- images of one's own studies: the columns image or stim_file, concept, split -----------------------------


def image_column(events: BidsEvents) -> str:
    """The column that names images: ``image``, or BIDS's own ``stim_file`` if it names pictures."""
    table = events.table
    if "image" in table or "stim_file" not in table:
        return "image"
    return "stim_file" if table["stim_file"].str.contains(_SUFFIXES).any() else "image"


def image_events(events: BidsEvents) -> BidsEvents:
    """The events that show an image; sounds and films in ``stim_file`` are left out."""
    column = image_column(events)
    shows = events.has(column)
    if column == "stim_file":
        shows &= events.table[column].str.contains(_SUFFIXES).to_numpy(bool)
    return events.keep(shows)


def _check_columns_agree(events: BidsEvents) -> None:
    """Raise DataError if ``image`` and ``stim_file`` name different pictures in one line."""
    table = events.table
    if not {"image", "stim_file"} <= set(table):
        return
    pictures = table["stim_file"].str.contains(_SUFFIXES).to_numpy(bool)
    stems = [
        table[name].map(lambda path: PurePosixPath(path.replace("\\", "/").strip()).stem)
        for name in ("image", "stim_file")
    ]
    differ = np.flatnonzero(pictures & (stems[0] != stems[1]).to_numpy(bool))
    if len(differ):
        row = table.iloc[differ[0]]
        raise DataError(
            f"the column 'image' says {row['image']!r} and 'stim_file' says {row['stim_file']!r} in "
            f"{events.place(differ[0], 'image')}",
            "correct or remove the one that is wrong",
        )


def read_test_concepts(path: Path, events: Sequence[BidsEvents]) -> frozenset[str] | None:
    """The concepts of the test split, one a line of a file; None if the events have a column ``split``."""
    with_split = [part for part in events if "split" in part.table]
    if with_split and path.is_file():
        raise DataError(
            f"the split is given twice: by the column 'split' in {with_split[0].path} and by {path}",
            "remove one of the two",
        )
    if with_split:
        for part in events:
            part.require(["split"], "write train or test there, as in the other recordings")
        return None
    check_content(path)
    if not path.is_file():
        if not events:
            return None
        raise MissingDataError(
            f"there is neither a column 'split' (train or test) in {events[0].path} nor the file {path}",
            f"write the concepts to be tested into {TEST_CONCEPTS}, one per line",
        )
    concepts = frozenset(line.strip() for line in read_text(path).splitlines() if line.strip())
    if not concepts:
        raise DataError(f"{path} is an empty file", "write the test concepts there, one per line")
    return concepts


@lru_cache(maxsize=64)  # as the events; nobody changes what is returned
def listed_images(events: BidsEvents, tested: frozenset[str] | None) -> pd.DataFrame:
    """``image_id, concept, split, file`` of each event that shows an image, and ``place`` for messages."""
    column = image_column(events)
    events = image_events(events)
    table = events.table
    _check_columns_agree(events)
    files = table[column].str.replace("\\", "/", regex=False).str.strip()
    events.refuse(
        files.str.contains(r"^/|(?:^|/)\.\.(?:/|$)|:|^\.?/*$"),
        column,
        "is not a path below the image folder, such as aardvark/aardvark_01.jpg",
        "write it without the folders above, and without '..'",
    )
    if "concept" in table:
        concepts, said_in = table["concept"].str.strip(), "concept"
    else:
        concepts, said_in = files.map(lambda file: PurePosixPath(file).parent.name), column
    bad = np.flatnonzero(concepts.isin(EMPTY).to_numpy())
    if len(bad):
        raise DataError(
            f"the concept of {files.iloc[bad[0]]!r} is not known: neither a column 'concept' nor a folder "
            f"names it in {events.place(bad[0], said_in)}",
            "write the concept there, or put the image into a folder of that name",
        )
    if tested is None:
        splits = table["split"].str.strip()
        hint = "write one of the two for every image"
        events.refuse(~splits.isin(SPLITS), "split", "is neither train nor test", hint)
    else:
        splits = pd.Series(np.where(concepts.isin(tested), "test", "train"), files.index, str)
    columns = {
        "image_id": files.str.replace(_SUFFIXES, "", regex=True),
        "concept": concepts,
        "split": splits,
        "file": files,
        "place": [f"{events.path}, line {line}" for line in events.lines],
    }
    return pd.DataFrame(columns).reset_index(drop=True)


def image_table(shown: pd.DataFrame, root: Path, tested: frozenset[str] | None) -> pd.DataFrame:
    """The image table of all that was shown, by name within a split, after checking that events agree."""
    for by, what in (("image_id", "file"), ("image_id", "concept"), ("concept", "split")):
        pairs = shown.drop_duplicates([by, what])
        twice = pairs[pairs[by].duplicated(keep=False)]
        if len(twice):
            first, second = twice[twice[by] == twice[by].iloc[0]].iloc[:2].to_dict("records")
            message = (
                f"the {by.removesuffix('_id')} {first[by]!r} has two {what}s: {first[what]} in "
                f"{first['place']}, and {second[what]} in {second['place']}"
            )
            if what == "split":
                raise LeakageError(message, "train on a concept or test it, never both: change one")
            raise DataError(
                message, "write the same everywhere, or give the images different names"
            )
    # names that are one file on some disks, and names that mean one concept
    for name, key in (
        ("image_id", lambda one: str(PurePosixPath(one)).casefold()),
        ("concept", folded),
    ):
        firsts = shown.drop_duplicates(name)
        twice = firsts[firsts[name].map(key).duplicated(keep=False)]
        if len(twice):
            keys = twice[name].map(key)
            first, second = twice[keys == keys.iloc[0]].iloc[:2].to_dict("records")
            raise DataError(
                f"{first[name]!r} in {first['place']} and {second[name]!r} in {second['place']} are two "
                f"spellings of one {name.removesuffix('_id')}",
                "write it the same everywhere, or give the two different names",
            )
    concepts = set(shown["concept"])
    if unknown := sorted((tested or frozenset()) - concepts):
        near = difflib.get_close_matches(unknown[0], sorted(concepts), 1, 0.6)
        raise DataError(
            f"{unknown[0]!r} in {root / TEST_CONCEPTS} is not the concept of any image that is shown",
            (f"did you mean {near[0]!r}? " if near else "") + "correct or remove the line",
        )
    tables = []
    for split in SPLITS:
        rows = shown[shown["split"] == split].drop_duplicates("image_id").sort_values("image_id")
        if len(rows) < 2:
            raise DataError(
                f"the events of {root} need at least two {split} images, but have {len(rows)}",
                f"mark test concepts in the column 'split' or in {TEST_CONCEPTS}; the others are trained on",
            )
        tables.append(rows.assign(number=range(1, len(rows) + 1)))
    return pd.concat(tables, ignore_index=True)[IMAGE_COLUMNS]

"""The events of a BIDS recording: a table of texts in which every cell can be named."""

from __future__ import annotations

import codecs
import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from ...errors import DataError, LeakageError, MissingDataError
from ...preprocessing.repetitions import first_twice
from ..base import IMAGE_COLUMNS
from .files import check_content

NOTHING = ("", "n/a")
"""What stands in a cell without a value."""
STIMULI = ("image", "stim_file", "stim", "tot_img_number")
"""Columns that say which image is shown."""
KINDS = ("trial_type", "stim_type", "event_type", "description", "value")
"""Columns that may say that a line is no event, but the mark of a bad segment or of a boundary."""
_BOUNDARY = re.compile(r"(?i)(?:comment/)?(?:(?:bad|edge)[ _])?boundary\b|new segment\b")
_BAD = re.compile(r"(?:Comment/)?(?:BAD|(?i:bad(?![a-z])))")
_BAD_IMAGE = re.compile(r"BAD(?![A-Z])|(?i:bad(?![a-z]))")  # a badger is no bad image


def mark_of(text: str, *, image: bool = False) -> str:
    """``"bad"``, ``"boundary"`` or nothing: what an annotation is in MNE's words.

    Parameters
    ----------
    text : str
        Its description.
    image : bool
        It belongs to an event that shows an image, whose concept may be a badge.
    """
    if image:
        return "bad" if _BAD_IMAGE.match(text) else ""
    return "boundary" if _BOUNDARY.match(text) else "bad" if _BAD.match(text) else ""


@dataclass(frozen=True, eq=False)
class BidsEvents:
    """An events.tsv.

    Parameters
    ----------
    table : DataFrame of str
        Its rows; empty cells and ``n/a`` as they are.
    path : Path
        Where it was read, for messages.
    marks : DataFrame of str
        Lines that mark bad segments and boundaries: ``onset``, ``duration`` and ``mark``. Those without an
        image are no part of ``table``.
    """

    table: pd.DataFrame
    path: Path
    marks: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __len__(self) -> int:
        return len(self.table)

    def has(self, column: str) -> np.ndarray:
        """Which rows have a value in a column that may be missing; bool, shape (n_rows,)."""
        if column not in self.table:
            return np.zeros(len(self.table), bool)
        return ~self.table[column].isin(NOTHING).to_numpy()

    def keep(self, rows: np.ndarray) -> BidsEvents:
        """Some rows; they keep their line numbers."""
        return BidsEvents(self.table[rows], self.path, self.marks)

    def place(self, row: int, column: str) -> str:
        """How a message names a cell of the ``row``-th row that is left."""
        return f"{self.path}, line {self.table.index[row] + 2}, column {column!r}"

    def numbers(self, column: str, what: str) -> np.ndarray:
        """A column of numbers; float64, shape (n_rows,).

        Raises
        ------
        DataError
            If a cell is not a finite number; names file, line and column.
        """
        values = pd.to_numeric(self.table[column], errors="coerce").to_numpy(np.float64)
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            found = f"{self.table[column].iloc[bad[0]]!r} in {self.place(bad[0], column)}"
            raise DataError(what, found, "write a number there, or remove the line")
        return values

    def require(self, columns: Sequence[str], mend: str) -> None:
        """Raise DataError if a column is missing; names those that are there."""
        missing = [column for column in columns if column not in self.table]
        if missing:
            raise DataError(
                f"the column{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))} in {self.path}",
                f"only {', '.join(self.table.columns[:25])}",
                mend,
            )


def read_events(path: Path) -> BidsEvents:
    """Read an events.tsv; see :func:`read_table`.

    Raises
    ------
    MissingDataError
        If it is not there.
    DataError
        If it is empty, or an onset is missing or no number.
    """
    if not path.is_file() and not path.is_symlink():
        raise MissingDataError(
            f"the events of a recording at {path}",
            "no such file",
            "bring it: the name of the recording with _events.tsv in place of _eeg or _meg and what follows",
        )
    events = BidsEvents(read_table(path), path)
    if not len(events):
        raise DataError(f"events in {path}", "a header and no line", "bring the whole file")
    events.require(["onset"], "BIDS demands it: seconds from the start of the recording")
    events.numbers("onset", "onsets in seconds")
    return _without_marks(events)


def read_table(path: Path) -> pd.DataFrame:
    """A tab-separated table of texts, in UTF-8 or UTF-16 with a byte order mark, without interpretation.

    Raises
    ------
    MissingDataError
        If git-annex keeps its content elsewhere.
    DataError
        If it is no such text, two columns have one name, or a line has too few or too many cells.
    """
    header, *lines = read_text(path).rstrip("\n").split("\n")
    columns = [name.strip() for name in header.split("\t")]
    if len(set(columns)) != len(columns):
        found = ", ".join(name or "a column without name" for name in columns)
        raise DataError(f"columns with different names in {path}", found, "mend its first line")
    cells = [line.split("\t") for line in lines]
    for number, line in enumerate(cells, 2):
        if len(line) != len(columns):
            expected = f"{len(columns)} cells, with tabs between them, in every line of {path}"
            raise DataError(expected, f"{len(line)} in line {number}", "mend that line")
    return pd.DataFrame(cells, columns=columns, dtype=str)


def read_text(path: Path) -> str:
    """A text file in UTF-8 or UTF-16, its newlines and accents in one form.

    Raises
    ------
    MissingDataError
        If git-annex keeps its content elsewhere.
    DataError
        If it is in another encoding; names the first line that says so.
    """
    check_content(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}", "check the file") from error
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
        bad = text.find("\0")
        line = text[:bad].count("\n") + 1
    except UnicodeDecodeError as error:
        bad, line = error.start, data[: error.start].count(b"\n") + 1
    if bad >= 0:
        raise DataError(
            f"{path} is not UTF-8 text: line {line} has a byte that is no part of a letter",
            f"save it as UTF-8; if it is Latin-1: iconv -f latin1 -t utf-8 {path.name} > new, then rename",
        )
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


def _without_marks(events: BidsEvents) -> BidsEvents:
    """Lines that mark something go to ``marks``; those that show an image stay events as well."""
    image = np.any([events.has(column) for column in STIMULI], axis=0)
    marks = np.full(len(events), "", object)
    for column in (column for column in KINDS if column in events.table):
        texts = events.table[column].str.strip()
        found = [mark_of(text, image=shows) for text, shows in zip(texts, image, strict=True)]
        marks = np.where(marks == "", found, marks)
    marked = marks != ""
    if not marked.any():
        return events
    table = events.table[marked]
    durations = table["duration"] if "duration" in table else "n/a"
    said = pd.DataFrame({"onset": table["onset"], "duration": durations, "mark": marks[marked]})
    return BidsEvents(events.table[~marked | image], events.path, said)


def onset_samples(events: BidsEvents, sfreq: float) -> np.ndarray:
    """Onsets in samples from the start of the recording; int64, shape (n_rows,).

    ``sample``, where it is given, is the more exact one, and must agree with ``onset`` in seconds.

    Raises
    ------
    DataError
        If an onset is negative, or the two columns disagree by more than a sample.
    """
    onsets = events.numbers("onset", "onsets in seconds") * sfreq
    if "sample" in events.table and events.has("sample").all():
        samples = events.numbers("sample", "onsets in samples")
        apart = np.flatnonzero(np.abs(samples - onsets) > 1.01)
        if len(apart):
            place, row = events.place(apart[0], "sample"), events.table.iloc[apart[0]]
            raise DataError(
                f"onsets in seconds, and samples at {sfreq:g} Hz that agree with them",
                f"onset {row['onset']} and sample {row['sample']} in {place}",
                "write the onset in seconds, or remove the column 'sample'",
            )
        onsets = samples
    early = np.flatnonzero(onsets < 0)
    if len(early):
        found = f"a negative one in {events.place(early[0], 'onset')}"
        raise DataError("onsets after the start of the recording", found, "remove the line")
    return np.rint(onsets).astype(np.int64)


def check_once(
    events: BidsEvents, samples: np.ndarray, shown: Sequence[object], sfreq: float
) -> None:
    """Raise DataError if one showing of an image is listed twice; names both lines.

    Two events at one time, an image that comes again within 50 ms, or every line of one ``trial_type`` (a
    response, a photodiode) that repeats the image of the line before it.

    Parameters
    ----------
    events : BidsEvents
        Those that show images.
    samples : ndarray of int, shape (n_events,)
    shown : sequence, length n_events
        Which image each shows.
    sfreq : float
        Of the recording.
    """
    images = np.asarray(shown)
    pair = first_twice(samples, images, sfreq) or _repeats(events, samples, images)
    if pair is None:
        return
    first, second = (events.table.index[row] + 2 for row in pair)
    seconds = [samples[row] / sfreq for row in pair]
    what = (
        f"both show {images[pair[0]]}" if images[pair[0]] == images[pair[1]] else "show two images"
    )
    raise DataError(
        f"lines {first} and {second} of {events.path} {what}, at {seconds[0]:.3f} and {seconds[1]:.3f} s: "
        "one event is listed twice",
        "remove one of the lines, or write n/a in the column that names the image where none appears",
    )


def _repeats(events: BidsEvents, samples: np.ndarray, images: np.ndarray) -> tuple[int, int] | None:
    """A line and the one that repeats its image, where a whole ``trial_type`` does nothing else."""
    if "trial_type" not in events.table:
        return None
    order = np.argsort(samples, kind="stable")
    kinds, image = events.table["trial_type"].to_numpy(str)[order], images[order]
    repeats = np.append(False, (image[1:] == image[:-1]) & (kinds[1:] != kinds[:-1]))
    for kind in np.unique(kinds):
        of_kind = kinds == kind
        if repeats[of_kind].all() and 3 * of_kind.sum() > len(kinds):
            place = int(np.flatnonzero(of_kind)[0])
            return int(order[place - 1]), int(order[place])
    return None


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

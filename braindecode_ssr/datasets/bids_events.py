"""The events of a BIDS recording: a table of texts in which every cell can be named."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import DataError, MissingDataError
from ..preprocessing.repetitions import first_twice
from .bids_files import check_content

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

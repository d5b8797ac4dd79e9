"""The events of a BIDS recording: a table of texts in which every cell can be named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import DataError, MissingDataError
from ..preprocessing.repetitions import first_twice

NOTHING = ("", "n/a")
"""What stands in a cell without a value."""


@dataclass(frozen=True, eq=False)
class BidsEvents:
    """An events.tsv.

    Parameters
    ----------
    table : DataFrame of str
        Its rows; empty cells and ``n/a`` as they are.
    path : Path
        Where it was read, for messages.
    """

    table: pd.DataFrame
    path: Path

    def __len__(self) -> int:
        return len(self.table)

    def has(self, column: str) -> np.ndarray:
        """Which rows have a value in a column that may be missing; bool, shape (n_rows,)."""
        if column not in self.table:
            return np.zeros(len(self.table), bool)
        return ~self.table[column].isin(NOTHING).to_numpy()

    def keep(self, rows: np.ndarray) -> BidsEvents:
        """Some rows; they keep their line numbers."""
        return BidsEvents(self.table[rows], self.path)

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
    """Read an events.tsv, with or without a byte order mark.

    Raises
    ------
    MissingDataError
        If it is not there.
    DataError
        If it is empty or no UTF-8, two columns have one name, a line has too few or too many cells, or an
        onset is missing or no number.
    """
    if not path.is_file():
        raise MissingDataError(
            f"the events of a recording at {path}",
            "no such file",
            "bring it: the name of the recording with _events.tsv in place of _eeg or _meg and what follows",
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"a table in UTF-8 at {path}", str(error), "write it as UTF-8") from error
    header, *lines = text.rstrip("\r\n").split("\n")  # newlines are \n by now
    columns = [name.strip() for name in header.split("\t")]
    if len(set(columns)) != len(columns):
        found = ", ".join(name or "a column without name" for name in columns)
        raise DataError(f"columns with different names in {path}", found, "mend its first line")
    cells = [line.split("\t") for line in lines]
    for number, line in enumerate(cells, 2):
        if len(line) != len(columns):
            expected = f"{len(columns)} cells, with tabs between them, in every line of {path}"
            raise DataError(expected, f"{len(line)} in line {number}", "mend that line")
    if not cells:
        raise DataError(f"events in {path}", "a header and no line", "bring the whole file")
    table = pd.DataFrame(cells, columns=columns, dtype=str)
    events = BidsEvents(table, path)
    events.require(["onset"], "BIDS demands it: seconds from the start of the recording")
    events.numbers("onset", "onsets in seconds")
    return events


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

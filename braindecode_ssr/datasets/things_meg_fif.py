"""Split fif files of epochs: whether they are whole, and their trials, read a few at a time."""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..download.content import HEAD, wrong_head
from ..errors import DataError

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

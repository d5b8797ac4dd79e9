"""Trials in a file that is being written: set and read by slices, none of them kept in memory."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..datasets.base import TRIAL_COLUMNS, TrialBatch
from ..files import JOURNAL, atomic_write, set_aside, sync
from .store import FORMAT, TRIALS, check_batch, write_header, write_table

if TYPE_CHECKING:
    import mne


DTYPE = np.dtype("<f4")


class TrialFile:
    """A part of a file that stands for an array ``(n_trials, chans, times)`` of float32.

    Takes and gives arrays for slices, which is all that :func:`.windows` and the normalisations need, from
    several threads too. Reading and writing are explicit, so that a full disk is an error that can be
    caught; writing to mapped memory would end the process.

    Parameters
    ----------
    path : Path
        A file that is there.
    start : int
        Where the first trial begins, in bytes.
    shape : tuple of int
        Trials, channels, times.
    """

    dtype = DTYPE

    def __init__(self, path: Path, start: int, shape: tuple[int, int, int]) -> None:
        self.shape, self._start, self._lock = tuple(shape), start, threading.Lock()
        self._file = path.open("r+b", buffering=0)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def stop(self) -> int:
        """Where the last trial ends, in bytes."""
        return self._start + len(self) * self._trial_bytes

    def __getitem__(self, part: slice) -> np.ndarray:
        first, stop, _ = part.indices(len(self))
        trials = np.empty((max(0, stop - first), *self.shape[1:]), DTYPE)
        left = memoryview(trials).cast("B") if trials.size else memoryview(b"")
        with self._lock:
            self._seek(first)
            while left:
                done = self._file.readinto(left)
                if not done:
                    raise OSError(f"{self._file.name} ends too early")
                left = left[done:]
        return trials

    def __setitem__(self, part: slice, trials: np.ndarray) -> None:
        first, stop, _ = part.indices(len(self))
        shape = (stop - first, *self.shape[1:])
        trials = np.ascontiguousarray(np.broadcast_to(trials, shape), DTYPE)
        left = memoryview(trials).cast("B") if trials.size else memoryview(b"")
        with self._lock:
            self._seek(first)
            while left:
                left = left[self._file.write(left) :]

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    @property
    def _trial_bytes(self) -> int:
        return self.shape[1] * self.shape[2] * DTYPE.itemsize

    def _seek(self, trial: int) -> None:
        self._file.seek(self._start + trial * self._trial_bytes)


class Changed(Exception):
    """What is finished is not of the recordings that are there now."""


class UnfinishedStore:
    """The files of a store while they are written, recording by recording.

    Trials go straight to their place in the file of trials. After each session they are forced to the disk
    and the journal is replaced, so that a process that is killed, or a machine that loses power, leaves
    whole sessions and something behind them that is cut off.

    Parameters
    ----------
    folder : Path
        Empty, or what another one has left.
    manifest : dict
        What the store will say of itself; a folder of another one is begun anew.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        self.finished = _journal(folder, manifest)
        self._parts: list[dict[str, Any]] = []
        self._tables: list[pd.DataFrame] = []
        self._trials: TrialFile | None = None
        self.info: mne.Info | None = None
        if not self.finished:
            (folder / TRIALS).write_bytes(b"")

    def __enter__(self) -> UnfinishedStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def room(
        self, part: dict[str, Any], table: pd.DataFrame, info: mne.Info, n_times: int
    ) -> tuple[TrialFile, bool]:
        """Where the trials of the next recording go, and whether they are there already.

        Parameters
        ----------
        part : dict
            What the recording is known by: ``source``, ``fingerprint``, and all that trials depend on
            besides the spec.
        table : DataFrame
            One row per trial.
        info : mne.Info
            Of the trials.
        n_times : int
            Samples of a trial.

        Raises
        ------
        Changed
            If another recording was finished in this place.
        DataError
            If the trials do not fit those before.
        """
        self.info = self.info or info
        before, shape = self._trials, (len(table), len(info["ch_names"]), n_times)
        size = before.shape[1:] if before else shape[1:]
        part = {**part, "shape": list(shape)}
        place = len(self._parts)
        there = place < len(self.finished)
        if there and _identity(self.finished[place]) != _identity(part):
            raise Changed
        start = before.stop if before else self._header(size)
        self._close()
        self._trials = TrialFile(self.folder / TRIALS, start, shape)
        batch = TrialBatch(self._trials, table, info, part["source"])
        check_batch(batch, list(self.info["ch_names"]), size)
        self._parts.append(part)
        self._tables.append(table[TRIAL_COLUMNS])
        return self._trials, there

    def finish(self) -> None:
        """Note that everything up to here is finished: the end of a session."""
        if len(self._parts) <= len(self.finished):
            return
        sync(self.folder / TRIALS)
        self.finished = list(self._parts)
        note = {"manifest": self.manifest, "format": FORMAT, "finished": self.finished}
        atomic_write(self.folder / JOURNAL, json.dumps(note))

    def complete(self) -> None:
        """Write what belongs to the trials; then the folder is a store."""
        trials = self._trials
        table = pd.concat(self._tables, ignore_index=True)
        shape = (len(table), *trials.shape[1:])
        os.truncate(self.folder / TRIALS, trials.stop)
        with (self.folder / TRIALS).open("r+b") as file:
            write_header(file, shape)
        sources = [
            {key: part[key] for key in ("source", "fingerprint")} | {"n_trials": part["shape"][0]}
            for part in self._parts
        ]
        manifest = self.manifest | _left_out(self._parts)
        write_table(self.folder, shape, table, self.info, manifest, sources)
        (self.folder / JOURNAL).unlink(missing_ok=True)

    def _close(self) -> None:
        if self._trials is not None:
            self._trials.close()

    def _header(self, size: tuple[int, int]) -> int:
        with (self.folder / TRIALS).open("r+b") as file:
            return write_header(file, (0, *size))


def _left_out(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Trials that were dropped and channels that were treated, over all recordings of a store."""
    dropped: dict[str, int] = {}
    channels: dict[str, dict[str, list[str]]] = {}
    for part in parts:
        for why, count in part["dropped"].items():
            dropped[why] = dropped.get(why, 0) + count
        for what, names in part["channels"].items():
            for name, files in names.items():
                known = channels.setdefault(what, {}).setdefault(name, [])
                known += [file for file in files if file not in known]
    return {"dropped": dropped, "channels": channels}


def remove_outdated(path: Path, manifest: dict[str, Any]) -> None:
    """Remove what was left unfinished of the same trials when their sources were others."""
    import shutil

    first = path.name.partition("_")[0]
    for folder in path.parent.glob(f".{first}_*.unfinished"):
        with suppress(OSError, ValueError, KeyError):
            note = json.loads((folder / JOURNAL).read_text(encoding="utf-8"))
            if folder != set_aside(path) and note["manifest"] == manifest:
                shutil.rmtree(folder, ignore_errors=True)


def _identity(part: dict[str, Any]) -> dict[str, Any]:
    """All that a recording is known by, but for the path it was found at."""
    return {key: value for key, value in part.items() if key != "source"}


def _journal(folder: Path, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The recordings that are finished in a folder, as far as its file of trials goes."""
    try:
        note = json.loads((folder / JOURNAL).read_text(encoding="utf-8"))
        if note["format"] != FORMAT or note["manifest"] != manifest:
            return []
        needed = sum(4 * n * c * t for n, c, t in (part["shape"] for part in note["finished"]))
        whole = (folder / TRIALS).stat().st_size >= needed
        return note["finished"] if whole else []
    except (OSError, ValueError, KeyError, TypeError):
        return []

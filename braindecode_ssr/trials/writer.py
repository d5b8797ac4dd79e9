"""A trial store while it is written, session by session: a killed `prepare` resumes where it stopped."""

from __future__ import annotations

import json
import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..datasets.base import TRIAL_COLUMNS, TrialBatch
from ..files import JOURNAL, atomic_write, set_aside, sync
from .store import DTYPE, FORMAT, TRIALS, check_batch, write_header, write_table

if TYPE_CHECKING:
    import mne


class WritableTrials:
    """A section of a file that acts as a float32 array ``(n_trials, chans, times)``.

    Takes and gives arrays for slices, which is all that cutting and whitening need, from several threads.
    Reads and writes are explicit, so that a full disk is an error that can be caught; writing to mapped
    memory would kill the process.

    Parameters
    ----------
    path : Path
        An existing file.
    start : int
        Byte at which the first trial begins.
    shape : tuple of int
        Trials, channels, times.
    """

    dtype = DTYPE

    def __init__(self, path: Path, start: int, shape: tuple[int, int, int]) -> None:
        self.shape, self._start, self._lock = tuple(shape), start, threading.Lock()
        self._trial_bytes = shape[1] * shape[2] * DTYPE.itemsize
        self._file = path.open("r+b", buffering=0)
        self.close = self._file.close

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def stop(self) -> int:
        """Byte at which the last trial ends."""
        return self._start + len(self) * self._trial_bytes

    def __getitem__(self, part: slice) -> np.ndarray:
        first, stop, _ = part.indices(len(self))
        trials = np.empty((max(0, stop - first), *self.shape[1:]), DTYPE)
        left = memoryview(trials.data).cast("B") if trials.size else memoryview(b"")
        with self._lock:
            self._file.seek(self._start + first * self._trial_bytes)
            while left:
                done = self._file.readinto(left)
                if not done:
                    raise OSError(f"{self._file.name} ends too early")
                left = left[done:]
        return trials

    def __setitem__(self, part: slice, trials: np.ndarray) -> None:
        first, stop, _ = part.indices(len(self))
        trials = np.ascontiguousarray(
            np.broadcast_to(trials, (stop - first, *self.shape[1:])), DTYPE
        )
        left = memoryview(trials.data).cast("B") if trials.size else memoryview(b"")
        with self._lock:
            self._file.seek(self._start + first * self._trial_bytes)
            while left:
                left = left[self._file.write(left) :]


class Changed(Exception):
    """Finished trials do not belong to the recordings that are there now."""


class ResumableStore:
    """The files of a store while they are written, recording by recording.

    Trials go straight to their place in the file. After each session the file is synced and the journal
    replaced, so that a killed process, or a power cut, leaves complete sessions and something after them
    that is cut off.

    Parameters
    ----------
    folder : Path
        Empty, or what an interrupted process left.
    manifest : dict
        What the store will say of itself; a folder with another manifest is started anew.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        self.finished = _read_journal(folder, manifest)
        self._parts: list[dict[str, Any]] = []
        self._tables: list[pd.DataFrame] = []
        self._trials: WritableTrials | None = None
        self.info: mne.Info | None = None
        if not self.finished:
            (folder / TRIALS).write_bytes(b"")

    def __enter__(self) -> ResumableStore:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._trials is not None:
            self._trials.close()

    def allocate(
        self, part: dict[str, Any], table: pd.DataFrame, info: mne.Info, n_times: int
    ) -> tuple[WritableTrials, bool]:
        """Where the trials of the next recording go, and whether they are there already.

        Parameters
        ----------
        part : dict
            What identifies the recording: ``source``, ``fingerprint``, and all that trials depend on
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
        done = self.finished[len(self._parts) : len(self._parts) + 1]
        if done and {**done[0], "source": ""} != {**part, "source": ""}:
            raise Changed
        if before:
            start = before.stop
            before.close()
        else:
            with (self.folder / TRIALS).open("r+b") as file:
                start = write_header(file, (0, *size))
        self._trials = WritableTrials(self.folder / TRIALS, start, shape)
        trials: Any = self._trials
        batch = TrialBatch(trials, table, info, part["source"])
        check_batch(batch, list(self.info["ch_names"]), size)
        self._parts.append(part)
        self._tables.append(table[TRIAL_COLUMNS])
        return self._trials, bool(done)

    def finish_session(self) -> None:
        """Record that everything up to here is complete."""
        if len(self._parts) <= len(self.finished):
            return
        sync(self.folder / TRIALS)
        self.finished = list(self._parts)
        note = {"manifest": self.manifest, "format": FORMAT, "finished": self.finished}
        atomic_write(self.folder / JOURNAL, json.dumps(note))

    def complete(self) -> None:
        """Write table, channels and manifest; then the folder is a store."""
        assert self._trials is not None and self.info is not None
        table = pd.concat(self._tables, ignore_index=True)
        shape = (len(table), *self._trials.shape[1:])
        os.truncate(self.folder / TRIALS, self._trials.stop)
        with (self.folder / TRIALS).open("r+b") as file:
            write_header(file, shape)
        sources = [
            {
                "source": part["source"],
                "fingerprint": part["fingerprint"],
                "n_trials": part["shape"][0],
            }
            for part in self._parts
        ]
        dropped: dict[str, int] = {}
        channels: dict[str, dict[str, list[str]]] = {}
        for part in self._parts:
            for why, count in part["dropped"].items():
                dropped[why] = dropped.get(why, 0) + count
            for what, names in part["channels"].items():
                for name, files in names.items():
                    known = channels.setdefault(what, {}).setdefault(name, [])
                    known += [file for file in files if file not in known]
        manifest = self.manifest | {"dropped": dropped, "channels": channels}
        write_table(self.folder, shape, table, self.info, manifest, sources)
        (self.folder / JOURNAL).unlink(missing_ok=True)


def remove_outdated(path: Path, manifest: dict[str, Any]) -> None:
    """Remove unfinished stores of the same trials whose source files have changed since."""
    first = path.name.partition("_")[0]
    for folder in path.parent.glob(f".{first}_*.unfinished"):
        with suppress(OSError, ValueError, KeyError):
            note = json.loads((folder / JOURNAL).read_text(encoding="utf-8"))
            if folder != set_aside(path) and note["manifest"] == manifest:
                shutil.rmtree(folder, ignore_errors=True)


def _read_journal(folder: Path, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The recordings that are finished in a folder, if its file of trials holds them all."""
    try:
        note = json.loads((folder / JOURNAL).read_text(encoding="utf-8"))
        if note["format"] != FORMAT or note["manifest"] != manifest:
            return []
        needed = sum(4 * n * c * t for n, c, t in (part["shape"] for part in note["finished"]))
        return note["finished"] if (folder / TRIALS).stat().st_size >= needed else []
    except (OSError, ValueError, KeyError, TypeError):
        return []

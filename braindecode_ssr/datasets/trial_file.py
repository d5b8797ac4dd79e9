"""Trials in a file that is being written: set and read by slices, none of them kept in memory."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

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

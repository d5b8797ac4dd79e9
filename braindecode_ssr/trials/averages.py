"""Averaged trials on disk, made once and read a few at a time, for data that does not fit in memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..config import Channels
from ..errors import DataError
from ..files import atomic_folder, check_free, derived_folder, lock, sha256
from ..preprocessing.epochs import smooth_chosen
from .store import DTYPE, MANIFEST, TRIALS, TrialStore, write_header

FOLDER = "averages"
CHUNK = 2048  # trials that are copied to another device at once
MEMORY = "--cache-dir, or hold them in memory with --set train.memory=GIGABYTES"


@dataclass(frozen=True, eq=False)
class TrialFile:
    """Float32 trials in an npy file, read without mapping it, so that only what is read takes memory.

    ``offset`` is the byte of the first trial, ``places`` the row of each, ``state`` size and time of the file
    when it was opened, ``picks`` the channels in use (None: all).
    """

    path: Path
    shape: tuple[int, int, int]
    offset: int
    places: np.ndarray
    state: tuple[int, int]
    n_chans: int
    picks: list[int] | None = None

    @classmethod
    def open(
        cls, path: Path, places: np.ndarray | None = None, picks: list[int] | None = None
    ) -> TrialFile:
        """The trials of a file, or some of its rows and channels; DataError if it is missing or cut off."""
        try:
            with open(path, "rb") as file:
                np.lib.format.read_magic(file)
                shape, _, _ = np.lib.format.read_array_header_1_0(file)
                offset, state = file.tell(), _state(os.fstat(file.fileno()))
        except (OSError, ValueError) as error:
            raise _unreadable(path, str(error)) from error
        if state[0] != offset + 4 * int(np.prod(shape, dtype=np.int64)):
            raise _unreadable(path, f"{state[0]} bytes")
        places = np.arange(shape[0]) if places is None else places
        if picks == list(range(shape[1])):
            picks = None
        wanted = (len(places), shape[1] if picks is None else len(picks), shape[2])
        return cls(path, wanted, offset, places, state, shape[1], picks)

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, index: np.ndarray, out: np.ndarray, at: np.ndarray) -> None:
        """Read trials ``index`` (n,) into ``out[at]``, in the order of the file."""
        size = 4 * self.n_chans * self.shape[2]
        order = np.argsort(self.places[index], kind="stable")
        starts = (self.offset + self.places[index][order] * size).tolist()
        whole = out
        if self.picks is not None:
            whole = np.empty((len(index), self.n_chans, self.shape[2]), np.float32)
        goals = at[order] if self.picks is None else np.arange(len(index))
        buffer = memoryview(whole.data).cast("B")
        try:
            with open(self.path, "rb", buffering=0) as file:
                if _state(os.fstat(file.fileno())) != self.state:
                    raise OSError("the file was modified")
                if hasattr(os, "posix_fadvise"):  # let the system read several trials at once
                    for start in starts:
                        os.posix_fadvise(file.fileno(), start, size, os.POSIX_FADV_WILLNEED)
                for start, place in zip(starts, goals.tolist(), strict=True):
                    file.seek(start)
                    if file.readinto(buffer[place * size : (place + 1) * size]) != size:
                        raise OSError("the file was cut off")
        except OSError as error:
            raise DataError(
                f"the trials in {self.path} changed during training: {error.strerror or error}",
                "leave the data alone during training; the same command resumes the run",
            ) from error
        if self.picks is not None:
            out[at[order]] = whole[:, self.picks]


def averages_on_disk(
    store: TrialStore, channels: Channels, tick: Callable[[int], object] | None = None
) -> TrialFile:
    """What ``store.average("train", channels=channels)`` gives, on disk; made once, in the store's folder.

    A store that holds each image once, with exactly these channels, is its own average.
    """
    rows, picks = store.rows("train"), store.pick(channels)
    numbers = store.table["number"].to_numpy()[rows]
    n_images = len(np.unique(numbers))
    if n_images == len(rows) and picks == list(range(len(store.ch_names))):
        return TrialFile.open(store.path / TRIALS, rows[np.argsort(numbers)])
    of_store, of_channels = _fingerprint(store), sha256(str(picks))[:16]
    folder = derived_folder(store.path / FOLDER) / f"{of_store}_{of_channels}"
    with lock(folder):
        with suppress(DataError):
            return TrialFile.open(folder / TRIALS)
        for other in folder.parent.glob("*_*"):  # averages of an earlier store
            if not other.name.startswith((of_store, ".")):
                shutil.rmtree(other, ignore_errors=True)
        shape = (n_images, len(picks), store.trials.shape[2])
        check_free(folder, 4 * int(np.prod(shape)), "averaging trials on disk", MEMORY)
        with atomic_folder(folder) as part, open(part / TRIALS, "wb") as file:
            write_header(file, shape)
            for block in store.average_blocks("train", channels=channels):
                file.write(block.astype(DTYPE, copy=False).data)
                if tick is not None:
                    tick(len(block))
    return TrialFile.open(folder / TRIALS)


def _fingerprint(store: TrialStore) -> str:
    try:
        manifest = (store.path / MANIFEST).read_bytes()
        state = _state(os.stat(store.path / TRIALS))
    except OSError as error:
        raise _unreadable(store.path, error.strerror or str(error)) from error
    return sha256(manifest + repr(state).encode())[:16]


def _state(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


def _unreadable(path: Path, found: str) -> DataError:
    wrong = f"the trials in {path} cannot be read: {found}"
    return DataError(wrong, "make them again with: ssr-bd data prepare")


class TrialRows:
    """Trials (n, c, t) in one file after the other; ``rows[index]`` reads those and gives a CPU tensor.

    ``smoothed`` (n, c) says which channels a moving average of ``width`` samples smooths on reading.
    """

    device = torch.device("cpu")

    def __init__(
        self,
        files: Iterable[TrialFile],
        smoothed: np.ndarray | None = None,
        width: int = 1,
        index: np.ndarray | None = None,
    ) -> None:
        self.files = list(files)
        self.smoothed, self.width = smoothed, width
        self._starts = np.cumsum([0, *map(len, self.files)])
        self._index = np.arange(self._starts[-1]) if index is None else index
        self.shape = (len(self._index), *self.files[0].shape[1:])

    def __len__(self) -> int:
        return len(self._index)

    @property
    def nbytes(self) -> int:
        return 4 * int(np.prod(self.shape, dtype=np.int64))

    def __getitem__(self, index: int | slice | Tensor | np.ndarray) -> Tensor:
        """Read trials; DataError if a file has changed since it was opened."""
        if isinstance(index, int):
            return self[np.array([index])][0]
        chosen = np.arange(len(self))[index.numpy() if isinstance(index, Tensor) else index]
        trials = np.empty((len(chosen), *self.shape[1:]), np.float32)
        rows = self._index[chosen]
        which = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(which).tolist():
            at = np.flatnonzero(which == number)
            self.files[number].read(rows[at] - self._starts[number], trials, at)
        if self.smoothed is not None:
            smooth_chosen(trials, self.smoothed[chosen], self.width)
        return torch.from_numpy(trials)

    def rows(self, index: np.ndarray) -> TrialRows:
        smoothed = None if self.smoothed is None else self.smoothed[index]
        return TrialRows(self.files, smoothed, self.width, self._index[index])

    def to(self, device: str | torch.device) -> Tensor:
        """All trials as a tensor on a device, copied there in chunks."""
        trials = torch.empty(self.shape, device=device)
        for first in range(0, len(self), CHUNK):
            trials[first : first + CHUNK] = self[first : first + CHUNK].to(device)
        return trials

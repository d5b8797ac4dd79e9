"""Training trials that stay on disk: indexed like a tensor, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from .datasets.averages import TrialFile
from .preprocessing.smoothing import smooth_chosen

CHUNK = 2048
"""Trials on their way to another device at once."""


class TrialRows:
    """Trials in files one after the other; ``rows[index]`` is a tensor of those that are asked for.

    Parameters
    ----------
    files : iterable of TrialFile
        Of trials of the same shape.
    smoothed : ndarray of bool, shape (n, c), optional
        Channels that are smoothed when they are read.
    width : int
        Samples of the moving average that smooths.
    index : ndarray of int, optional
        Which of the trials of all files these are; default: all. ``smoothed`` belongs to these.

    Attributes
    ----------
    shape : tuple of int
        ``(n, c, t)``.
    device : torch.device
        Where tensors that are read lie: the CPU.
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
        """Size of all trials, were they in memory."""
        return 4 * int(np.prod(self.shape, dtype=np.int64))

    def __getitem__(self, index: int | slice | Tensor | np.ndarray) -> Tensor:
        """Read trials.

        Raises
        ------
        DataError
            If a file has changed since it was opened.
        """
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
        """Some of the trials; nothing is read."""
        smoothed = None if self.smoothed is None else self.smoothed[index]
        return TrialRows(self.files, smoothed, self.width, self._index[index])

    def to(self, device: str | torch.device) -> Tensor:
        """All trials as a tensor on a device; few at a time go through the memory of the CPU."""
        trials = torch.empty(self.shape, device=device)
        for first in range(0, len(self), CHUNK):
            trials[first : first + CHUNK] = self[first : first + CHUNK].to(device)
        return trials

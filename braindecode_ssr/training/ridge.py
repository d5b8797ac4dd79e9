"""The linear baselines: image features from the brain, and the brain from image features, in closed form.

Both have the interface of a trained model, ``model(trials)`` and ``model.image_head(features)``, so that
test, run folder and ``evaluate`` are those of every other method.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from scipy.linalg import blas, cho_factor, cho_solve
from torch import Tensor, nn

from ..config import TrainSpec
from ..errors import UsageError
from ..retrieval.ranks import cosine, embed_images, embed_trials, rank_of_target, summarize
from .data import TrainingSet, hold_out_concepts
from .encoding import frozen

SHARES = tuple(10.0**power for power in range(-3, 6))
"""Penalties to try, each a share of the mean eigenvalue of the inputs' scatter matrix."""
HELD_OUT = 0.1  # of the training concepts, to choose among them
LARGEST = 30_000  # rows of the matrix to solve: 7 GB
BLOCK = 1024  # rows or columns in double precision at once

Rows = tuple[np.ndarray, np.ndarray]
T = TypeVar("T")


class Ridge(nn.Module):
    """A linear map between trials, of channels times samples, and image features, minus their means."""

    def __init__(self, n_signal: int, n_features: int) -> None:
        super().__init__()
        self.trial_mean = frozen(n_signal)
        self.feature_mean = frozen(n_features)
        self.weight = frozen(*self.direction(n_signal, n_features))

    @staticmethod
    def direction(trial: T, feature: T) -> tuple[T, T]:
        """Input and output of the map, given the trial and the feature side (arrays, or their widths)."""
        return trial, feature

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) - self.trial_mean

    def image_head(self, features: Tensor) -> Tensor:
        return features - self.feature_mean

    @torch.no_grad()
    def fill(self, trial_mean: np.ndarray, feature_mean: np.ndarray, weight: np.ndarray) -> None:
        for own, new in zip(self.parameters(), (trial_mean, feature_mean, weight), strict=True):
            own.copy_(torch.from_numpy(new))


class RidgeDecoding(Ridge):
    """Image features from trials; predicted and true features are compared by cosine."""

    def forward(self, x: Tensor) -> Tensor:
        """Predicted features of trials (n, c, t), minus their mean: (n, d)."""
        return super().forward(x) @ self.weight


class RidgeEncoding(Ridge):
    """Trials from image features; predicted and true trials are compared by correlation."""

    @staticmethod
    def direction(trial: T, feature: T) -> tuple[T, T]:
        return feature, trial

    def forward(self, x: Tensor) -> Tensor:
        """Trials (n, c, t), minus the mean trial, each minus its own mean: (n, c t)."""
        return _centered(super().forward(x))

    def image_head(self, features: Tensor) -> Tensor:
        """The same for the trials predicted from features (n, d): (n, c t)."""
        return _centered(super().image_head(features) @ self.weight)


RIDGES: dict[str, type[Ridge]] = {"ridge-decoding": RidgeDecoding, "ridge-encoding": RidgeEncoding}


class Scatter:
    r"""The part of ridge regression of outputs Y on inputs X that does not depend on the penalty.

    With centered X (n, p) and Y (n, m), :math:`W = (X^\top X + \lambda I)^{-1} X^\top Y`; with fewer rows
    than inputs, the same as :math:`X^\top (X X^\top + \lambda I)^{-1} Y`. Rows are read in blocks (k, p)
    and (k, m); only the second form keeps all inputs in memory. The matrix is in memory once.
    """

    def __init__(self, blocks: Iterator[Rows], n: int, p: int) -> None:
        self.few = n < p
        if min(n, p) > LARGEST:
            raise UsageError(
                f"ridge regression takes at most {LARGEST} trials, or channels times samples, and there are "
                f"{min(n, p)} of both or more",
                "use fewer channels with --set data.channels=..., or a lower --set trials.sfreq",
            )
        sums = _by_rows(blocks, n) if self.few else _by_inputs(blocks)
        self.means, self._scatter, self._right, self._inputs = sums
        self._diagonal = self._scatter.diagonal().copy()
        self.mean_eigenvalue = float(self._diagonal.mean())

    def weight(self, share: float) -> np.ndarray:
        """The map (p, m) for a penalty, given as a share of the mean eigenvalue."""
        np.fill_diagonal(self._scatter, self._diagonal + share * self.mean_eigenvalue)
        solution = _solve(self._scatter, self._right)
        if self._inputs is None:
            return solution
        return np.concatenate([columns.T @ solution for columns in _columns(self._inputs)])


def fit_ridge(data: TrainingSet, model: Ridge, spec: TrainSpec) -> pd.DataFrame:
    """Solve for the linear map, in place, with the penalty that retrieves held-out concepts best.

    These are ``validation_concepts``, or a tenth if it is 0; the final map is that of all trials. Returns a
    row per penalty.
    """
    start = time.perf_counter()
    n_concepts = data.table["concept"].nunique()
    n_held_out = spec.validation_concepts or max(2, int(HELD_OUT * n_concepts))
    if n_concepts < n_held_out + 2:
        raise UsageError(
            f"ridge regression chooses its penalty on {n_held_out} held-out concepts, and would have "
            f"{n_concepts - n_held_out} of {n_concepts} training concepts left to train on",
            f"train on {n_held_out + 2} concepts or more, hold out fewer with --set "
            "train.validation_concepts=2, or choose another --method",
        )
    train, held_out = hold_out_concepts(data, n_held_out, spec.seed)
    scatter = _scatter(train, model)
    rows: list[dict[str, float]] = []
    for share in SHARES:
        _solve_for(model, scatter, share)
        mrr = retrieval(model, held_out)
        seconds = time.perf_counter() - start - sum(row["dur"] for row in rows)
        penalty = share * scatter.mean_eigenvalue
        rows.append({"share": share, "penalty": penalty, "valid_mrr": mrr, "dur": seconds})
    best = max(rows, key=lambda row: row["valid_mrr"])
    del scatter  # the next one may be as large
    _solve_for(model, _scatter(data, model), best["share"])
    best["dur"] += time.perf_counter() - start - sum(row["dur"] for row in rows)
    return pd.DataFrame(rows).assign(chosen=[row is best for row in rows])


def retrieval(model: Ridge, data: TrainingSet) -> float:
    """Mean reciprocal rank of each trial's own image among the images of a set."""
    images, own = np.unique(data.image.numpy(), return_inverse=True)
    gallery = embed_images(model, data.original[torch.from_numpy(images)])
    ranks = []
    for first in range(0, len(own), BLOCK):
        part = slice(first, first + BLOCK)
        ranks.append(rank_of_target(cosine(embed_trials(model, data.x[part]), gallery), own[part]))
    return summarize(np.concatenate(ranks))["mrr"]


def _scatter(data: TrainingSet, model: Ridge) -> Scatter:
    blocks = (data[rows] for rows in torch.arange(len(data)).split(BLOCK))
    pairs = (model.direction(x.flatten(1).numpy(), y["original"].numpy()) for x, y in blocks)
    return Scatter(pairs, len(data), len(model.weight))


def _solve_for(model: Ridge, scatter: Scatter, share: float) -> None:
    model.fill(*model.direction(*scatter.means), scatter.weight(share))


def _by_inputs(
    blocks: Iterator[Rows],
) -> tuple[Rows, np.ndarray, np.ndarray, np.ndarray | None]:
    """Means, X'X and X'Y of centered rows, from sums; rows are shifted by the first block's means."""
    first, n = next(blocks), 0
    shift = first[0].mean(0, dtype=np.float64), first[1].mean(0, dtype=np.float64)
    sums = np.zeros_like(shift[0]), np.zeros_like(shift[1])
    scatter, right = np.zeros((len(sums[0]),) * 2), np.zeros((len(sums[0]), len(sums[1])))
    for x, y in chain([first], blocks):
        x, y = x - shift[0], y - shift[1]
        n += len(x)
        sums = sums[0] + x.sum(0), sums[1] + y.sum(0)
        _add_square(scatter, x)
        right += x.T @ y
    root = sums[0] / np.sqrt(n)
    for row in range(0, len(root), BLOCK):
        scatter[row : row + BLOCK] -= np.outer(root[row : row + BLOCK], root)
    _mirror(scatter)
    right -= np.outer(sums[0], sums[1] / n)
    return (shift[0] + sums[0] / n, shift[1] + sums[1] / n), scatter, right, None


def _by_rows(
    blocks: Iterator[Rows], n: int
) -> tuple[Rows, np.ndarray, np.ndarray, np.ndarray | None]:
    """Means, XX', Y and X of centered rows, without a second copy in memory."""
    block = next(blocks)
    x, y = (np.empty((n, part.shape[1]), part.dtype) for part in block)
    first = 0
    for some_x, some_y in chain([block], blocks):
        rows = slice(first, first + len(some_x))
        x[rows], y[rows] = some_x, some_y
        first += len(some_x)
    means = x.mean(0, dtype=np.float64), y.mean(0, dtype=np.float64)
    x -= means[0].astype(x.dtype)
    scatter = np.zeros((n, n))
    for columns in _columns(x):
        _add_square(scatter, columns.T)
    _mirror(scatter)
    return means, scatter, y - means[1], x


def _columns(x: np.ndarray) -> Iterator[np.ndarray]:
    """``BLOCK`` columns at a time, in double precision."""
    for first in range(0, x.shape[1], BLOCK):
        yield x[:, first : first + BLOCK].astype(np.float64)


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve with a positive definite matrix (n, n), whose factor overwrites one triangle for a while."""
    factor = cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)
    solution = cho_solve(factor, right, check_finite=False)
    _mirror(matrix)
    return solution


def _add_square(matrix: np.ndarray, x: np.ndarray) -> None:
    """Add X'X to the lower triangle of a matrix (p, p), in place."""
    a, transposed = (x.T, 0) if x.flags.c_contiguous else (x, 1)
    blas.dsyrk(1.0, a, beta=1.0, c=matrix.T, trans=transposed, lower=0, overwrite_c=1)


def _mirror(matrix: np.ndarray) -> None:
    """Copy the lower triangle into the upper one, in place."""
    for first in range(0, len(matrix), BLOCK):
        rows = slice(first, first + BLOCK)
        matrix[rows, first + BLOCK :] = matrix[first + BLOCK :, rows].T
        block = matrix[rows, rows]
        above = np.triu_indices(len(block), 1)
        block[above] = block.T[above]


def _centered(rows: Tensor) -> Tensor:
    return rows - rows.mean(1, keepdim=True)

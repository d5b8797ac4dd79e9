r"""Linear encoding: predict brain responses from image features, rank candidates by likelihood.

Kay et al., "Identifying natural images from human brain activity", Nature 452 (2008); Gifford et al., "A
large and rich EEG dataset for modeling human visual object recognition", NeuroImage 264 (2022). Everything
is fitted on training trials, and every choice is made by cross-validation over training concepts.

1. Each channel is projected onto smooth functions of time: raised cosines from 0.04 to 0.6 s.
2. A ridge regression predicts these numbers from principal components of the image features.
3. What it leaves over is noise. The inverse root of its covariance, shrunk as by Ledoit and Wolf, whitens
   time and channels together.
4. Of the whitened predictions the first few singular vectors are kept (reduced rank).
5. With whitened responses :math:`q` and predictions :math:`p`, the log-likelihood of a candidate is
   :math:`q \cdot p - \|p\|^2 / 2` up to a constant: candidates are ordered by their distance from :math:`q`.
"""

from __future__ import annotations

import time
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.model_selection import GroupKFold
from torch import Tensor, nn

from ..errors import DataError, UsageError
from ..retrieval.ranks import minus_squared_distance, rank_of_target, summarize

if TYPE_CHECKING:
    from ..models.modules import Components
    from .data import TrainingSet

FIRST, LAST = 0.04, 0.6  # seconds after the onset between which responses are modeled
BLOCK = 1024  # trials in double precision at once


def raised_cosines(n_times: int, sfreq: float, start: float, spacing: float) -> np.ndarray:
    """Orthonormal smooth functions of time, shape (n_times, n_functions).

    Raised cosines of twice the spacing in half width, centered every ``spacing`` seconds from 0.04 to 0.6
    s after the onset or to the end of the trial, made orthonormal by a QR decomposition.
    """
    times = start + np.arange(n_times) / sfreq
    last = min(LAST, times[-1])
    centers = np.arange(FIRST, last + 1e-9, spacing)
    if not len(centers):
        raise UsageError(
            f"trials from {times[0]:g} to {times[-1]:g} s end before brain responses begin, at {FIRST:g} s",
            "choose a longer trial with --set trials.stop=0.6",
        )
    phase = np.clip((times[:, None] - centers) / (2 * spacing), -1, 1)
    basis = (1 + np.cos(np.pi * phase)) / 2
    q, r = np.linalg.qr(basis)
    kept = np.abs(np.diag(r)) > 1e-9  # above the rate of the samples, functions repeat one another
    return q[:, kept]


class EncodingModel(BaseEstimator):
    """Predict brain responses from image features, and find the image that a response belongs to.

    Parameters
    ----------
    sfreq, start : float
        Sampling rate of the trials in Hz, and time of their first sample in seconds after the onset.
    spacings, n_components, penalties, ranks : tuple of float or int
        What to choose from: seconds between the functions of time, numbers of principal components of the
        features, ridge penalties as a share of their mean variance, dimensions of the prediction.
    n_folds : int
        Folds of the cross-validation over groups.

    Attributes
    ----------
    filters_ : ndarray, shape (chans * times, rank)
        From a trial, less ``trial_mean_``, to its whitened components.
    weight_ : ndarray, shape (n_features, rank)
        From features, less ``feature_mean_``, to the predicted components.
    trial_mean_, feature_mean_ : ndarray
    choices_ : DataFrame
        The mean reciprocal rank of each combination on held-out groups, and which was chosen.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> features = rng.normal(size=(60, 5))
    >>> responses = (features @ rng.normal(size=(5, 3 * 50))).reshape(60, 3, 50)
    >>> model = EncodingModel(sfreq=100.0, n_components=(5,), ranks=(3,))
    >>> model = model.fit(responses + rng.normal(size=(60, 3, 50)), features, groups=np.arange(60) // 4)
    >>> model.predict(features).shape
    (60, 3)
    """

    def __init__(
        self,
        sfreq: float,
        start: float = 0.0,
        *,
        spacings: tuple[float, ...] = (0.02, 0.03),
        n_components: tuple[int, ...] = (48, 96, 192, 384),
        penalties: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0),
        ranks: tuple[int, ...] = (8, 12, 16, 24, 32, 48),
        n_folds: int = 5,
    ) -> None:
        self.sfreq, self.start = sfreq, start
        self.spacings, self.n_components, self.penalties = spacings, n_components, penalties
        self.ranks, self.n_folds = ranks, n_folds

    def fit(self, X: Any, y: np.ndarray, groups: np.ndarray) -> EncodingModel:
        """Choose and fit the model.

        Parameters
        ----------
        X : array-like, shape (n, chans, times)
            Trials, for example averaged over the repetitions of an image; read in blocks.
        y : ndarray, shape (n, n_features)
            Features of the image of each trial.
        groups : ndarray, shape (n,)
            Concepts: trials of one group are never on both sides of the cross-validation.
        """
        n, chans, n_times = X.shape
        y = np.asarray(y, np.float64)
        bases = {s: raised_cosines(n_times, self.sfreq, self.start, s) for s in self.spacings}
        signals = {spacing: _project(X, basis) for spacing, basis in bases.items()}
        n_folds = min(self.n_folds, len(np.unique(groups)))
        if n_folds < 2:
            raise UsageError(
                "an encoding model is chosen by cross-validation over concepts, and there is only one",
                "train on two concepts or more",
            )
        folds = list(GroupKFold(n_folds).split(signals[self.spacings[0]], groups=groups))
        images = np.unique(y, axis=0, return_inverse=True)[1].reshape(-1)
        more = [k for k in sorted(self.n_components) if k > images.max()]
        counts = [k for k in self.n_components if k not in more[1:]]  # all components are all
        rows = []
        for spacing, (train, held_out) in product(self.spacings, folds):
            part = _Fit(signals[spacing][train], y[train], max(self.n_components))
            gallery, own = np.unique(images[held_out], return_index=True, return_inverse=True)[1:]
            for k, penalty in product(counts, self.penalties):
                filters, weight = part.solve(k, penalty, max(self.ranks))
                q = (signals[spacing][held_out] - part.signal_mean) @ filters
                p = (y[held_out][gallery] - part.feature_mean) @ weight
                for rank in self.ranks:
                    similarity = minus_squared_distance(q[:, :rank], p[:, :rank])
                    mrr = summarize(rank_of_target(similarity, own))["mrr"]
                    rows.append((spacing, k, penalty, rank, mrr))
        names = ["spacing", "n_components", "penalty", "rank"]
        table = pd.DataFrame(rows, columns=[*names, "valid_mrr"])
        table = table.groupby(names, sort=False, as_index=False)["valid_mrr"].mean()
        best = int(table["valid_mrr"].to_numpy().argmax())
        spacing, k, penalty, rank = table.loc[best, names].tolist()
        self.choices_ = table.assign(chosen=table.index == best)
        whole = _Fit(signals[spacing], y, int(k))
        filters, self.weight_ = whole.solve(int(k), penalty, int(rank))
        basis = bases[spacing]
        self.filters_ = np.einsum("tb,cbr->ctr", basis, filters.reshape(chans, basis.shape[1], -1))
        self.filters_ = self.filters_.reshape(chans * n_times, -1)
        self.feature_mean_ = whole.feature_mean
        self.trial_mean_ = (whole.signal_mean.reshape(chans, -1) @ basis.T).reshape(-1)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """The whitened components of trials (n, chans, times): (n, rank)."""
        flat = np.asarray(X, np.float64).reshape(len(X), -1)
        return (flat - self.trial_mean_) @ self.filters_

    def predict(self, y: np.ndarray) -> np.ndarray:
        """The components predicted for images with features (n, n_features): (n, rank)."""
        return (np.asarray(y, np.float64) - self.feature_mean_) @ self.weight_

    def score(self, X: np.ndarray, y: np.ndarray) -> float:
        """Top-1 accuracy of retrieving each trial's own features among all rows of ``y``."""
        similarity = minus_squared_distance(self.transform(X), self.predict(y))
        return float((rank_of_target(similarity, np.arange(len(X))) == 1).mean())


class _Fit:
    """What does not depend on penalty and rank: principal components, noise covariance, whitening."""

    def __init__(self, signal: np.ndarray, features: np.ndarray, n_components: int) -> None:
        self.signal_mean, self.feature_mean = signal.mean(0), features.mean(0)
        signal, centered = signal - self.signal_mean, features - self.feature_mean
        values, vectors = np.linalg.eigh(centered.T @ centered)
        kept = np.flatnonzero(values > 1e-10 * values[-1])[::-1][:n_components]
        self.values, self.axes = values[kept], vectors[:, kept]
        self.right = (centered @ self.axes).T @ signal
        scores = centered @ self.axes
        noise = signal - scores @ self._ridge(len(kept), 0.3)
        self.whitening = _inverse_root(noise)

    def solve(self, n_components: int, penalty: float, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """Filters (n_signal, rank) and weights (n_features, rank)."""
        k = min(n_components, len(self.values))
        weight = self._ridge(k, penalty) @ self.whitening
        predicted = np.sqrt(self.values[:k, None]) * weight
        directions = np.linalg.svd(predicted, full_matrices=False)[2][:rank].T
        return self.whitening @ directions, self.axes[:, :k] @ (weight @ directions)

    def _ridge(self, k: int, penalty: float) -> np.ndarray:
        return self.right[:k] / (self.values[:k] + penalty * self.values[:k].mean())[:, None]


def _project(X: Any, basis: np.ndarray) -> np.ndarray:
    """Trials in terms of functions of time, shape (n, chans * n_functions), in double precision."""
    parts = [
        np.einsum(
            "nct,tb->ncb", np.asarray(X[first : first + BLOCK], np.float64), basis, optimize=True
        )
        for first in range(0, len(X), BLOCK)
    ]
    return np.concatenate(parts).reshape(len(X), -1)


def _inverse_root(noise: np.ndarray) -> np.ndarray:
    from sklearn.covariance import ledoit_wolf

    values, vectors = np.linalg.eigh(ledoit_wolf(noise, assume_centered=True)[0])
    return vectors / np.sqrt(np.maximum(values, 1e-12 * values[-1])) @ vectors.T


class Encoding(nn.Module):
    """An :class:`EncodingModel` as the model of a run: trials and features to components of equal meaning.

    ``n_outputs`` is the largest rank; components beyond the rank that is chosen are zero.
    """

    space = "gaussian"

    def __init__(
        self, n_signal: int, n_features: int, sfreq: float, start: float | None, n_outputs: int = 48
    ) -> None:
        super().__init__()
        self.sfreq, self.start = sfreq, start
        self.trial_mean, self.feature_mean = frozen(n_signal), frozen(n_features)
        self.filters, self.weight = frozen(n_signal, n_outputs), frozen(n_features, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The whitened components of trials (n, c, t): (n, n_outputs)."""
        return (x.flatten(1) - self.trial_mean) @ self.filters

    def image_head(self, features: Tensor) -> Tensor:
        """The components predicted from image features (n, d): (n, n_outputs)."""
        return (features - self.feature_mean) @ self.weight

    @torch.no_grad()
    def fit(self, data: TrainingSet) -> pd.DataFrame:
        """Fit to all training trials, with concepts as groups; a row per combination, see ``choices_``."""
        if self.start is None:
            raise DataError(
                "the prepared trials do not say when they begin, which an encoding model needs",
                "remove them from the folder ssr/trials of the data set, and train again",
            )
        began = time.perf_counter()
        model = EncodingModel(self.sfreq, self.start)
        features = data.original[data.image].numpy()
        model.fit(data.x, features, data.table["concept"].to_numpy())
        for name in ("trial_mean", "feature_mean", "filters", "weight"):
            fitted = torch.from_numpy(getattr(model, f"{name}_"))
            own = getattr(self, name)
            own[..., : fitted.shape[-1]] = fitted.to(own.dtype)
        seconds = np.zeros(len(model.choices_))
        seconds[0] = time.perf_counter() - began
        return model.choices_.assign(dur=seconds)


def fit_components(components: Components, data: TrainingSet, sfreq: float, tmin: float) -> None:
    """Fit supervised components: those in which an encoding model predicts training trials best.

    Parameters
    ----------
    components : Components
        Gets the mean and the filters of an :class:`EncodingModel` whose rank is their number.
    data : TrainingSet
    sfreq, tmin : float
        Sampling rate of the trials in Hz, and time of their first sample in seconds after the onset.
    """
    rank = components.filters.shape[1]
    model = EncodingModel(sfreq, tmin, spacings=(0.02,), ranks=(rank,))
    features = data.original[data.image].cpu().numpy()
    model.fit(data.x, features, data.table["concept"].to_numpy())
    components.mean.copy_(torch.from_numpy(model.trial_mean_))
    filters = torch.from_numpy(model.filters_)
    components.filters[:, : filters.shape[1]] = filters.to(components.filters)


def frozen(*shape: int) -> nn.Parameter:
    """A parameter of zeros that is solved for, not trained."""
    return nn.Parameter(torch.zeros(shape), requires_grad=False)

"""Whitening: noise normalization of channels, or of channels and times together, or z-scores.

Fitted on the training trials of a session.

Guggenmos, Sterzer & Cichy, "Multivariate pattern analysis for MEG: a comparison of dissimilarity measures",
NeuroImage 173 (2018), with the shrinkage of Ledoit & Wolf, "A well-conditioned estimator for
large-dimensional covariance matrices" (2004). Trials are read and written in chunks, so that anything with
a shape that takes slices will do, and memory stays flat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..errors import DataError
from ..files import in_chunks

CHUNK = 128  # trials in memory at a time
LARGEST = 4096
"""Channels times samples that are whitened together at most: the covariance then takes 0.13 GB."""

Whitening = Callable[[Any], Any]
"""Whitens trials ``(n_trials, chans, times)`` in place and returns them."""


def fit_whitening(
    kind: str, trials: Any, conditions: np.ndarray, source: str = "the training trials"
) -> Whitening:
    """Fit the whitening of a session on its training trials.

    Parameters
    ----------
    kind : {"mvnn", "mvnn-time", "zscore", "robust", "none"}
        As ``TrialSpec.whitening``.
    trials : array-like, shape (n_trials, chans, times)
        Single training trials; not changed.
    conditions : ndarray, shape (n_trials,)
        The image of each trial.
    source : str
        Where the trials come from, for error messages.

    Returns
    -------
    callable
        Whitens trials with the same channels in place.

    Raises
    ------
    DataError
        If there are no trials, a channel is constant or NaN, (mvnn) channels are linearly dependent, or
        (mvnn-time) no image is repeated or trials have more than 4,096 numbers.
    """
    if kind in ("none", "robust"):  # robust: the recording was scaled before epochs were cut
        return lambda trials: trials
    if not len(trials):
        found = f"there are no training trials to fit {kind} on"
        raise DataError(found, "add the training part of the session")
    if kind == "zscore":
        mean, deviation = channel_scale(trials, source)
        return whitening_of({"mean": mean, "deviation": deviation})
    covariance = noise_covariance if kind == "mvnn" else joint_noise_covariance
    return whitening_of({"matrix": whitening_matrix(covariance(trials, conditions), source)})


def whitening_of(arrays: Mapping[str, np.ndarray]) -> partial:
    """The whitening with these arrays: ``matrix`` (chans, chans), or ``mean`` and ``deviation`` (chans,)."""
    return partial(whiten if "matrix" in arrays else standardize, **arrays, in_place=True)


def mean_whitening(sessions: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """One whitening for several sessions, from their mean noise covariance, or their mean moments."""
    if "matrix" in sessions[0]:
        covariances = [np.linalg.inv(one["matrix"] @ one["matrix"]) for one in sessions]
        return {"matrix": whitening_matrix(np.mean(covariances, axis=0))}
    mean = np.mean([one["mean"] for one in sessions], axis=0)
    squares = np.mean([one["mean"] ** 2 + one["deviation"] ** 2 for one in sessions], axis=0)
    return {"mean": mean, "deviation": np.sqrt(squares - mean**2)}


def noise_covariance(trials: Any, conditions: np.ndarray) -> np.ndarray:
    """The mean shrunk covariance, over the repetitions of an image and then over images.

    Parameters
    ----------
    trials : array-like, shape (n_trials, chans, times)
        Single trials; averages would need another shrinkage.
    conditions : ndarray, shape (n_trials,)
        The image of each trial.

    Returns
    -------
    ndarray of float64, shape (chans, chans)
        In the squared unit of ``trials``.
    """
    _, group, counts = np.unique(conditions, return_inverse=True, return_counts=True)
    weights = 1 / (len(counts) * counts[group])

    def weighted(part: slice) -> np.ndarray:
        return np.tensordot(weights[part], shrunk_covariances(trials[part]), axes=1)

    return sum(in_chunks(weighted, len(trials), CHUNK), np.zeros((trials.shape[1],) * 2))


def joint_noise_covariance(trials: Any, conditions: np.ndarray) -> np.ndarray:
    """The shrunk covariance of channels and times together, float64 (chans * times, chans * times).

    Of repetitions about the mean of their image; images shown once do not count. Each number of a trial
    is divided by its standard deviation before the shrinkage of Ledoit and Wolf, and multiplied again
    after it. Single trials should have a low rate: 50 Hz holds what brain responses to images consist of.
    """
    n_chans, n_times = trials.shape[1:]
    width = n_chans * n_times
    if width > LARGEST:
        raise DataError(
            f"trials.whitening=mvnn-time whitens channels and times together, but {n_chans} channels times "
            f"{n_times} samples are more than {LARGEST:,} numbers",
            "lower the rate and shorten the trial, for example with --set trials.sfreq=50 --set "
            "trials.stop=0.6, or use --set trials.whitening=mvnn",
        )
    _, group, counts = np.unique(conditions, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[group] > 1)
    if not len(repeated):
        raise DataError(
            "trials.whitening=mvnn-time learns the noise from images that were shown more than once, but "
            "no training image of the session was",
            "use --set trials.whitening=mvnn",
        )
    means = np.zeros((len(counts), width))

    def add(part: slice) -> None:
        values = np.asarray(trials[part], np.float64).reshape(-1, width)
        np.add.at(means, group[part], values / counts[group[part], None])

    def residuals(part: slice) -> np.ndarray:
        values = np.asarray(trials[part], np.float64).reshape(-1, width) - means[group[part]]
        n = counts[group[part]]
        return values * np.sqrt(n / np.maximum(n - 1, 1))[:, None]

    list(in_chunks(add, len(trials), CHUNK))
    powers = in_chunks(lambda part: (residuals(part) ** 2).sum(0), len(trials), CHUNK)
    scale = np.sqrt(sum(powers, np.zeros(width)) / len(repeated))
    scale[scale == 0] = 1.0

    def moments(part: slice) -> tuple[np.ndarray, float]:
        rows = residuals(part) / scale
        return rows.T @ rows, float(((rows**2).sum(1) ** 2).sum())

    covariance, fourth = np.zeros((width, width)), 0.0
    for product, power in in_chunks(moments, len(trials), CHUNK):
        covariance += product / len(repeated)
        fourth += power / len(repeated)
    mu, squared = np.trace(covariance) / width, float((covariance**2).sum())
    delta = squared - width * mu**2
    shrinkage = min((fourth - squared) / len(repeated), delta) / delta if delta > 0 else 0.0
    covariance *= 1 - shrinkage
    covariance[np.diag_indices(width)] += shrinkage * mu
    return covariance * scale[:, None] * scale


def shrunk_covariances(trials: np.ndarray) -> np.ndarray:
    """The Ledoit-Wolf covariance of the channels within each trial, over its time points.

    What ``sklearn.discriminant_analysis._cov(trial.T, shrinkage="auto")`` gives for one trial (channels are
    standardized first and scaled back afterwards), for all trials at once in float64.

    Parameters
    ----------
    trials : ndarray, shape (n_trials, chans, times)

    Returns
    -------
    ndarray of float64, shape (n_trials, chans, chans)
        In the squared unit of ``trials``.
    """
    values = np.asarray(trials, np.float64)
    n_chans, n_times = values.shape[1:]
    values = values - values.mean(axis=-1, keepdims=True)
    scale = np.sqrt(np.mean(values**2, axis=-1))
    scale[scale == 0] = 1.0
    values /= scale[..., None]
    power = np.einsum("nct,nct->nt", values, values)
    covariances = values @ values.swapaxes(1, 2) / n_times
    mu = np.trace(covariances, axis1=1, axis2=2) / n_chans
    squared = np.einsum("nij,nij->n", covariances, covariances)
    beta = (np.einsum("nt,nt->n", power, power) / n_times - squared) / (n_chans * n_times)
    delta = (squared - n_chans * mu**2) / n_chans
    beta = np.minimum(beta, delta)
    shrinkage = np.divide(beta, delta, out=np.zeros_like(beta), where=(beta != 0) & (n_chans > 1))
    covariances *= (1 - shrinkage)[:, None, None]
    diagonal = np.arange(n_chans)
    covariances[:, diagonal, diagonal] += (shrinkage * mu)[:, None]
    return covariances * scale[:, :, None] * scale[:, None, :]


def whitening_matrix(covariance: np.ndarray, source: str = "the training trials") -> np.ndarray:
    """The symmetric inverse square root of a covariance, shape (chans, chans), in float64.

    Raises
    ------
    DataError
        If the covariance holds NaN, or channels are copies or sums of one another.
    """
    found = "it holds NaN or infinite values"
    if np.isfinite(covariance).all():
        values, vectors = np.linalg.eigh(covariance)
        if values[0] > 1e-13 * values[-1]:
            return vectors / np.sqrt(values) @ vectors.T
        found = f"its smallest eigenvalue is {values[0] / values[-1]:.1e} times the largest"
    raise DataError(
        f"the noise covariance of {source} does not have full rank: {found}",
        "leave out channels that are broken, or copies or sums of others, with --set data.channels=[...]",
    )


def whiten(trials: Any, matrix: np.ndarray, *, in_place: bool = False) -> Any:
    """Mix the channels of trials, or channels and times, with a whitening matrix; sums are in float64.

    Returns
    -------
    array-like, shape (n_trials, chans, times)
        Unitless, in the dtype of ``trials``; ``trials`` itself with ``in_place``.
    """
    matrix = np.asarray(matrix, np.float64)

    def mixed(part: np.ndarray) -> np.ndarray:
        values = part.astype(np.float64)
        if len(matrix) == part.shape[1]:
            return matrix @ values
        return (values.reshape(len(values), -1) @ matrix.T).reshape(values.shape)

    return _changed(mixed, trials, in_place)


def channel_scale(
    trials: Any, source: str = "the training trials"
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, over trials and time points.

    Moments of chunks are joined in float64 as in Chan, Golub & LeVeque (1983), so that a large mean costs
    no digits.

    Returns
    -------
    mean, deviation : ndarray of float64, shape (chans,)
        In the unit of ``trials``.

    Raises
    ------
    DataError
        If a channel is constant or holds NaN.
    """
    count, mean, squares = 0, np.zeros(trials.shape[1]), np.zeros(trials.shape[1])

    def moments(part: slice) -> tuple[int, np.ndarray, np.ndarray]:
        values = np.asarray(trials[part], np.float64)
        middle = values.mean(axis=(0, 2))
        centered = values - middle[:, None]
        squares = np.einsum("nct,nct->c", centered, centered)
        return values.shape[0] * values.shape[2], middle, squares

    for n, part_mean, part_squares in in_chunks(moments, len(trials), CHUNK):
        shift, count = part_mean - mean, count + n
        mean = mean + shift * n / count
        squares = squares + part_squares + shift**2 * n * (count - n) / count
    deviation = np.sqrt(squares / count)
    finite = deviation[np.isfinite(deviation)]
    least = 1e-9 * np.median(finite) if len(finite) else np.inf
    broken = np.flatnonzero(~(np.isfinite(deviation) & (deviation > least)))
    if len(broken):
        found = f"channel number {broken[0] + 1} of {source} is constant or holds NaN"
        raise DataError(found, "leave out broken channels with --set data.channels=[...]")
    return mean, deviation


def standardize(
    trials: Any, mean: np.ndarray, deviation: np.ndarray, *, in_place: bool = False
) -> Any:
    """Subtract the mean of each channel and divide by its standard deviation.

    Returns
    -------
    array-like, shape (n_trials, chans, times)
        Unitless, in the dtype of ``trials``; ``trials`` itself with ``in_place``.
    """
    mean, deviation = mean[:, None], deviation[:, None]
    return _changed(lambda part: (part - mean) / deviation, trials, in_place)


def clamp(trials: Any, largest: float) -> None:
    """Limit trials to ``-largest`` to ``largest``, in place."""
    _changed(lambda part: np.clip(part, -largest, largest), trials, in_place=True)


def _changed(change: Callable[[np.ndarray], np.ndarray], trials: Any, in_place: bool) -> Any:
    """Apply ``change`` to trials, chunk by chunk; the result has their dtype."""
    changed = trials if in_place else np.empty_like(trials)

    def fill(part: slice) -> None:
        changed[part] = change(trials[part])

    list(in_chunks(fill, len(trials), CHUNK))
    return changed

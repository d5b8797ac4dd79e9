"""Multivariate noise normalisation: trials whitened by the noise covariance of a session.

Guggenmos, Sterzer & Cichy, "Multivariate pattern analysis for MEG: a comparison of dissimilarity
measures", NeuroImage 173 (2018), with the shrinkage of Ledoit & Wolf, "A well-conditioned estimator for
large-dimensional covariance matrices" (2004).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ..errors import DataError
from ..files import in_chunks

CHUNK = 128
"""Trials that are handled at once."""


def shrunk_covariances(trials: np.ndarray) -> np.ndarray:
    """The shrunk covariance of the channels within each trial.

    Channels are standardised, the Ledoit-Wolf estimate is taken over the times, and the result is
    scaled back: what ``sklearn.discriminant_analysis._cov(trial.T, shrinkage="auto")`` gives for each
    trial, for all trials at once, in float64.

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


def noise_covariance(trials: np.ndarray, conditions: np.ndarray) -> np.ndarray:
    """The mean shrunk covariance: over the repetitions of a condition, then over conditions.

    Memory stays flat: trials are handled in chunks and only the sum is kept.

    Parameters
    ----------
    trials : ndarray, shape (n_trials, chans, times)
        Single trials; an average of repetitions has another shrinkage.
    conditions : ndarray, shape (n_trials,)
        Which image each trial shows.

    Returns
    -------
    ndarray of float64, shape (chans, chans)
        In the squared unit of ``trials``.

    Raises
    ------
    DataError
        If there is no trial.
    """
    if not len(trials):
        raise DataError("training trials to fit the whitening on", "none", "get the training part")
    _, group, counts = np.unique(conditions, return_inverse=True, return_counts=True)
    weights = 1 / (len(counts) * counts[group])

    def weighted(part: slice) -> np.ndarray:
        return np.tensordot(weights[part], shrunk_covariances(trials[part]), axes=1)

    return sum(in_chunks(weighted, len(trials), CHUNK), np.zeros((trials.shape[1],) * 2))


def whitening_matrix(covariance: np.ndarray, source: str = "the training trials") -> np.ndarray:
    """The inverse square root of a covariance.

    Parameters
    ----------
    covariance : ndarray, shape (chans, chans)
    source : str
        Where the covariance was taken, for messages.

    Returns
    -------
    ndarray of float64, shape (chans, chans)
        Symmetric.

    Raises
    ------
    DataError
        If it holds NaN, or if channels are copies or sums of one another.
    """
    found = "NaN or infinite values"
    if np.isfinite(covariance).all():
        values, vectors = np.linalg.eigh(covariance)
        if values[0] > 1e-13 * values[-1]:
            return vectors / np.sqrt(values) @ vectors.T
        found = f"a smallest eigenvalue of {values[0] / values[-1]:.1e} times the largest"
    raise DataError(
        f"a noise covariance of full rank in {source}",
        found,
        "leave out channels that are broken, or copies or sums of others",
    )


def whiten(trials: np.ndarray, matrix: np.ndarray, *, in_place: bool = False) -> np.ndarray:
    """Trials with their channels mixed by the whitening matrix.

    Parameters
    ----------
    trials : ndarray, shape (n_trials, chans, times)
    matrix : ndarray, shape (chans, chans)
        From :func:`whitening_matrix`.
    in_place : bool
        Whether the result may overwrite ``trials``; the sums are taken in float64 either way.

    Returns
    -------
    ndarray, shape (n_trials, chans, times)
        Without unit, of the type of ``trials``.
    """
    whitened = trials if in_place else np.empty_like(trials)
    matrix = np.asarray(matrix, np.float64)

    def fill(part: slice) -> None:
        whitened[part] = matrix @ trials[part].astype(np.float64)

    for _ in in_chunks(fill, len(trials), CHUNK):
        continue
    return whitened


"""Trials that are handled at once."""


def channel_scale(
    trials: np.ndarray, source: str = "the training trials"
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, over trials and times.

    Memory stays flat: trials are handled in chunks, in float64, and the moments of chunks are joined as in
    Chan, Golub & LeVeque (1983), so that a large mean costs no digits.

    Parameters
    ----------
    trials : ndarray, shape (n_trials, chans, times)
        Or anything that has this shape and gives arrays of it for slices.
    source : str
        Where they come from, for messages.

    Returns
    -------
    mean, deviation : ndarray of float64, shape (chans,)
        In the unit of ``trials``.

    Raises
    ------
    DataError
        If there is no trial, or a channel is constant or holds NaN.
    """
    if not len(trials):
        raise DataError("training trials to fit the z-score on", "none", "get the training part")
    count, mean, squares = 0, np.zeros(trials.shape[1]), np.zeros(trials.shape[1])
    for n, part_mean, part_squares in in_chunks(partial(_moments, trials), len(trials), CHUNK):
        shift, count = part_mean - mean, count + n
        mean = mean + shift * n / count
        squares = squares + part_squares + shift**2 * n * (count - n) / count
    deviation = np.sqrt(squares / count)
    finite = deviation[np.isfinite(deviation)]
    least = 1e-9 * np.median(finite) if len(finite) else np.inf
    broken = np.flatnonzero(~(np.isfinite(deviation) & (deviation > least)))
    if len(broken):
        raise DataError(
            f"a signal on every channel of {source}",
            f"NaN or a constant value on channel number {broken[0] + 1}",
            "leave out channels that are broken",
        )
    return mean, deviation


def standardise(
    trials: np.ndarray, mean: np.ndarray, deviation: np.ndarray, *, in_place: bool = False
) -> np.ndarray:
    """Trials less the mean, over the standard deviation, channel by channel.

    Parameters
    ----------
    trials : ndarray, shape (n_trials, chans, times)
    mean, deviation : ndarray, shape (chans,)
        From :func:`channel_scale`.
    in_place : bool
        Whether the result may overwrite ``trials``.

    Returns
    -------
    ndarray, shape (n_trials, chans, times)
        Without unit, of the type of ``trials``.
    """
    scaled = trials if in_place else np.empty_like(trials)
    mean, deviation = mean[:, None], deviation[:, None]

    def fill(part: slice) -> None:
        scaled[part] = (trials[part] - mean) / deviation

    for _ in in_chunks(fill, len(trials), CHUNK):
        continue
    return scaled


def _moments(trials: np.ndarray, part: slice) -> tuple[int, np.ndarray, np.ndarray]:
    """Values of each channel in a chunk, their mean, and their summed squares around it."""
    values = np.asarray(trials[part], np.float64)
    mean = values.mean(axis=(0, 2))
    squares = np.einsum("nct,nct->c", centred := values - mean[:, None], centred)
    return values.shape[0] * values.shape[2], mean, squares


Normalisation = Callable[[np.ndarray], np.ndarray]
"""Takes trials ``(n_trials, chans, times)``, normalises them in place and hands them back."""


def fit_normalisation(
    kind: str, trials: np.ndarray, conditions: np.ndarray, source: str = "the training trials"
) -> Normalisation:
    """What turns trials of a session into normalised ones.

    Parameters
    ----------
    kind : {"mvnn", "zscore", "none"}
        As ``TrialSpec.whitening``.
    trials : ndarray, shape (n_trials, chans, times)
        Training trials of the session, or anything that gives arrays of them for slices; left as they
        are.
    conditions : ndarray, shape (n_trials,)
        Which image each trial shows.
    source : str
        Where they come from, for messages.

    Returns
    -------
    callable
        Normalises trials of the same channels in place.

    Raises
    ------
    DataError
        If there is no trial, or channels are constant, NaN or (mvnn) sums of one another.
    """
    if kind == "mvnn":
        matrix = whitening_matrix(noise_covariance(trials, conditions), source)
        return partial(whiten, matrix=matrix, in_place=True)
    if kind == "zscore":
        mean, deviation = channel_scale(trials, source)
        return partial(standardise, mean=mean, deviation=deviation, in_place=True)
    return lambda trials: trials

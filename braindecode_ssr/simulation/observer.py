"""The ceiling: retrieval by an ideal observer who knows the true responses and the noise.

For each session the observer holds the true response to each test image, cut exactly as the trials are,
and the covariance of everything else in a trial (noise and the responses to neighbouring images), taken
to be separable, the product of a covariance over channels and one over times. Candidates are ranked by
the sum over trials of the Gaussian log likelihood. Separability and normality are approximations, so a
cleverer observer could do a little better; no decoder that has to learn the responses comes near.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..files import one_thread

SHRINKAGE = 1e-3


def separable_covariance(residuals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covariance over channels, and over times once channels are whitened.

    Parameters
    ----------
    residuals : ndarray, shape (n, chans, times)
        Trials without their responses.

    Returns
    -------
    spatial : ndarray, shape (chans, chans)
    temporal : ndarray, shape (times, times)
        Of trace ``times`` or so: their Kronecker product is the covariance of a trial.
    """
    n_times = residuals.shape[2]
    by_channel = residuals.swapaxes(0, 1).reshape(residuals.shape[1], -1)
    spatial = shrunk(by_channel @ by_channel.T / by_channel.shape[1])
    inverse = np.linalg.inv(np.linalg.cholesky(spatial)).astype(residuals.dtype)
    white = (inverse @ by_channel).reshape(-1, n_times)
    return spatial, shrunk(white.T @ white / len(white))


def shrunk(covariance: np.ndarray) -> np.ndarray:
    """A covariance pulled a little towards a multiple of the identity, in float64."""
    size = len(covariance)
    mean = np.trace(covariance) / size
    return (1 - SHRINKAGE) * covariance.astype(np.float64) + SHRINKAGE * mean * np.eye(size)


def log_likelihoods(
    trials: np.ndarray, rows: np.ndarray, templates: np.ndarray, used: np.ndarray
) -> np.ndarray:
    """Log likelihood of each candidate, summed over the trials of each image.

    Parameters
    ----------
    trials : ndarray, shape (n, chans, times)
        All trials of one session: what the observer knows the noise from.
    rows : ndarray of int, shape (n,)
        Which image each trial shows; the observer uses it for the noise, and to join trials.
    templates : ndarray, shape (images, chans, times)
        True responses.
    used : ndarray of bool, shape (n,)
        Which trials are scored.

    Returns
    -------
    ndarray, shape (images, images)
        Queries by candidates, up to a constant per query.
    """
    residuals = trials - templates[rows]
    common = residuals.mean(axis=0)
    spatial, temporal = separable_covariance(residuals - common)
    filters = _filters(templates, spatial, temporal).reshape(len(templates), -1)
    power = (filters * templates.reshape(len(templates), -1)).sum(axis=1)
    shows = (np.arange(len(templates))[:, None] == rows[used]).astype(trials.dtype)
    sums = shows @ (trials[used] - common).reshape(shows.shape[1], -1)
    return sums @ filters.T - shows.sum(axis=1, keepdims=True) * power / 2


def _filters(templates: np.ndarray, spatial: np.ndarray, temporal: np.ndarray) -> np.ndarray:
    """Templates divided by the covariance, in two large products instead of many small ones."""
    n_images, n_chans, n_times = templates.shape
    by_channel = templates.swapaxes(0, 1).reshape(n_chans, -1)
    whiter = (np.linalg.inv(spatial) @ by_channel).reshape(n_chans, n_images, n_times)
    rows = np.ascontiguousarray(whiter.swapaxes(0, 1)).reshape(-1, n_times)
    return (rows @ np.linalg.inv(temporal)).reshape(templates.shape)


def top_accuracy(scores: np.ndarray, k: int) -> float:
    """Share of queries whose own candidate is among the first ``k``; ties count against us.

    Parameters
    ----------
    scores : ndarray, shape (images, images)
        Queries by candidates; the right candidate is on the diagonal.
    k : int
    """
    ahead = (scores >= np.diag(scores)[:, None]).sum(axis=1) - 1
    return float(np.mean(ahead < k))


def ceiling(
    sessions: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], templates: np.ndarray
) -> dict[str, float]:
    """What the ideal observer reaches.

    Parameters
    ----------
    sessions : iterable of (trials, rows, used)
        All trials ``(n, chans, times)`` of a session, the row of the image each shows, and which of them
        are scored.
    templates : ndarray, shape (images, chans, times)
        True responses, cut as the trials are.

    Returns
    -------
    dict
        ``ceiling_top1`` and ``ceiling_top5``, in 0..1.
    """
    scores = np.zeros((len(templates), len(templates)))
    for trials, rows, used in sessions:
        with one_thread():
            scores += log_likelihoods(trials, rows, templates, used)
    return {"ceiling_top1": top_accuracy(scores, 1), "ceiling_top5": top_accuracy(scores, 5)}

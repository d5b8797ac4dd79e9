"""Smoothing: a moving average over time of some channels (the EEG prior of NeuroBridge)."""

from __future__ import annotations

import numpy as np

from ..errors import UsageError

CHUNK = 512
"""Rows (channels of trials) that are smoothed at once: as many as stay in a processor's cache."""


def smooth(
    trials: np.ndarray, probability: float = 0.3, width: int = 5, seed: int = 0
) -> np.ndarray:
    """A copy in which each channel of each trial is smoothed with the given probability.

    NeuroBridge (arXiv 2511.06836) applies this once to the averaged training trials. At the edges the
    mean is taken over the samples that are there.

    Parameters
    ----------
    trials : ndarray, shape (n_trials, chans, times)
    probability : float
        Of a channel of a trial being smoothed.
    width : int
        Samples of the moving average; odd.
    seed : int

    Returns
    -------
    ndarray, shape (n_trials, chans, times)
        Of the type and unit of ``trials``.

    Raises
    ------
    UsageError
        If the probability is not within 0 to 1, or the width is not odd and positive.
    """
    smoothed = np.array(trials, order="C")
    smooth_chosen(smoothed, choose_channels(*trials.shape[:2], probability, seed), width)
    return smoothed


def choose_channels(n_trials: int, n_chans: int, probability: float, seed: int) -> np.ndarray:
    """Which channels of which trials :func:`smooth` smooths.

    Returns
    -------
    ndarray of bool, shape (n_trials, n_chans)

    Raises
    ------
    UsageError
        If the probability is not within 0 to 1.
    """
    if not 0 <= probability <= 1:
        raise UsageError("a probability of 0 to 1", f"{probability:g}", "choose for example 0.3")
    return np.random.default_rng(seed).random((n_trials, n_chans)) < probability


def smooth_chosen(trials: np.ndarray, chosen: np.ndarray, width: int) -> None:
    """Smooth some channels of some trials, in place.

    Parameters
    ----------
    trials : ndarray, shape (n_trials, chans, times)
        Contiguous.
    chosen : ndarray of bool, shape (n_trials, chans)
    width : int
        Samples of the moving average; odd.

    Raises
    ------
    UsageError
        If the width is not odd and positive.
    """
    if width < 1 or width % 2 == 0:
        raise UsageError("an odd width of 1 or more samples", str(width), "choose for example 5")
    rows, places = trials.reshape(-1, trials.shape[-1]), np.flatnonzero(chosen)
    for first in range(0, len(places), CHUNK):
        part = places[first : first + CHUNK]
        rows[part] = moving_average(rows[part], width)


def moving_average(values: np.ndarray, width: int) -> np.ndarray:
    """The centred moving average over the last axis; fewer samples at the edges.

    Parameters
    ----------
    values : ndarray, shape (..., times)
    width : int
        Odd.

    Returns
    -------
    ndarray, shape (..., times)
    """
    n_times, half = values.shape[-1], min(width // 2, values.shape[-1] - 1)
    places = np.arange(n_times)
    there = np.minimum(places, half) + np.minimum(places[::-1], half) + 1
    rows = values.reshape(-1, n_times)
    means = np.empty_like(rows)
    for first in range(0, len(rows), CHUNK):
        part, sums = rows[first : first + CHUNK], means[first : first + CHUNK]
        sums[:] = part
        for shift in range(1, half + 1):
            sums[:, shift:] += part[:, :-shift]
            sums[:, :-shift] += part[:, shift:]
        sums /= there.astype(values.dtype)
    return means.reshape(values.shape)

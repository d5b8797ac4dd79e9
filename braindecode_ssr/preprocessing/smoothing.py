"""Smoothing: a moving average over time of some channels (the EEG prior of NeuroBridge)."""

from __future__ import annotations

import numpy as np

from ..errors import UsageError

CHUNK = 8192
"""Rows (channels of trials) that are smoothed at once."""


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
    if not 0 <= probability <= 1:
        raise UsageError("a probability of 0 to 1", f"{probability:g}", "choose for example 0.3")
    if width < 1 or width % 2 == 0:
        raise UsageError("an odd width of 1 or more samples", str(width), "choose for example 5")
    smoothed = np.array(trials, order="C")
    rows = smoothed.reshape(-1, smoothed.shape[-1])
    chosen = np.flatnonzero(np.random.default_rng(seed).random(len(rows)) < probability)
    for first in range(0, len(chosen), CHUNK):
        part = chosen[first : first + CHUNK]
        rows[part] = moving_average(rows[part], width)
    return smoothed


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
    sums = values.copy()
    for shift in range(1, half + 1):
        sums[..., shift:] += values[..., :-shift]
        sums[..., :-shift] += values[..., shift:]
    places = np.arange(n_times)
    there = np.minimum(places, half) + np.minimum(places[::-1], half) + 1
    return sums / there.astype(values.dtype)

"""Channels on one scale: mean 0 and standard deviation 1 over training trials.

The z-score that NeuroBridge (arXiv 2511.06836) applies to THINGS-MEG: one mean and one standard deviation
of each channel, over training trials and times, applied to the test trials as well.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ..errors import DataError
from ..files import in_chunks

CHUNK = 128
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

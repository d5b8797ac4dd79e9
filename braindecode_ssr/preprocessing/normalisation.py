"""The normalisations of trials by name, each fitted on training trials."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from .mvnn import noise_covariance, whiten, whitening_matrix
from .zscore import channel_scale, standardise

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

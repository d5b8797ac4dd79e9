"""Repetitions of an image: the published subset, seeded choices, means; and smoothing as an augmentation."""

from __future__ import annotations

import numpy as np

from ..errors import DataError, UsageError

PUBLISHED_SEED = 20200220
"""Seed of the public THINGS-EEG2 scripts."""

PUBLISHED_REPETITIONS = {"train": 2, "test": 20}
"""Trials per image and session that the public scripts keep."""

AT_ONCE, AGAIN = 0.005, 0.05
"""Seconds within which two events are one event, and two events with the same image are one event."""


def published_subset(numbers: np.ndarray, max_rep: int, seed: int = PUBLISHED_SEED) -> np.ndarray:
    """Which trials of a session the public scripts keep.

    The scripts (Gifford et al. 2022; the same in NICE, ATM, UBP and NeuroBridge) shuffle the trials of each
    image anew with the same seed and keep the first ones, so that the choice depends only on the number of
    trials of the image.

    Parameters
    ----------
    numbers : ndarray of int, shape (n_trials,)
        Image number of each trial, in order of presentation.
    max_rep : int
        Trials kept per image: 2 in a training part, 20 in a test part.
    seed : int

    Returns
    -------
    ndarray of int, shape (n_images * max_rep,)
        Indices of the kept trials: images in ascending order, the trials of an image in the order of the
        scripts.

    Raises
    ------
    DataError
        If an image has fewer trials.
    """
    numbers = np.asarray(numbers)
    images, counts = np.unique(numbers, return_counts=True)
    if (message := _too_few(images, counts, max_rep)) is not None:
        raise DataError(message, "use --set trials.repetitions=all")
    order = np.argsort(numbers, kind="stable")
    firsts = np.cumsum(counts) - counts
    picks = {count: published_order(count, seed)[:max_rep] for count in np.unique(counts).tolist()}
    places = np.array([picks[count] for count in counts.tolist()], dtype=int).reshape(-1, max_rep)
    return order[(firsts[:, None] + places).ravel()]


def published_order(n_repetitions: int, seed: int = PUBLISHED_SEED) -> np.ndarray:
    """The order in which the public scripts put the repetitions of an image, joined over sessions."""
    order = np.arange(n_repetitions)
    np.random.RandomState(seed).shuffle(order)
    return order


def choose(numbers: np.ndarray, repetitions: int, seed: int = 0) -> np.ndarray:
    """A random subset of the trials of each image; a smaller subset is part of a larger one.

    Parameters
    ----------
    numbers : ndarray of int, shape (n_trials,)
        Image number of each trial.
    repetitions : int
        Trials kept per image.
    seed : int

    Returns
    -------
    ndarray of int, shape (n_images * repetitions,)
        Indices of the kept trials, ascending.

    Raises
    ------
    UsageError
        If an image has fewer trials.
    """
    numbers = np.asarray(numbers)
    images, counts = np.unique(numbers, return_counts=True)
    if (message := _too_few(images, counts, repetitions)) is not None:
        raise UsageError(message, "choose fewer repetitions")
    order = np.lexsort((np.random.default_rng(seed).random(len(numbers)), numbers))
    return np.sort(order[running_count(numbers[order]) < repetitions])


def _too_few(images: np.ndarray, counts: np.ndarray, wanted: int) -> str | None:
    if wanted < 1:
        raise UsageError(f"{wanted} repetitions cannot be taken", "choose a positive number")
    few = np.flatnonzero(counts < wanted)
    if not len(few):
        return None
    return f"image number {images[few[0]]} has {counts[few[0]]} trials, fewer than {wanted}"


def average_by(trials: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean trial of each group, in the dtype of ``trials``, and the groups in ascending order."""
    names, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.zeros((len(names), *trials.shape[1:]), trials.dtype)
    add_by(sums, trials, group)
    return sums / counts.reshape(-1, *[1] * (trials.ndim - 1)).astype(trials.dtype), names


def add_by(sums: np.ndarray, trials: np.ndarray, group: np.ndarray) -> None:
    """Add each trial to row ``group`` of ``sums``, in place; both have shape ``(n, ...)``."""
    order = np.argsort(group, kind="stable")
    groups, firsts = np.unique(group[order], return_index=True)
    if len(groups) == len(group):
        sums[group] += trials
    else:
        sums[groups] += np.add.reduceat(trials[order], firsts, axis=0)


def running_count(numbers: np.ndarray) -> np.ndarray:
    """How often the same number has come before, for each entry.

    Examples
    --------
    >>> running_count(np.array([7, 3, 7, 7, 3])).tolist()
    [0, 0, 1, 2, 1]
    """
    numbers = np.asarray(numbers)
    order = np.argsort(numbers, kind="stable")
    _, firsts, counts = np.unique(numbers[order], return_index=True, return_counts=True)
    before = np.empty(len(numbers), dtype=int)
    before[order] = np.arange(len(numbers)) - np.repeat(firsts, counts)
    return before


def first_twice(samples: np.ndarray, shown: np.ndarray, sfreq: float) -> tuple[int, int] | None:
    """The first two events that must be one: a trigger read twice, or a trigger and a photodiode.

    Parameters
    ----------
    samples : ndarray of int, shape (n_trials,)
        Onsets, in any order.
    shown : ndarray, shape (n_trials,)
        What is shown.
    sfreq : float
        Sampling rate in Hz.

    Returns
    -------
    tuple of int or None
        Indices of two events within a sample or 5 ms of each other, or with the same image within 50 ms.
    """
    order = np.argsort(samples, kind="stable")
    gaps = np.diff(np.asarray(samples)[order])
    again = np.asarray(shown)[order][1:] == np.asarray(shown)[order][:-1]
    bad = np.flatnonzero((gaps < 1) | (gaps / sfreq < AT_ONCE) | (again & (gaps / sfreq < AGAIN)))
    if not len(bad):
        return None
    first, second = sorted(order[bad[0] : bad[0] + 2].tolist())
    return first, second


CHUNK = 512
"""Rows (channels of trials) smoothed at once: as many as stay in a processor's cache."""


def smooth(
    trials: np.ndarray, probability: float = 0.3, width: int = 5, seed: int = 0
) -> np.ndarray:
    """A copy in which each channel of each trial is smoothed with the given probability.

    NeuroBridge (arXiv 2511.06836) applies this once to the averaged training trials. At the edges the mean
    is taken over the samples that are there.

    Parameters
    ----------
    trials : ndarray, shape (n_trials, chans, times)
    probability : float
        Of smoothing a channel of a trial.
    width : int
        Samples of the moving average; odd.
    seed : int

    Returns
    -------
    ndarray, shape (n_trials, chans, times)
        In the dtype and unit of ``trials``.

    Raises
    ------
    UsageError
        If the probability is not between 0 and 1, or the width is not odd and positive.
    """
    smoothed = np.array(trials, order="C")
    smooth_chosen(
        smoothed, choose_channels(trials.shape[0], trials.shape[1], probability, seed), width
    )
    return smoothed


def choose_channels(n_trials: int, n_chans: int, probability: float, seed: int) -> np.ndarray:
    """Which channels of which trials :func:`smooth` smooths: bool, shape (n_trials, n_chans)."""
    if not 0 <= probability <= 1:
        raise UsageError(
            f"the probability {probability:g} is not between 0 and 1", "choose for example 0.3"
        )
    return np.random.default_rng(seed).random((n_trials, n_chans)) < probability


def smooth_chosen(trials: np.ndarray, chosen: np.ndarray, width: int) -> None:
    """Smooth the chosen channels (bool, shape (n_trials, chans)) of contiguous trials, in place."""
    if width < 1 or width % 2 == 0:
        raise UsageError(f"the width {width} is not odd and positive", "choose for example 5")
    rows, places = trials.reshape(-1, trials.shape[-1]), np.flatnonzero(chosen)
    for first in range(0, len(places), CHUNK):
        part = places[first : first + CHUNK]
        rows[part] = moving_average(rows[part], width)


def moving_average(values: np.ndarray, width: int) -> np.ndarray:
    """The centered moving average over the last axis, of odd width; over fewer samples at the edges."""
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

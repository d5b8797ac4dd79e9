"""Filter recordings, choose and cut epochs, and average repetitions.

Filters and resampling are MNE's, with its defaults. MNE cuts an epoch, subtracts the mean before onset, and
resamples by Fourier transform with padded edges; the published pipelines then drop the part before onset.
Each step is linear in the samples of the epoch, so together they are one matrix, found by sending unit
vectors through MNE's own ``resample``. Cutting a recording is then a few large matrix products instead of
one Fourier transform per trial and channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..config import TrialSpec
from ..errors import DataError, SSRError, UsageError
from ..files import forget, in_chunks
from ..registry import Label

if TYPE_CHECKING:
    from ..datasets.base import Recording

CHUNK = 16  # trials that are cut and multiplied at once
KEPT = 4  # chunks after which the pages of a memory-mapped recording are released
FILTERED_AT_ONCE = 1 << 23
"""Samples of all channels that are filtered at a time: memory is little more than that of the result."""


# -- notch filter, band-pass, resampling and robust scaling of a whole recording -----------------------------


def process(
    data: np.ndarray, sfreq: float, spec: TrialSpec, edges: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The steps of ``spec`` that need a whole recording, in this order: notch, band-pass, rate, scale.

    Equal to ``raw.notch_filter(spec.notch).filter(spec.l_freq, spec.h_freq).resample(spec.sfreq)`` of MNE
    and, with ``spec.whitening = "robust"``, scikit-learn's ``RobustScaler`` over the whole recording.

    ``data`` (chans, samples), in volts or tesla, may be memory-mapped. ``edges`` are 0, each sample
    before which the recording was interrupted, and its length: nothing is filtered across them.
    Frequencies from half of the rate on are ignored. Returns float64 (chans, new_samples) at
    ``spec.sfreq`` and the edges there.
    """
    check_rate(sfreq, spec)
    pieces = [slice(*pair) for pair in zip(edges[:-1], edges[1:], strict=True)]
    size, result = max(1, FILTERED_AT_ONCE // data.shape[1]), np.empty((0, 0))
    for first in range(0, len(data), size):
        some = data[first : first + size]
        parts = [_filtered(np.array(some[:, piece], np.float64), sfreq, spec) for piece in pieces]
        block = np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
        if spec.whitening == "robust":
            low, middle, high = np.percentile(block, [25, 50, 75], axis=1, keepdims=True)
            if not (high > low).all():
                number = first + int(np.flatnonzero(~(high > low))[0]) + 1
                raise DataError(
                    f"channel number {number} is constant or holds NaN, so it cannot be scaled by its "
                    "interquartile range",
                    "leave out broken channels with --set data.channels=[...]",
                )
            block -= middle
            block /= high - low
        if not first:
            result = np.empty((len(data), block.shape[1]))
        result[first : first + size] = block
        forget(data)
    return result, np.cumsum([0, *(part.shape[1] for part in parts)])


def _filtered(signal: np.ndarray, sfreq: float, spec: TrialSpec) -> np.ndarray:
    """Channels of one uninterrupted piece, filtered and resampled."""
    from mne.filter import filter_data, notch_filter, resample

    nyquist = sfreq / 2
    notches = [freq for freq in spec.notch if freq < nyquist]
    h_freq = spec.h_freq if spec.h_freq is not None and spec.h_freq < nyquist else None
    if notches:
        signal = notch_filter(signal, sfreq, notches, verbose="error")
    if spec.l_freq is not None or h_freq is not None:
        signal = filter_data(signal, sfreq, spec.l_freq, h_freq, copy=False, verbose="error")
    if spec.sfreq != sfreq:
        how = {"npad": "auto", "pad": "reflect_limited", "window": "auto", "verbose": "error"}
        signal = resample(signal, spec.sfreq, sfreq, **how)
    return signal


# -- epochs --------------------------------------------------------------------------------------------------


def windows(
    data: np.ndarray,
    samples: np.ndarray,
    sfreq: float,
    spec: TrialSpec,
    *,
    tick: Callable[[int], object] | None = None,
    out: Any = None,
) -> Any:
    """Cut the trials of a recording into float32 (n_trials, chans, times): baseline, resampled and cropped.

    Equal to ``mne.Epochs(raw, events, tmin, tmax, baseline=(None, 0)).resample(sfreq)`` followed by the
    crop, with the baseline subtracted in float64. ``data`` (chans, samples) may be memory-mapped,
    ``samples`` are onsets, ``tick`` gets the number of trials done since the last call, and ``out`` takes
    arrays for slices.
    """
    offset, operator = window_operator(sfreq, spec)
    samples = np.asarray(samples)
    check_inside(samples, offset, len(operator), data.shape[1], sfreq)
    reference = _reference(offset, len(operator), sfreq, spec) or slice(None)
    gain = operator.sum(axis=0)
    operator = operator.astype(np.float32)
    shape = len(samples), len(data), operator.shape[1]
    trials = np.empty(shape, np.float32) if out is None else out

    def fill(part: slice) -> int:
        firsts = samples[part] + offset
        epochs = np.empty((len(firsts), len(data), len(operator)), np.float32)
        levels = np.empty((len(firsts), len(data), 1))
        for place, epoch in enumerate(_epochs(data, firsts, len(operator))):
            np.mean(epoch[:, reference], -1, np.float64, levels[place], keepdims=True)
            np.subtract(epoch, levels[place], out=epochs[place], casting="same_kind")
        flat = epochs.reshape(-1, len(operator))
        resampled = np.matmul(flat, operator).reshape(len(firsts), len(data), -1)
        if spec.baseline == "none":
            resampled += (levels * gain).astype(np.float32)
        trials[part] = resampled
        return len(firsts)

    for chunk, done in enumerate(in_chunks(fill, len(samples), CHUNK), 1):
        if chunk % KEPT == 0:
            forget(data)
        if tick is not None:
            tick(done)
    forget(data)
    return trials


def _epochs(data: np.ndarray, firsts: np.ndarray, length: int) -> Iterator[np.ndarray]:
    """Epochs as they are; where they overlap, the stretch that holds them is read once."""
    start, stop = firsts.min(), firsts.max() + length
    block, shift = data, 0
    if stop - start <= len(firsts) * length:
        block, shift = np.array(data[:, start:stop]), start
    for first in firsts - shift:
        yield np.require(block[:, first : first + length], requirements="A")


@lru_cache(maxsize=16)
def window_operator(sfreq: float, spec: TrialSpec) -> tuple[int, np.ndarray]:
    """Baseline, resampling and crop as one matrix.

    Parameters
    ----------
    sfreq : float
        Sampling rate of the recording in Hz.
    spec : TrialSpec
        Times, baseline and sampling rate of the trials.

    Returns
    -------
    offset : int
        First sample of an epoch relative to the onset (negative: before it).
    operator : ndarray of float64, shape (t_in, t_out)
        ``epoch @ operator`` is the trial, for an epoch of ``t_in`` samples from ``offset`` on.

    Raises
    ------
    UsageError
        If the recording is sampled more slowly than the trials, or the times do not fit together.
    """
    offset, length, kept = _extent(sfreq, spec)
    operator = np.eye(length)
    if spec.sfreq != sfreq:
        from mne.filter import resample

        how = {"npad": "auto", "window": "auto", "pad": "edge", "verbose": "error"}
        operator = resample(operator, spec.sfreq, sfreq, **how)
        if operator.shape[1] != round(length * spec.sfreq / sfreq):
            found = f"MNE resampled {length} samples to {operator.shape[1]}"
            raise UsageError(found, "use MNE 1.11 or later")
    operator = operator[:, kept]
    if reference := _reference(offset, length, sfreq, spec):
        operator[reference] -= operator.sum(axis=0) / (reference.stop - reference.start)
    operator.flags.writeable = False
    return offset, operator


def n_times(sfreq: float, spec: TrialSpec) -> int:
    """Samples of a trial cut from a recording at this rate; raises as :func:`window_operator` does."""
    _, _, kept = _extent(_cut_rate(sfreq, spec), spec)
    return kept.stop - kept.start


def first_time(sfreq: float, spec: TrialSpec) -> float:
    """Seconds after the onset of the first sample of a trial; ``spec.start``, on the grid of the samples."""
    sfreq = _cut_rate(sfreq, spec)
    offset, _, kept = _extent(sfreq, spec)
    return offset / sfreq + kept.start / spec.sfreq


def _cut_rate(sfreq: float, spec: TrialSpec) -> float:
    """The rate at which epochs are cut: the recording's, or the trials' if it is resampled as a whole."""
    check_rate(sfreq, spec)
    return spec.sfreq if spec.continuous else sfreq


def check_rate(sfreq: float, spec: TrialSpec) -> None:
    """Raise UsageError if a recording is sampled more slowly than the trials."""
    if spec.sfreq > sfreq:
        raise UsageError(
            f"the recording is sampled at {sfreq:g} Hz, more slowly than trials at {spec.sfreq:g} Hz",
            f"ask for trials at {sfreq:g} Hz or less with --set trials.sfreq={sfreq:g}",
        )


def _reference(offset: int, length: int, sfreq: float, spec: TrialSpec) -> slice | None:
    """The samples of an epoch whose mean is its baseline."""
    if spec.baseline == "none":
        return None
    if spec.baseline == "prestimulus":
        return slice(0, 1 - offset)
    first, last = (round(time * sfreq) - offset for time in spec.baseline)
    return slice(max(first, 0), min(last + 1, length))


def first_sample(tmin: float, sfreq: float) -> str:
    """The time of the first sample of trials, on the grid of their samples, for comparison with others."""
    return f"{round(tmin * sfreq) / sfreq + 0.0:g} s"


def _extent(sfreq: float, spec: TrialSpec) -> tuple[int, int, slice]:
    """First sample of an epoch relative to the onset, its length, and the samples kept after resampling."""
    offset, last = round(spec.tmin * sfreq), round(spec.tmax * sfreq)
    check_rate(sfreq, spec)
    if last <= offset:
        found = f"tmin {spec.tmin:g} is not before tmax {spec.tmax:g}"
        raise UsageError(found, "choose them with --set trials.tmin=... and --set trials.tmax=...")
    if spec.baseline == "prestimulus" and not offset <= 0 <= last:
        raise UsageError(
            f"an epoch from {spec.tmin:g} to {spec.tmax:g} s has no baseline before the onset",
            "begin at or before 0 with --set trials.tmin=-0.2, or --set trials.baseline=none",
        )
    length = last - offset + 1
    resampled = length if spec.sfreq == sfreq else round(length * spec.sfreq / sfreq)
    first, stop = (
        int(np.floor((time - offset / sfreq) * spec.sfreq + 0.5))
        for time in (spec.start, spec.stop)
    )
    if not 0 <= first < stop <= resampled:
        raise UsageError(
            f"start {spec.start:g} and stop {spec.stop:g} are not inside the epoch from {spec.tmin:g} to "
            f"{spec.tmax:g} s",
            "choose them with --set trials.start=... and --set trials.stop=...",
        )
    return offset, length, slice(first, stop)


def cut(data: np.ndarray, samples: np.ndarray, start: int, length: int) -> np.ndarray:
    """Epochs as they are, without baseline or resampling.

    Parameters
    ----------
    data : ndarray, shape (chans, samples)
    samples : ndarray of int, shape (n_trials,)
        Onsets, in samples from the start of ``data``.
    start, length : int
        First sample of an epoch relative to the onset, and its number of samples.

    Returns
    -------
    ndarray, shape (n_trials, chans, length)
        A copy, in the dtype of ``data``.
    """
    samples = np.asarray(samples)
    check_inside(samples, start, length, data.shape[1])
    epochs = np.lib.stride_tricks.sliding_window_view(data, length, axis=1)
    return np.ascontiguousarray(epochs[:, samples + start].swapaxes(0, 1))


def check_inside(
    samples: np.ndarray, start: int, length: int, n_samples: int, sfreq: float | None = None
) -> None:
    """Raise DataError if an epoch reaches beyond the recording (MNE would drop it silently)."""
    outside = np.flatnonzero((samples + start < 0) | (samples + start + length > n_samples))
    if len(outside):
        first = int(samples[outside[0]])
        raise DataError(
            f"{len(outside)} of {len(samples)} epochs of {length} samples reach beyond the recording of "
            f"{n_samples} samples, the first for the onset at sample {first}"
            + (f" ({first / sfreq:.3f} s)" if sfreq else ""),
            "leave these events out, choose another tmin and tmax, or get the whole recording",
        )


# -- repetitions ---------------------------------------------------------------------------------------------

PUBLISHED_SEED = 20200220  # seed of the public THINGS-EEG2 scripts

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
    counts = _counts(numbers, max_rep, DataError, "use --set trials.repetitions=all")
    of_images = np.split(np.argsort(numbers, kind="stable"), np.cumsum(counts)[:-1])
    picks = {count: published_order(count, seed)[:max_rep] for count in set(counts.tolist())}
    kept = [trials[picks[len(trials)]] for trials in of_images if len(trials)]
    return np.concatenate([np.empty(0, int), *kept])


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
    _counts(numbers, repetitions, UsageError, "choose fewer repetitions")
    order = np.lexsort((np.random.default_rng(seed).random(len(numbers)), numbers))
    return np.sort(order[running_count(numbers[order]) < repetitions])


def _counts(numbers: np.ndarray, least: int, error: type[SSRError], hint: str) -> np.ndarray:
    """How many trials each image has, in order of number; an error if one has fewer than ``least``."""
    if least < 1:
        raise UsageError(f"{least} repetitions cannot be averaged", "choose a positive number")
    images, counts = np.unique(numbers, return_counts=True)
    for place in np.flatnonzero(counts < least)[:1]:
        found = f"image number {images[place]} has {counts[place]} trials, fewer than {least}"
        raise error(found, hint)
    return counts


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
    """How often the same number has come before, for each entry: [7, 3, 7, 7, 3] gives [0, 0, 1, 2, 1]."""
    return pd.Series(numbers).groupby(np.asarray(numbers)).cumcount().to_numpy()


def first_twice(samples: np.ndarray, shown: np.ndarray, sfreq: float) -> tuple[int, int] | None:
    """Indices of two events that must be one, such as a trigger and a photodiode, or None.

    They are within a sample or 5 ms of each other, or show the same image within 50 ms.
    """
    order = np.argsort(samples, kind="stable")
    gaps = np.diff(np.asarray(samples)[order])
    again = np.asarray(shown)[order][1:] == np.asarray(shown)[order][:-1]
    bad = np.flatnonzero((gaps < 1) | (gaps / sfreq < AT_ONCE) | (again & (gaps / sfreq < AGAIN)))
    if not len(bad):
        return None
    first, second = sorted(order[bad[0] : bad[0] + 2].tolist())
    return first, second


# -- moving averages -----------------------------------------------------------------------------------------

CHUNK_REPETITIONS = 512
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
    smooth_chosen(smoothed, choose_channels(len(trials), trials.shape[1], probability, seed), width)
    return smoothed


def choose_channels(n_trials: int, n_chans: int, probability: float, seed: int) -> np.ndarray:
    """Which channels of which trials :func:`smooth` smooths: bool, shape (n_trials, n_chans)."""
    if not 0 <= probability <= 1:
        found = f"the probability {probability:g} is not between 0 and 1"
        raise UsageError(found, "choose for example 0.3")
    return np.random.default_rng(seed).random((n_trials, n_chans)) < probability


def smooth_chosen(trials: np.ndarray, chosen: np.ndarray, width: int) -> None:
    """Smooth the chosen channels (bool, shape (n_trials, chans)) of contiguous trials, in place."""
    if width < 1 or width % 2 == 0:
        raise UsageError(f"the width {width} is not odd and positive", "choose for example 5")
    rows, places = trials.reshape(-1, trials.shape[-1]), np.flatnonzero(chosen)
    for first in range(0, len(places), CHUNK_REPETITIONS):
        part = places[first : first + CHUNK_REPETITIONS]
        rows[part] = moving_average(rows[part], width)


def moving_average(values: np.ndarray, width: int) -> np.ndarray:
    """The centered moving average over the last axis, of odd width; over fewer samples at the edges."""
    n_times, half = values.shape[-1], min(width // 2, values.shape[-1] - 1)
    places = np.arange(n_times)
    there = np.minimum(places, half) + np.minimum(places[::-1], half) + 1
    rows = values.reshape(-1, n_times)
    means = np.empty_like(rows)
    for first in range(0, len(rows), CHUNK_REPETITIONS):
        chunk = slice(first, first + CHUNK_REPETITIONS)
        part, sums = rows[chunk], means[chunk]
        sums[:] = part
        for shift in range(1, half + 1):
            sums[:, shift:] += part[:, :-shift]
            sums[:, :-shift] += part[:, shift:]
        sums /= there.astype(values.dtype)
    return means.reshape(values.shape)


# -- which trials of a recording are cut ---------------------------------------------------------------------


def no_training_part(session: Label, source: str) -> DataError:
    """The error of a session whose whitening cannot be fitted."""
    return DataError(
        f"session {session} has no training part before its test part to fit the whitening on, "
        f"only {source}",
        "add the training recording of that session, or --set trials.whitening=none",
    )


def check_session(recordings: Iterable[Recording], spec: TrialSpec) -> None:
    """Raise what cutting a session, training part first, would raise, without looking at its samples."""
    trained = not spec.fitted
    for recording in recordings:
        chosen_trials(recording, spec)
        trained |= recording.split == "train"
        if not trained:
            raise no_training_part(recording.session, recording.source)


def kept_trials(numbers: np.ndarray, split: str, spec: TrialSpec) -> np.ndarray:
    """Which trials of a recording are kept, in which order, given image numbers in order of presentation."""
    if spec.repetitions == "published":
        return published_subset(numbers, PUBLISHED_REPETITIONS[split])
    return np.arange(len(numbers))


def chosen_trials(recording: Recording, spec: TrialSpec) -> tuple[np.ndarray, dict[str, int]]:
    """Which trials of a recording are cut, in which order, and how many are left out for which reason."""
    usable, dropped = usable_trials(recording, spec)
    if dropped and not len(usable):
        reasons = ", ".join(f"{count} {why}" for why, count in dropped.items())
        raise DataError(
            f"no {recording.split} trials of {recording.source} are left: {reasons}",
            "leave the session out, or use bad segments with --set trials.bad_segments=keep",
        )
    numbers = np.asarray(recording.numbers)[usable]
    return usable[kept_trials(numbers, recording.split, spec)], dropped


def usable_trials(recording: Recording, spec: TrialSpec) -> tuple[np.ndarray, dict[str, int]]:
    """Which trials can be cut, and how many cannot for which reason.

    An epoch, baseline included, lies in one file, crosses no interruption and touches no bad segment.
    """
    offset, operator = window_operator(recording.sfreq, spec)
    samples = np.asarray(recording.samples)
    first, stop = samples + offset, samples + offset + len(operator)
    edges = np.array([0, *recording.joins, recording.data.shape[1]])
    file = np.searchsorted(edges, samples, "right")
    beyond = (first < edges[file - 1]) | (stop > edges[np.minimum(file, len(edges) - 1)])
    if beyond.any() and spec.incomplete == "error":
        row = int(np.flatnonzero(beyond)[0])
        onset = (samples[row] - edges[file[row] - 1]) / recording.sfreq
        where = recording.places[row] if len(recording.places) else recording.source
        raise DataError(
            f"{beyond.sum()} of {len(beyond)} {recording.split} trials of {recording.source} reach beyond "
            f"the start or end of their recording: the image of the first begins at {onset:.3f} s in "
            f"{where}, and epochs go from {spec.tmin:g} to {spec.tmax:g} s",
            "shorten epochs with --set trials.tmax=... or trials.tmin=..., or leave these trials out with "
            "--set trials.incomplete=drop",
        )
    gaps = np.sort(recording.gaps)
    across = np.searchsorted(gaps, first, "right") < np.searchsorted(gaps, stop, "left")
    starts, ends = np.sort(recording.bad_segments, axis=0).T
    bad = np.searchsorted(starts, stop, "left") > np.searchsorted(ends, first, "right")
    if spec.bad_segments == "keep":
        bad[:] = False
    reasons = {
        "beyond the recording": beyond,
        "across an interruption": across & ~beyond,
        "in a bad segment": bad & ~across & ~beyond,
    }
    dropped = {why: int(which.sum()) for why, which in reasons.items() if which.any()}
    return np.flatnonzero(~(beyond | across | bad)), dropped

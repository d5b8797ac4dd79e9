"""Epochs of a recording in one step: baseline, resampling and crop are one linear map.

MNE cuts an epoch, subtracts the mean before onset, resamples by Fourier transform with padded edges,
and the lineage then drops the part before onset. Each step is linear in the samples of the epoch, so
together they are one matrix, found by sending the unit vectors through MNE's own ``resample``. A whole
recording is then a few large matrix products instead of one Fourier transform per trial and channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from ..config import TrialSpec
from ..errors import DataError, UsageError
from ..files import forget, in_chunks

CHUNK = 16
"""Trials that are cut and multiplied at once."""
KEPT = 4
"""Chunks after which what was read of a mapped recording is given back."""


def windows(
    data: np.ndarray,
    samples: np.ndarray,
    sfreq: float,
    spec: TrialSpec,
    *,
    tick: Callable[[int], object] | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The trials of a recording: epochs with baseline, resampled and cropped as the spec says.

    Equal to ``mne.Epochs(raw, events, tmin, tmax, baseline=(None, 0)).resample(sfreq)`` followed by
    the crop. The baseline is subtracted in float64, so that large offsets cost no precision.

    Parameters
    ----------
    data : ndarray, shape (chans, samples)
        Continuous signal, in volts; of one that is mapped from a file, little is in memory at a time.
    samples : ndarray of int, shape (n_trials,)
        Onsets, in samples from the start of ``data``.
    sfreq : float
        Sampling rate of ``data``, in Hz.
    spec : TrialSpec
        Times, baseline and sampling rate of the trials.
    tick : callable, optional
        Called with the number of trials done since its last call.
    out : optional
        Where the trials are put: an array of the right shape, or whatever takes arrays for slices.

    Returns
    -------
    ndarray of float32, shape (n_trials, chans, times)
        In the unit of ``data``; ``out`` if that was given.

    Raises
    ------
    DataError
        If a window reaches beyond the recording.
    UsageError
        If the spec cannot be met, see :func:`window_operator`.
    """
    offset, operator = window_operator(sfreq, spec)
    samples = np.asarray(samples)
    check_inside(samples, offset, len(operator), data.shape[1], sfreq)
    reference = slice(0, 1 - offset) if spec.baseline == "prestimulus" else slice(None)
    gain = operator.sum(axis=0)
    operator = operator.astype(np.float32)
    trials = out
    if trials is None:
        trials = np.empty((len(samples), len(data), operator.shape[1]), np.float32)

    def fill(part: slice) -> int:
        firsts = samples[part] + offset
        epochs = np.empty((len(firsts), len(data), len(operator)), np.float32)
        levels = np.empty((len(firsts), len(data), 1))
        for place, epoch in enumerate(_epochs(data, firsts, len(operator))):
            np.mean(epoch[:, reference], -1, np.float64, levels[place], keepdims=True)
            np.subtract(epoch, levels[place], out=epochs[place], casting="same_kind")
        resampled = np.matmul(_flat(epochs), operator).reshape(len(firsts), len(data), -1)
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
    """Windows of a recording; where they overlap, the part they lie in is read once."""
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
        Sampling rate of the recording, in Hz.
    spec : TrialSpec
        Times, baseline and sampling rate of the trials.

    Returns
    -------
    offset : int
        First sample of a window, counted from the onset (negative: before it).
    operator : ndarray of float64, shape (t_in, t_out)
        ``epoch @ operator`` is the trial, for an epoch of ``t_in`` samples from ``offset`` on.

    Raises
    ------
    UsageError
        If the recording is sampled slower than the trials shall be, or the times do not fit.
    """
    offset, last = round(spec.tmin * sfreq), round(spec.tmax * sfreq)
    _check_times(sfreq, spec, offset, last)
    kept, resampled = _kept(sfreq, spec, offset, last - offset + 1)
    operator = _resampling(last - offset + 1, sfreq, spec.sfreq)
    if resampled != operator.shape[1]:
        raise UsageError(
            f"{resampled} samples after resampling", f"{operator.shape[1]}", "use MNE 1.11 or later"
        )
    operator = operator[:, kept]
    if spec.baseline == "prestimulus":
        operator[: 1 - offset] -= operator.sum(axis=0) / (1 - offset)
    operator.flags.writeable = False
    return offset, operator


def n_times(sfreq: float, spec: TrialSpec) -> int:
    """Samples of a trial cut from a recording at this rate; UsageError if the spec cannot be met."""
    offset, last = round(spec.tmin * sfreq), round(spec.tmax * sfreq)
    _check_times(sfreq, spec, offset, last)
    kept, _ = _kept(sfreq, spec, offset, last - offset + 1)
    return kept.stop - kept.start


def cut(data: np.ndarray, samples: np.ndarray, start: int, length: int) -> np.ndarray:
    """Windows of a recording as they are.

    Parameters
    ----------
    data : ndarray, shape (chans, samples)
    samples : ndarray of int, shape (n_trials,)
        Onsets, in samples from the start of ``data``.
    start, length : int
        First sample of a window, counted from the onset, and its number of samples.

    Returns
    -------
    ndarray, shape (n_trials, chans, length)
        A copy, of the type of ``data``.

    Raises
    ------
    DataError
        If a window reaches beyond the recording.
    """
    samples = np.asarray(samples)
    check_inside(samples, start, length, data.shape[1])
    windows_of = np.lib.stride_tricks.sliding_window_view(data, length, axis=1)
    return np.ascontiguousarray(windows_of[:, samples + start].swapaxes(0, 1))


def check_inside(
    samples: np.ndarray, start: int, length: int, n_samples: int, sfreq: float = 1.0
) -> None:
    """Raise DataError if a window reaches beyond the recording (MNE would drop it silently)."""
    outside = np.flatnonzero((samples + start < 0) | (samples + start + length > n_samples))
    if len(outside):
        first = int(samples[outside[0]])
        raise DataError(
            f"every window of {length} samples inside the recording of {n_samples} samples",
            f"{len(outside)} outside, the first for the onset at sample {first}"
            + (f" ({first / sfreq:.3f} s)" if sfreq != 1 else ""),
            "leave these events out, choose another tmin and tmax, or get the whole recording",
        )


def _flat(trials: np.ndarray) -> np.ndarray:
    return trials.reshape(-1, trials.shape[-1])


def _resampling(length: int, sfreq: float, target: float) -> np.ndarray:
    unit = np.eye(length)
    if target == sfreq:
        return unit
    from mne.filter import resample

    return resample(unit, target, sfreq, npad="auto", window="auto", pad="edge", verbose="error")


def _kept(sfreq: float, spec: TrialSpec, offset: int, length: int) -> tuple[slice, int]:
    resampled = length if spec.sfreq == sfreq else round(length * spec.sfreq / sfreq)
    first, stop = (
        int(np.floor((time - offset / sfreq) * spec.sfreq + 0.5))
        for time in (spec.start, spec.stop)
    )
    if not 0 <= first < stop <= resampled:
        raise UsageError(
            f"start < stop inside the epoch of {spec.tmin:g} to {spec.tmax:g} s",
            f"start {spec.start:g} and stop {spec.stop:g}",
            "choose them with --set trials.start=... and --set trials.stop=...",
        )
    return slice(first, stop), resampled


def _check_times(sfreq: float, spec: TrialSpec, offset: int, last: int) -> None:
    if spec.sfreq > sfreq:
        raise UsageError(
            f"a recording sampled at {spec.sfreq:g} Hz or faster",
            f"{sfreq:g} Hz",
            f"ask for trials at {sfreq:g} Hz or slower with --set trials.sfreq={sfreq:g}",
        )
    if last <= offset:
        raise UsageError(
            "tmin before tmax",
            f"tmin {spec.tmin:g} and tmax {spec.tmax:g}",
            "choose them with --set trials.tmin=... and --set trials.tmax=...",
        )
    if spec.baseline == "prestimulus" and not offset <= 0 <= last:
        raise UsageError(
            "an epoch around the onset, to subtract the mean before it",
            f"{spec.tmin:g} to {spec.tmax:g} s",
            "begin at or before 0 with --set trials.tmin=-0.2, or --set trials.baseline=none",
        )

"""Cut epochs: baseline, resampling and crop are one linear map.

MNE cuts an epoch, subtracts the mean before onset, and resamples by Fourier transform with padded edges; the
published pipelines then drop the part before onset. Each step is linear in the samples of the epoch, so
together they are one matrix, found by sending unit vectors through MNE's own ``resample``. Cutting a
recording is then a few large matrix products instead of one Fourier transform per trial and channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from ..config import TrialSpec
from ..errors import DataError, UsageError
from ..files import forget, in_chunks

CHUNK = 16
"""Trials that are cut and multiplied at once."""
KEPT = 4
"""Chunks after which the pages of a memory-mapped recording are released."""


def windows(
    data: np.ndarray,
    samples: np.ndarray,
    sfreq: float,
    spec: TrialSpec,
    *,
    tick: Callable[[int], object] | None = None,
    out: Any = None,
) -> Any:
    """Cut the trials of a recording: epochs with baseline, resampled and cropped.

    Equal to ``mne.Epochs(raw, events, tmin, tmax, baseline=(None, 0)).resample(sfreq)`` followed by the
    crop. The baseline is subtracted in float64, so that large offsets cost no precision.

    Parameters
    ----------
    data : ndarray, shape (chans, samples)
        Continuous signal in volts; little of a memory-mapped one is in memory at a time.
    samples : ndarray of int, shape (n_trials,)
        Onsets, in samples from the start of ``data``.
    sfreq : float
        Sampling rate of ``data`` in Hz.
    spec : TrialSpec
        Times, baseline and sampling rate of the trials.
    tick : callable, optional
        Called with the number of trials done since the last call.
    out : array-like, optional
        Where the trials go: an array of the right shape, or anything that takes arrays for slices.

    Returns
    -------
    ndarray of float32, shape (n_trials, chans, times)
        In the unit of ``data``; ``out`` if given.

    Raises
    ------
    DataError
        If an epoch reaches beyond the recording.
    UsageError
        If the recording cannot be cut as ``spec`` says, see :func:`window_operator`.
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
            raise UsageError(
                f"MNE resampled {length} samples to {operator.shape[1]}", "use MNE 1.11 or later"
            )
    operator = operator[:, kept]
    if spec.baseline == "prestimulus":
        operator[: 1 - offset] -= operator.sum(axis=0) / (1 - offset)
    operator.flags.writeable = False
    return offset, operator


def n_times(sfreq: float, spec: TrialSpec) -> int:
    """Samples of a trial cut from a recording at this rate; raises as :func:`window_operator` does."""
    _, _, kept = _extent(sfreq, spec)
    return kept.stop - kept.start


def _extent(sfreq: float, spec: TrialSpec) -> tuple[int, int, slice]:
    """First sample of an epoch relative to the onset, its length, and the samples kept after resampling."""
    offset, last = round(spec.tmin * sfreq), round(spec.tmax * sfreq)
    if spec.sfreq > sfreq:
        raise UsageError(
            f"the recording is sampled at {sfreq:g} Hz, more slowly than trials at {spec.sfreq:g} Hz",
            f"ask for trials at {sfreq:g} Hz or less with --set trials.sfreq={sfreq:g}",
        )
    if last <= offset:
        raise UsageError(
            f"tmin {spec.tmin:g} is not before tmax {spec.tmax:g}",
            "choose them with --set trials.tmin=... and --set trials.tmax=...",
        )
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

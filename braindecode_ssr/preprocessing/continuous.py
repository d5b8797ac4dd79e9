"""Notch filter, band-pass, resampling and robust scaling of a whole recording, before epochs are cut.

Filters and resampling are MNE's, with its defaults. Some channels are processed at a time, so that memory is
little more than that of the result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..config import TrialSpec
from ..errors import DataError
from ..files import forget
from .epochs import check_rate

AT_ONCE = 1 << 23
"""Samples of all channels that are processed at a time."""


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
    size, result = max(1, AT_ONCE // data.shape[1]), np.empty((0, 0))
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

"""Which trials of a recording are used: whole epochs, outside bad segments, the published repetitions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..config import TrialSpec
from ..errors import DataError
from ..labels import Label
from ..preprocessing.epochs import PUBLISHED_REPETITIONS, published_subset, window_operator
from .base import Recording


def no_training_part(session: Label, source: str) -> DataError:
    """The error of a session whose whitening cannot be fitted."""
    return DataError(
        f"there is no training part of session {session} before its test part, to fit the whitening, "
        f"only {source}",
        "add the training recording of that session, or --set trials.whitening=none",
    )


def check_session(recordings: Iterable[Recording], spec: TrialSpec) -> None:
    """Raise what cutting a session, training part first, would raise, without looking at its samples."""
    trained = spec.whitening == "none"
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
            f"no {recording.split} trial of {recording.source} is left: {reasons}",
            "leave the session out, or use bad segments with --set trials.bad_segments=keep",
        )
    if len(usable):
        numbers = np.asarray(recording.numbers)[usable]
        usable = usable[kept_trials(numbers, recording.split, spec)]
    return usable, dropped


def usable_trials(recording: Recording, spec: TrialSpec) -> tuple[np.ndarray, dict[str, int]]:
    """Which trials of a recording can be cut, and how many cannot for which reason.

    The epoch of a trial, baseline included, lies in one file, crosses no interruption and touches no
    segment that is marked bad.
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

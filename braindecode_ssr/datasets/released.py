"""The four preprocessed forms in which THINGS-EEG2 is passed around, as batches of trials.

=========== ==================================== =======================================================
form        folder                               files of a subject
=========== ==================================== =======================================================
gifford     ``Preprocessed_data``                ``preprocessed_eeg_{training,test}.npy``: 17 ch, 100 Hz
nice        ``Preprocessed_data_250Hz``          the same names, bare pickles: 63 ch, 250 Hz (also ATM's)
ubp         ``Preprocessed_data_250Hz_whiten``   ``train.pt``, ``test.pt``: float16, sessions kept
neurobridge ``preprocessed_eeg``                 ``train.npy``, ``test.npy``, ``info.json`` for all
=========== ==================================== =======================================================

All four are epoched, baseline-corrected, resampled and normalised already, and hold the published subset of
repetitions: those choices are the files' own and are recorded, never made a second time. Their order of
conditions is the image number; counts are checked against the image list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import DataError, UsageError
from ..files import files_sha256, forget
from ..preprocessing.channels import (
    THINGS_EEG_63,
    THINGS_EEG_63_RAW,
    ChannelSet,
    in_standard_order,
    match_channels,
)
from .base import eeg_info, images_by_number
from .released_files import release_files
from .released_readers import READERS, ReleasedSplit

if TYPE_CHECKING:
    import mne

    from ..config import TrialSpec
    from .store import TrialBatch

TRIALS_AT_ONCE = 1024
ORDERS = {
    "gifford": THINGS_EEG_63_RAW,
    "nice": THINGS_EEG_63,
    "ubp": THINGS_EEG_63,
    "neurobridge": THINGS_EEG_63,
}
"""The order of channels in which each form was published."""


@dataclass(eq=False)
class ReleasedTrials:
    """The trials of a subject in a released form; iterate once for the batches.

    Parameters
    ----------
    batches : iterator of TrialBatch
        Training trials by image number, then test trials.
    info : mne.Info
        Channels in the order of the files, and the files' own sampling rate.
    manifest : dict
        What the files are: form, units, normalisation, window and rate, and what differs from the spec.
    """

    batches: Iterator[TrialBatch]
    info: mne.Info
    manifest: dict[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[TrialBatch]:
        return self.batches


def open_release(
    form: str, root: Path, subject: int, images: pd.DataFrame, spec: TrialSpec
) -> ReleasedTrials:
    """The trials of a subject in a released form.

    Parameters
    ----------
    images : DataFrame
        The image table of the dataset.
    spec : TrialSpec
        ``start`` and ``stop`` crop the files' own time axis; rate, baseline, normalisation and
        repetitions are those of the files.

    Raises
    ------
    MissingDataError
        If a file is not here.
    DataError
        If a file is broken, or its conditions are not those of the image list.
    UsageError
        If the spec asks for trials that are not whitened, or for times that the files do not have.
    """
    files = release_files(form, root, subject)
    if spec.whitening == "none":
        raise UsageError(
            "trials.whitening=mvnn with a released form, which is normalised already",
            f"trials.whitening=none with the form {form!r}",
            "use the raw files (--set trials.release=raw) or leave the setting out",
        )
    train = read_release(form, "train", files, images)
    keep = crop(train.times, train.sfreq, spec.start, spec.stop, str(files[0]))
    picks = in_standard_order(train.ch_names, ORDERS[form])
    like = ChannelSet(str(files[0]), tuple(train.ch_names[index] for index in picks))
    return ReleasedTrials(
        batches=_batches(form, files, images, subject, train, keep, like),
        info=eeg_info(like.ch_names, train.sfreq),
        manifest=_manifest(form, files, train, keep, spec),
    )


def read_release(form: str, split: str, files: list[Path], images: pd.DataFrame) -> ReleasedSplit:
    """One split of a subject's files, as found, its conditions checked against the image list.

    Raises
    ------
    DataError
        If the file is broken or has another number of conditions than the list has images.
    """
    path = files[0] if split == "train" else files[1]
    listed = images_by_number(images, split)
    released = READERS[form](path, files, listed)
    if len(released.data) != len(listed):
        raise DataError(
            f"{len(listed)} {split} images, as in the image list, in {path}",
            f"{len(released.data)} conditions",
            "use the image_metadata.npy that belongs to these files",
        )
    return released


def crop(times: np.ndarray, sfreq: float, start: float, stop: float, source: str) -> slice:
    """The samples from ``start`` to before ``stop``, as far as the axis goes.

    An axis that begins one sample late, as those of 301 values do when aligned at the end, counts as
    beginning on time.

    Raises
    ------
    UsageError
        If fewer than two samples remain.
    """
    first = round((start - float(times[0])) * sfreq)
    last = first + round((stop - start) * sfreq)
    shift = 1 if first == -1 else 0
    keep = slice(max(first + shift, 0), min(last + shift, len(times)))
    if keep.stop - keep.start < 2:
        raise UsageError(
            f"a window within {times[0]:.3f} to {times[-1]:.3f} s, the times of {source}",
            f"{start:g} to {stop:g} s",
            "change it with --set trials.start=... and trials.stop=...",
        )
    return keep


def trial_table(
    sessions: np.ndarray, images: pd.DataFrame, split: str, subject: int, numbers: np.ndarray
) -> pd.DataFrame:
    """One row per trial of these images, image by image.

    Parameters
    ----------
    sessions : ndarray of int, shape (n_images, n_repetitions)
        Session of each trial, 0 where the files do not say.
    numbers : ndarray of int, shape (n_images,)
        Image numbers.
    """
    repetitions = sessions.shape[1]
    names = images_by_number(images, split).loc[np.repeat(numbers, repetitions)]
    return pd.DataFrame(
        {
            "subject": subject,
            "session": sessions.ravel(),
            "split": split,
            "number": names.index.to_numpy(),
            "image_id": names["image_id"].to_numpy(),
            "concept": names["concept"].to_numpy(),
            "repetition": np.tile(np.arange(1, repetitions + 1), len(numbers)),
        }
    )


def _batches(
    form: str,
    files: list[Path],
    images: pd.DataFrame,
    subject: int,
    train: ReleasedSplit,
    keep: slice,
    like: ChannelSet,
) -> Iterator[TrialBatch]:
    from .store import TrialBatch

    info, times, released = eeg_info(like.ch_names, train.sfreq), train.times, train
    del train
    for split, path in zip(("train", "test"), files, strict=False):
        if split == "test":
            released = read_release(form, split, files, images)
            _check_same_times(released.times, times, files)
        _, (_, picks) = match_channels([like, ChannelSet(str(path), released.ch_names)], "all")
        (fingerprint,) = files_sha256([path])
        repetitions = released.data.shape[1]
        step = max(1, TRIALS_AT_ONCE // repetitions)
        for first in range(0, len(released.data), step):
            part = np.asarray(released.data[first : first + step, :, :, keep], dtype=np.float32)
            numbers = np.arange(first, first + len(part)) + 1
            sessions = released.sessions[first : first + step]
            table = trial_table(sessions, images, split, subject, numbers)
            trials = part.reshape(-1, *part.shape[2:])
            if picks != list(range(len(picks))):
                trials = trials[:, picks]
            forget(released.data)
            yield TrialBatch(trials, table, info, str(path), fingerprint)
        del released


def _check_same_times(test: np.ndarray, train: np.ndarray, files: list[Path]) -> None:
    if len(test) != len(train) or not np.allclose(test, train):
        raise DataError(
            f"the times of the trials differ: {train[0]:g} to {train[-1]:g} s ({len(train)} samples) in "
            f"{files[0]}, {test[0]:g} to {test[-1]:g} s ({len(test)} samples) in {files[1]}",
            "use two files of one release",
        )


def _manifest(
    form: str, files: list[Path], train: ReleasedSplit, keep: slice, spec: TrialSpec
) -> dict[str, Any]:
    times = train.times[keep]
    notes = [
        "epochs, baseline and normalisation are those of the files; whitening is not applied again"
    ]
    if not train.sessions.any():
        notes.append("the files do not say which session a trial is of (session 0)")
    if not np.isclose(train.sfreq, spec.sfreq):
        notes.append(f"{train.sfreq:g} Hz as in the files, not {spec.sfreq:g} Hz")
    if len(times) != round((spec.stop - spec.start) * train.sfreq):
        notes.append(f"the files do not cover {spec.start:g} to {spec.stop:g} s")
    return {
        "release": form,
        "units": f"unitless ({train.normalisation})",
        "sfreq": train.sfreq,
        "first_time": float(times[0]),
        "last_time": float(times[-1]),
        "notes": notes,
        "files": [str(path) for path in files],
    }

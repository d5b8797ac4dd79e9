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
from .base import eeg_info, images_by_number
from .released_files import release_files
from .released_readers import READERS, ReleasedSplit

if TYPE_CHECKING:
    import mne

    from ..config import TrialSpec
    from .store import TrialBatch

TRIALS_AT_ONCE = 1024


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
    return ReleasedTrials(
        batches=_batches(form, files, images, subject, train, keep),
        info=eeg_info(train.ch_names, train.sfreq),
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
) -> Iterator[TrialBatch]:
    from .store import TrialBatch

    info, times, released = eeg_info(train.ch_names, train.sfreq), train.times, train
    del train
    for split, path in zip(("train", "test"), files, strict=False):
        if split == "test":
            released = read_release(form, split, files, images)
            _check_same_axes(released, tuple(info["ch_names"]), times, files)
        (fingerprint,) = files_sha256([path])
        repetitions = released.data.shape[1]
        step = max(1, TRIALS_AT_ONCE // repetitions)
        for first in range(0, len(released.data), step):
            part = np.asarray(released.data[first : first + step, :, :, keep], dtype=np.float32)
            numbers = np.arange(first, first + len(part)) + 1
            sessions = released.sessions[first : first + step]
            table = trial_table(sessions, images, split, subject, numbers)
            trials = part.reshape(-1, *part.shape[2:])
            forget(released.data)
            yield TrialBatch(trials, table, info, str(path), fingerprint)
        del released


def _check_same_axes(
    test: ReleasedSplit, ch_names: tuple[str, ...], times: np.ndarray, files: list[Path]
) -> None:
    same_times = len(test.times) == len(times) and np.allclose(test.times, times)
    if test.ch_names != ch_names or not same_times:
        raise DataError(
            f"the same channels and times in {files[0]} and {files[1]}",
            f"{len(ch_names)} channels x {len(times)} times and "
            f"{len(test.ch_names)} x {len(test.times)}, or in another order",
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

"""From the recordings of a subject to trials: one recording at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from ..config import TrialSpec
from ..errors import DataError
from ..labels import Label, as_read
from ..preprocessing.normalisation import Normalisation, fit_normalisation
from ..preprocessing.repetitions import (
    PUBLISHED_REPETITIONS,
    published_subset,
    running_count,
)
from ..preprocessing.windows import window_operator, windows
from .base import ImageDataset, Recording, images_by_number
from .store_files import TRIAL_COLUMNS, TrialBatch, check_trials
from .trial_file import TrialFile
from .unfinished import Changed, UnfinishedStore


def recorded_batches(
    dataset: ImageDataset,
    subject: Label,
    spec: TrialSpec,
    tick: Callable[[int], object] | None = None,
    *,
    skip: Callable[[int], object] | None = None,
    store: UnfinishedStore | None = None,
) -> Iterator[TrialBatch]:
    """The trials of each recording of a subject; one recording or batch is in memory at a time.

    Parameters
    ----------
    dataset : ImageDataset
    subject : int
    spec : TrialSpec
    tick, skip : callable, optional
        Called with the number of trials cut since the last call, and with those that were in the store.
    store : UnfinishedStore, optional
        Where trials are put as they are cut, so that none are held in memory; those of the sessions that
        are finished in it are not made again.

    Yields
    ------
    TrialBatch
        With ``repetitions="published"``: images in order of number, the kept trials of each in the
        order of the public scripts; otherwise in order of presentation.

    Raises
    ------
    DataError, UsageError
        See :func:`.prepare`.
    Changed
        If a recording is not the one that is finished in the store.
    """
    images, shown, normalise, fitted, skipped = dataset.images, {}, None, None, None
    for recording in dataset.as_asked(spec).recordings(subject):
        session, split = recording.session, recording.split
        batch, there = _part(recording, images, shown, spec, store)
        if there:
            skipped = session
            del recording
            if skip is not None:
                skip(len(batch.table))
            yield batch
            continue
        _fill(batch, recording, spec, tick)
        del recording
        if spec.whitening != "none":
            if split == "train":
                normalise, fitted = _fit(batch, spec.whitening), session
            if fitted != session:
                _refuse(batch, session, skipped)
            normalise(batch.trials)
        if store is not None and (split == "test" or spec.whitening == "none"):
            store.finish()
        yield batch
        del batch


def _refuse(batch: TrialBatch, session: Label, skipped: Label | None) -> NoReturn:
    """Raise for a part of a session before its training part, or after one that was not read again."""
    if session == skipped:
        raise Changed
    raise DataError(
        f"a training part of session {session} before its test part, to fit the normalisation",
        f"only {batch.source}",
        "add the training recording of that session, or --set trials.whitening=none",
    )


def kept_trials(numbers: np.ndarray, split: str, spec: TrialSpec) -> np.ndarray:
    """Which trials of a recording are kept, and in which order.

    Parameters
    ----------
    numbers : ndarray of int, shape (n_trials,)
        Image numbers, in order of presentation.
    split : {"train", "test"}
    spec : TrialSpec

    Returns
    -------
    ndarray of int

    Raises
    ------
    DataError
        If there are too few for the published subset.
    """
    if spec.repetitions == "published":
        return published_subset(numbers, PUBLISHED_REPETITIONS[split])
    return np.arange(len(numbers))


def _part(
    recording: Recording,
    images: pd.DataFrame,
    shown: dict[str, pd.Series],
    spec: TrialSpec,
    store: UnfinishedStore | None,
) -> tuple[TrialBatch, bool]:
    """The batch of a recording, trials still to be cut, and whether they are in the store already.

    Adds its showings to those counted before.
    """
    source = f"{recording.source or 'recording'} (session {recording.session}, {recording.split})"
    table = _trial_table(recording, images, shown, source)
    table = table.iloc[kept_trials(recording.numbers, recording.split, spec)].reset_index(drop=True)
    info = recording.info_at(spec.sfreq)
    n_times = window_operator(recording.sfreq, spec)[1].shape[1]
    there = False
    trials: np.ndarray | TrialFile
    if store is None:
        trials = np.empty((len(table), len(recording.ch_names), n_times), np.float32)
    else:
        trials, there = store.room(_known_by(recording, source), table, info, n_times)
    return TrialBatch(trials, table, info, source, recording.fingerprint), there


def _fill(
    batch: TrialBatch,
    recording: Recording,
    spec: TrialSpec,
    tick: Callable[[int], object] | None,
) -> None:
    samples = np.asarray(recording.samples)
    samples = samples[kept_trials(recording.numbers, recording.split, spec)]
    windows(recording.data, samples, recording.sfreq, spec, tick=tick, out=batch.trials)
    check_trials(batch.trials, list(recording.ch_names), batch.source)


def _known_by(recording: Recording, source: str) -> dict[str, Any]:
    """What trials depend on besides the spec: the file, and when which image was shown."""
    events = hashlib.sha256(repr((recording.ch_names, recording.sfreq)).encode())
    for values in (recording.samples, recording.numbers):
        events.update(np.ascontiguousarray(values, np.int64).tobytes())
    return {
        "session": as_read(recording.session),
        "split": recording.split,
        "source": source,
        "fingerprint": recording.fingerprint,
        "events": events.hexdigest(),
    }


def _trial_table(
    recording: Recording, images: pd.DataFrame, shown: dict[str, pd.Series], source: str
) -> pd.DataFrame:
    names = images_by_number(images, recording.split)
    numbers = np.asarray(recording.numbers)
    unknown = np.flatnonzero(~np.isin(numbers, names.index))
    if len(unknown) or not len(numbers):
        found = "no event"
        if len(unknown):
            found = f"the unknown event code {numbers[unknown[0]]}"
        raise DataError(
            f"events of the {len(names)} {recording.split} images",
            f"{found} in {source}",
            "use the image list that belongs to this recording",
        )
    before = shown.get(recording.split, pd.Series(0, index=names.index))
    counts = pd.Series(numbers).value_counts()
    shown[recording.split] = before.add(counts, fill_value=0).astype(int)
    rows = names.loc[numbers]
    table = pd.DataFrame(
        {
            "subject": recording.subject,
            "session": recording.session,
            "split": recording.split,
            "number": numbers,
            "image_id": rows["image_id"].to_numpy(),
            "concept": rows["concept"].to_numpy(),
            "repetition": before.loc[numbers].to_numpy() + running_count(numbers) + 1,
        }
    )
    return table[TRIAL_COLUMNS]


def _fit(batch: TrialBatch, kind: str) -> Normalisation:
    return fit_normalisation(kind, batch.trials, batch.table["number"].to_numpy(), batch.source)

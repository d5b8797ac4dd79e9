"""From the recordings of a subject to trials: one recording at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
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
        kept, dropped = chosen_trials(recording, spec)
        batch, there = _part(recording, kept, dropped, images, shown, spec, store)
        if there:
            skipped = session
            del recording
            if skip is not None:
                skip(len(batch.table))
            yield batch
            continue
        samples = np.asarray(recording.samples)[kept]
        windows(recording.data, samples, recording.sfreq, spec, tick=tick, out=batch.trials)
        check_trials(batch.trials, list(recording.ch_names), batch.source)
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
    raise _untrained(session, batch.source)


def _untrained(session: Label, source: str) -> DataError:
    return DataError(
        f"there is no training part of session {session} before its test part, to fit the normalisation, "
        f"only {source}",
        "add the training recording of that session, or --set trials.whitening=none",
    )


def check_session(recordings: Iterable[Recording], spec: TrialSpec) -> None:
    """Raise what :func:`recorded_batches` would raise for a session, without looking at its samples.

    Parameters
    ----------
    recordings : iterable of Recording
        Of one session, training part first.

    Raises
    ------
    DataError, UsageError
        If an epoch reaches beyond its file, no trial of a part is left, there are too few, or the session
        has a test part and no training part.
    """
    trained = spec.whitening == "none"
    for recording in recordings:
        chosen_trials(recording, spec)
        trained |= recording.split == "train"
        if not trained:
            raise _untrained(recording.session, recording.source)


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


def chosen_trials(recording: Recording, spec: TrialSpec) -> tuple[np.ndarray, dict[str, int]]:
    """Which trials of a recording are cut, in which order, and how many are left out for which reason.

    Returns
    -------
    kept : ndarray of int
    dropped : dict of str to int
        Empty if none are.

    Raises
    ------
    DataError
        See :func:`usable_trials`; if none is left, or too few for the published subset.
    """
    usable, dropped = usable_trials(recording, spec)
    if dropped and not len(usable):
        said = ", ".join(f"{count} {why}" for why, count in dropped.items())
        raise DataError(
            f"no {recording.split} trial of {recording.source} is left: {said}",
            "leave the session out, or use bad segments with --set trials.bad_segments=keep",
        )
    if len(usable):
        numbers = np.asarray(recording.numbers)[usable]
        usable = usable[kept_trials(numbers, recording.split, spec)]
    return usable, dropped


def usable_trials(recording: Recording, spec: TrialSpec) -> tuple[np.ndarray, dict[str, int]]:
    """Which trials of a recording can be cut, and how many cannot for which reason.

    The epoch of a trial, baseline included, lies in one file, crosses no interruption and touches no segment
    that is marked bad.

    Returns
    -------
    usable : ndarray of int
    dropped : dict of str to int
        Empty if none are.

    Raises
    ------
    DataError
        If an epoch reaches beyond its file and ``spec.incomplete`` does not drop it.
    """
    offset, operator = window_operator(recording.sfreq, spec)
    samples = np.asarray(recording.samples)
    first, stop = samples + offset, samples + offset + len(operator)
    edges = np.array([0, *recording.joins, recording.data.shape[1]])
    file = np.searchsorted(edges, samples, "right")
    beyond = (first < edges[file - 1]) | (stop > edges[np.minimum(file, len(edges) - 1)])
    if beyond.any() and spec.incomplete == "error":
        raise _incomplete(recording, spec, beyond, edges[file - 1])
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


def _incomplete(
    recording: Recording, spec: TrialSpec, beyond: np.ndarray, starts: np.ndarray
) -> DataError:
    row = int(np.flatnonzero(beyond)[0])
    onset = (recording.samples[row] - starts[row]) / recording.sfreq
    where = recording.places[row] if len(recording.places) else recording.source
    return DataError(
        f"{beyond.sum()} of {len(beyond)} {recording.split} trials of {recording.source} reach beyond the "
        f"start or end of their recording: the image of the first begins at {onset:.3f} s in {where}, and "
        f"epochs go from {spec.tmin:g} to {spec.tmax:g} s",
        "shorten epochs with --set trials.tmax=... or trials.tmin=..., or leave these trials out with "
        "--set trials.incomplete=drop",
    )


def _part(
    recording: Recording,
    kept: np.ndarray,
    dropped: dict[str, int],
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
    table = table.iloc[kept].reset_index(drop=True)
    info = recording.info_at(spec.sfreq)
    n_times = window_operator(recording.sfreq, spec)[1].shape[1]
    there = False
    trials: np.ndarray | TrialFile
    if store is None:
        trials = np.empty((len(table), len(recording.ch_names), n_times), np.float32)
    else:
        known = _known_by(recording, source) | {"dropped": dropped}
        trials, there = store.room(known, table, info, n_times)
    return TrialBatch(trials, table, info, source, recording.fingerprint), there


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
        "channels": {what: dict(names) for what, names in recording.channel_notes.items()},
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

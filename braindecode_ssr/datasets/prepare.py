"""From the recordings of a subject to its trial store: one session at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..config import TrialSpec
from ..errors import DataError
from ..preprocessing.normalisation import Normalisation, fit_normalisation
from ..preprocessing.repetitions import (
    PUBLISHED_REPETITIONS,
    published_subset,
    running_count,
)
from ..preprocessing.windows import windows
from .base import ImageDataset, Recording, images_by_number
from .store import TrialStore
from .store_files import FORMAT, TRIAL_COLUMNS, UNITS, TrialBatch, check_trials
from .whole_folder import one_at_a_time

if TYPE_CHECKING:
    import mne
    from tqdm import tqdm


def prepare(
    dataset: ImageDataset, subject: int, spec: TrialSpec, *, progress: bool = False
) -> TrialStore:
    """The trials of a subject, made once and opened ever after.

    A dataset that has released, already preprocessed files gives them by ``batches(subject, spec)``: an
    iterable of :class:`TrialBatch` with an ``info`` and a ``manifest``, or None where the recordings
    are to be used. Then trials are cut from the recordings, session by session, and whitened with the
    noise of the training part of the session. Kept in ``dataset.derived / "trials"``, under a name that
    changes with the spec and with the dataset's ``source_key(subject, spec)``.

    Parameters
    ----------
    dataset : ImageDataset
    subject : int
    spec : TrialSpec
    progress : bool
        Show a bar on stderr.

    Returns
    -------
    TrialStore
        ``trials`` in volts, or without unit when whitened.

    Raises
    ------
    UsageError
        If the dataset has no such subject, or its recordings cannot be cut as the spec says.
    DataError
        If an event code is unknown, a window reaches beyond a recording, a channel is constant or holds
        NaN, a session to be whitened has no training part, or the store cannot be written.
    """
    subject = dataset.check_subject(subject)
    path = trials_path(dataset, subject, spec)
    with suppress(DataError):
        return TrialStore.open(path)
    with one_at_a_time(path):
        with suppress(DataError):  # somebody else has made it meanwhile
            return TrialStore.open(path)
        return _make(dataset, subject, spec, path, progress)


def _make(
    dataset: ImageDataset, subject: int, spec: TrialSpec, path: Path, progress: bool
) -> TrialStore:
    """Write the store, from released trials where the dataset has some, else from recordings."""
    manifest = {"dataset": dataset.name, "subject": subject, "spec": spec.model_dump(mode="json")}
    released = getattr(dataset, "batches", lambda subject, spec: None)(subject, spec)
    if released is not None:
        manifest |= released.manifest
        return TrialStore.write(path, released, released.info, manifest)
    with _bar(subject, progress) as bar:
        manifest["units"] = UNITS[spec.whitening]
        info, batches = _peek(
            recorded_batches(dataset, subject, spec, bar.update), dataset, subject
        )
        return TrialStore.write(path, batches, info, manifest)


def trials_path(dataset: ImageDataset, subject: int, spec: TrialSpec) -> Path:
    """Where the prepared trials of a subject are kept."""
    key = json.dumps([FORMAT, dataset.name, spec.digest, dataset.source_key(subject, spec)])
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return dataset.derived / "trials" / f"sub-{subject:02d}_{digest}"


def recorded_batches(
    dataset: ImageDataset,
    subject: int,
    spec: TrialSpec,
    tick: Callable[[int], object] | None = None,
) -> Iterator[TrialBatch]:
    """The trials of each recording of a subject; one recording or batch is in memory at a time.

    Parameters
    ----------
    dataset : ImageDataset
    subject : int
    spec : TrialSpec
    tick : callable, optional
        Called with the number of trials cut since its last call.

    Yields
    ------
    TrialBatch
        With ``repetitions="published"``: images in order of number, the kept trials of each in the
        order of the public scripts; otherwise in order of presentation.

    Raises
    ------
    DataError, UsageError
        See :func:`prepare`.
    """
    images, shown, normalise, fitted = dataset.images, {}, None, None
    for recording in dataset.as_asked(spec).recordings(subject):
        session, split = recording.session, recording.split
        batch = _cut(recording, images, shown, spec, tick)
        del recording
        if spec.whitening != "none":
            if split == "train":
                normalise, fitted = _fit(batch, spec.whitening), session
            if fitted != session:
                raise DataError(
                    f"a training part of session {session} before its test part, to fit the normalisation",
                    f"only {batch.source}",
                    "add the training recording of that session, or --set trials.whitening=none",
                )
            normalise(batch.trials)
        yield batch
        del batch


def _peek(
    batches: Iterator[TrialBatch], dataset: ImageDataset, subject: int
) -> tuple[mne.Info, Iterator[TrialBatch]]:
    """The info of the first batch, and all batches; holds none of them longer than it has to."""
    first = next(batches, None)
    if first is None:
        raise DataError(
            f"recordings of subject {subject} of {dataset.name} in {dataset.root}",
            "none",
            "see where they belong with: ssr-bd data where",
        )
    return first.info, chain([first], batches)


def _cut(
    recording: Recording,
    images: pd.DataFrame,
    shown: dict[str, pd.Series],
    spec: TrialSpec,
    tick: Callable[[int], object] | None,
) -> TrialBatch:
    """The trials of one recording; adds its showings to those counted before."""
    source = f"{recording.source or 'recording'} (session {recording.session}, {recording.split})"
    table = _trial_table(recording, images, shown, source)
    samples = np.asarray(recording.samples)
    if spec.repetitions == "published":
        kept = published_subset(recording.numbers, PUBLISHED_REPETITIONS[recording.split])
        samples, table = samples[kept], table.iloc[kept].reset_index(drop=True)
    trials = windows(recording.data, samples, recording.sfreq, spec, tick=tick)
    check_trials(trials, list(recording.ch_names), source)
    return TrialBatch(trials, table, recording.info_at(spec.sfreq), source, recording.fingerprint)


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


def _bar(subject: int, progress: bool) -> tqdm:
    from tqdm.auto import tqdm

    return tqdm(desc=f"trials of subject {subject}", unit="trial", disable=not progress)

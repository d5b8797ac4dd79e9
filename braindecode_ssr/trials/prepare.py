"""Prepare trials: cut, whiten and store the recordings of a subject, one recording in memory at a time."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..config import TrialSpec
from ..datasets.base import (
    TRIAL_COLUMNS,
    UNITS,
    ImageDataset,
    Recording,
    TrialBatch,
    check_trials,
    images_by_number,
)
from ..datasets.usable_trials import chosen_trials, kept_trials, no_training_part
from ..errors import DataError
from ..files import atomic_folder, lock, sha256
from ..labels import Label, as_read, folder_name
from ..preprocessing.epochs import n_times, windows
from ..preprocessing.repetitions import running_count
from ..preprocessing.whitening import Whitening, fit_whitening
from .store import FORMAT, TrialStore
from .writer import Changed, ResumableStore, remove_outdated

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["prepare", "recorded_batches", "trials_path"]


def prepare(
    dataset: ImageDataset,
    subject: Label,
    spec: TrialSpec,
    *,
    progress: bool | TrialBar = False,
    say: Callable[[str], object] | None = None,
) -> TrialStore:
    """The trials of a subject, made once and then opened.

    A dataset that has epochs already, such as released preprocessed files, gives them itself. Otherwise
    trials are cut from the recordings, session by session, and whitened with the noise of the training part
    of the session. The store lies in ``dataset.derived / "trials"`` under a name that changes with the spec
    and with the dataset's ``source_key(subject, spec)``.

    Trials go to disk as they are cut, so that little memory is used beyond one recording. A process that is
    killed or interrupted leaves its finished sessions, and the next one resumes after them if the
    recordings are still the same.

    Parameters
    ----------
    dataset : ImageDataset
    subject : int or str
    spec : TrialSpec
    progress : bool or TrialBar
        Show a progress bar on stderr, or the bar to use.
    say : callable, optional
        Receives a line on what is resumed, and on what was left out because it was marked bad.

    Returns
    -------
    TrialStore
        ``trials`` in volts, or unitless when whitened.

    Raises
    ------
    UsageError
        If the dataset has no such subject, or its recordings cannot be cut as the spec says.
    DataError
        If an event code is unknown, an epoch reaches beyond a recording, a channel is constant or holds
        NaN, a session to be whitened has no training part, or the store cannot be written.
    """
    subject = dataset.check_subject(subject)
    path = trials_path(dataset, subject, spec)

    def told(store: TrialStore) -> TrialStore:
        if store.left_out and say is not None:
            say_beside(say, f"subject {subject}: {store.left_out}")
        return store

    for place in dict.fromkeys((path, dataset.derived_before / "trials" / path.name)):
        with suppress(DataError):
            return told(TrialStore.open(place))
    with lock(path):
        with suppress(DataError):  # another process has made it meanwhile
            return told(TrialStore.open(path))
        bar = progress if isinstance(progress, TrialBar) else TrialBar(subject, progress)
        return told(_make(dataset, subject, spec, path, bar, say))


def trials_path(dataset: ImageDataset, subject: Label, spec: TrialSpec) -> Path:
    """Where the prepared trials of a subject are kept."""
    key = json.dumps([FORMAT, dataset.name, spec.digest, dataset.source_key(subject, spec)])
    return dataset.derived / "trials" / f"{folder_name(subject)}_{sha256(key)[:16]}"


def _make(
    dataset: ImageDataset,
    subject: Label,
    spec: TrialSpec,
    path: Path,
    bar: TrialBar,
    say: Callable[[str], object] | None,
) -> TrialStore:
    """Write the store, from the dataset's own epochs if it has some, else from recordings."""
    manifest = {"dataset": dataset.name, "subject": subject, "spec": spec.model_dump(mode="json")}
    released = dataset.epochs(subject, spec)
    if released is not None:
        manifest |= released.manifest
        return TrialStore.write(path, released, released.info, manifest)
    whitened = spec.whitening != "none"
    manifest["units"] = UNITS[spec.whitening] if whitened else dataset.unit(subject)
    with bar:
        try:
            _write_recorded(dataset, subject, spec, path, manifest, bar, say)
        except Changed:  # the unfinished store is gone, and everything is made anew
            _write_recorded(dataset, subject, spec, path, manifest, bar, say)
    remove_outdated(path, manifest)
    return TrialStore.open(path)


def _write_recorded(
    dataset: ImageDataset,
    subject: Label,
    spec: TrialSpec,
    path: Path,
    manifest: dict[str, Any],
    bar: TrialBar,
    say: Callable[[str], object] | None,
) -> None:
    """Write the store from recordings, resuming after the sessions that are finished."""
    with (
        atomic_folder(path, resume=True, option="--cache-dir") as folder,
        ResumableStore(folder, manifest) as store,
    ):
        if store.finished and say is not None:
            sessions = dict.fromkeys(str(part["session"]) for part in store.finished)
            say_beside(say, f"subject {subject}: resuming after session {', '.join(sessions)}")
        if bar.show and hasattr(dataset, "presentations"):
            parts = dataset.presentations(subject, spec)
            if parts is not None:
                bar.expect(sum(len(kept_trials(numbers, split, spec)) for split, numbers in parts))
        batches = recorded_batches(dataset, subject, spec, bar.advance, skip=bar.skip, store=store)
        if not sum(len(batch.table) for batch in batches):
            raise DataError(
                f"{dataset.root} holds no recordings of subject {subject} of {dataset.name}",
                f"see where they belong with: ssr-bd data where {dataset.name}",
            )
        store.complete()


def recorded_batches(
    dataset: ImageDataset,
    subject: Label,
    spec: TrialSpec,
    tick: Callable[[int], object] | None = None,
    *,
    skip: Callable[[int], object] | None = None,
    store: ResumableStore | None = None,
) -> Iterator[TrialBatch]:
    """The trials of each recording of a subject; one recording or batch is in memory at a time.

    Parameters
    ----------
    dataset : ImageDataset
    subject : int or str
    spec : TrialSpec
    tick, skip : callable, optional
        Called with the number of trials cut since the last call, and with those that were in the store
        already.
    store : ResumableStore, optional
        Where trials go as they are cut; sessions that are finished in it are not cut again.

    Yields
    ------
    TrialBatch
        With ``repetitions="published"``: images in order of number, the kept trials of each in the order of
        the public scripts; otherwise in order of presentation.

    Raises
    ------
    DataError, UsageError
        See :func:`prepare`.
    Changed
        If a recording is not the one that is finished in the store.
    """
    images = dataset.images
    shown: dict[str, pd.Series] = {}
    whiten: Whitening | None = None
    fitted, skipped = None, None
    for recording in dataset.as_asked(spec).recordings(subject):
        session, split = recording.session, recording.split
        kept, dropped = chosen_trials(recording, spec)
        source = f"{recording.source or 'recording'} (session {session}, {split})"
        table = _trial_table(recording, images, shown, source).iloc[kept].reset_index(drop=True)
        info, length, done = recording.info_at(spec.sfreq), n_times(recording.sfreq, spec), False
        trials: Any
        if store is None:
            trials = np.empty((len(table), len(recording.ch_names), length), np.float32)
        else:
            identity = _identity(recording, source) | {"dropped": dropped}
            trials, done = store.allocate(identity, table, info, length)
        batch = TrialBatch(trials, table, info, source, recording.fingerprint)
        if done:
            skipped = session
            del recording
            if skip is not None:
                skip(len(table))
            yield batch
            continue
        samples = np.asarray(recording.samples)[kept]
        windows(recording.data, samples, recording.sfreq, spec, tick=tick, out=trials)
        check_trials(trials, list(recording.ch_names), source)
        del recording
        if spec.whitening != "none":
            if split == "train":
                numbers = table["number"].to_numpy()
                whiten, fitted = fit_whitening(spec.whitening, trials, numbers, source), session
            if whiten is None or fitted != session:
                raise Changed if session == skipped else no_training_part(session, source)
            whiten(trials)
        if store is not None and (split == "test" or spec.whitening == "none"):
            store.finish_session()
        yield batch
        del batch, trials


def _identity(recording: Recording, source: str) -> dict[str, Any]:
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
    """One row per event of a recording; adds its presentations to those counted in ``shown``."""
    names = images_by_number(images, recording.split)
    numbers = np.asarray(recording.numbers)
    unknown = np.flatnonzero(~np.isin(numbers, names.index))
    if len(unknown) or not len(numbers):
        found = f"the unknown event code {numbers[unknown[0]]}" if len(unknown) else "no event"
        raise DataError(
            f"{source} holds {found}; the dataset has {len(names)} {recording.split} images",
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


class TrialBar:
    """A progress bar on stderr that counts the trials of a subject.

    Parameters
    ----------
    subject : int or str
    show : bool
        Whether to show a bar.
    line : int
        The line below the cursor, where several bars are shown.
    """

    def __init__(self, subject: Label, show: bool, line: int = 0) -> None:
        self.subject, self.show, self.line = subject, show, line
        self._bar: tqdm | None = None

    def __enter__(self) -> TrialBar:
        from tqdm.auto import tqdm

        self._bar = tqdm(
            desc=f"trials of subject {self.subject}",
            unit="trial",
            disable=not self.show,
            position=self.line or None,
            smoothing=0.05,
        )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def expect(self, n_trials: int) -> None:
        """Set the total."""
        if self._bar is not None:
            self._bar.total = n_trials
            self._bar.refresh()

    def skip(self, n_trials: int) -> None:
        """Count trials that were there already, without counting them as fast work."""
        if self._bar is not None and self.show:
            self._bar.initial += n_trials
        self.advance(n_trials)

    def advance(self, n_trials: int) -> None:
        """Count trials that are done."""
        if self._bar is not None:
            self._bar.update(n_trials)


def say_beside(say: Callable[[str], object], text: str) -> None:
    """Print a line on stderr above the progress bars."""
    from tqdm.auto import tqdm

    with tqdm.external_write_mode(file=sys.stderr):
        say(text)

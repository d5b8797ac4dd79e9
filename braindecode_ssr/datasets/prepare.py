"""The trials of a subject, made once and opened ever after: one session at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..config import TrialSpec
from ..errors import DataError
from ..files import atomic_folder, lock, sha256
from ..labels import Label, folder_name
from .base import ImageDataset
from .recorded import kept_trials, recorded_batches
from .store import TrialStore
from .store_files import FORMAT, UNITS
from .trial_bar import TrialBar, say_beside
from .unfinished import Changed, UnfinishedStore, remove_outdated

__all__ = ["prepare", "recorded_batches", "trials_path"]


def prepare(
    dataset: ImageDataset,
    subject: Label,
    spec: TrialSpec,
    *,
    progress: bool | TrialBar = False,
    say: Callable[[str], object] | None = None,
) -> TrialStore:
    """The trials of a subject, made once and opened ever after.

    A dataset that has released, already preprocessed files gives them by ``batches(subject, spec)``: an
    iterable of :class:`TrialBatch` with an ``info`` and a ``manifest``, or None where the recordings
    are to be used. Then trials are cut from the recordings, session by session, and whitened with the
    noise of the training part of the session. Kept in ``dataset.derived / "trials"``, under a name that
    changes with the spec and with the dataset's ``source_key(subject, spec)``.

    Trials go to the disk as they are cut: little memory is taken beyond what the dataset takes to give a
    recording. A process that is killed, or stopped by Ctrl-C, leaves the sessions that are finished, and
    the next one goes on after them if their recordings are still the same.

    Parameters
    ----------
    dataset : ImageDataset
        May know ``presentations(subject, spec)``, the split and image numbers of each recording, quick to
        get, or None: then a bar knows the time left.
    subject : int or str
    spec : TrialSpec
    progress : bool or TrialBar
        Show a bar on stderr, or the bar to show.
    say : callable, optional
        Is told in a line what is gone on with, and what was left out because it was marked bad.

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
    for place in dict.fromkeys((path, dataset.derived_before / "trials" / path.name)):
        with suppress(DataError):
            return _told(TrialStore.open(place), subject, say)
    with lock(path):
        with suppress(DataError):  # somebody else has made it meanwhile
            return _told(TrialStore.open(path), subject, say)
        bar = progress if isinstance(progress, TrialBar) else TrialBar(subject, progress)
        return _told(_make(dataset, subject, spec, path, bar, say), subject, say)


def _told(store: TrialStore, subject: int, say: Callable[[str], object] | None) -> TrialStore:
    """The store, after saying what was left out of it."""
    if store.left_out and say is not None:
        say_beside(say, f"subject {subject}: {store.left_out}")
    return store


def _make(
    dataset: ImageDataset,
    subject: Label,
    spec: TrialSpec,
    path: Path,
    bar: TrialBar,
    say: Callable[[str], object] | None,
) -> TrialStore:
    """Write the store, from released trials where the dataset has some, else from recordings."""
    manifest = {"dataset": dataset.name, "subject": subject, "spec": spec.model_dump(mode="json")}
    released = getattr(dataset, "batches", lambda subject, spec: None)(subject, spec)
    if released is not None:
        manifest |= released.manifest
        return TrialStore.write(path, released, released.info, manifest)
    plain = spec.whitening == "none"
    manifest["units"] = dataset.unit(subject) if plain else UNITS[spec.whitening]
    with bar:
        try:
            _write_recorded(dataset, subject, spec, path, manifest, bar, say)
        except Changed:  # then nothing of it is left, and all is made anew
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
    """Write the store from recordings, after the sessions that are finished already."""
    known = hasattr(dataset, "presentations")
    with (
        atomic_folder(path, resume=True, option="--cache-dir") as folder,
        UnfinishedStore(folder, manifest) as store,
    ):
        if store.finished and say is not None:
            sessions = dict.fromkeys(str(part["session"]) for part in store.finished)
            text = f"subject {subject}: going on after session {', '.join(sessions)}, made before"
            say_beside(say, text)
        parts = dataset.presentations(subject, spec) if bar.show and known else None
        if parts is not None:
            bar.expect(sum(len(kept_trials(numbers, split, spec)) for split, numbers in parts))
        batches = recorded_batches(dataset, subject, spec, bar.advance, skip=bar.skip, store=store)
        n_trials = sum(len(batch.table) for batch in batches)
        if not n_trials:
            raise DataError(
                f"recordings of subject {subject} of {dataset.name} in {dataset.root}",
                "none",
                "see where they belong with: ssr-bd data where",
            )
        store.complete()


def trials_path(dataset: ImageDataset, subject: Label, spec: TrialSpec) -> Path:
    """Where the prepared trials of a subject are kept."""
    key = json.dumps([FORMAT, dataset.name, spec.digest, dataset.source_key(subject, spec)])
    digest = sha256(key)[:16]
    return dataset.derived / "trials" / f"{folder_name(subject)}_{digest}"

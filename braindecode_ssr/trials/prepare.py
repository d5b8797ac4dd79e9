"""From the recordings of a subject to trials: one recording at a time."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

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
from ..errors import DataError, SSRError
from ..files import atomic_folder, lock, sha256, sweep
from ..labels import Label, as_read, folder_name
from ..preprocessing.epochs import window_operator, windows
from ..preprocessing.repetitions import running_count
from ..preprocessing.whitening import Normalisation, fit_whitening
from .store import FORMAT, TrialStore
from .writer import Changed, TrialFile, UnfinishedStore, remove_outdated

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from tqdm import tqdm


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
    raise no_training_part(session, batch.source)


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
    return fit_whitening(kind, batch.trials, batch.table["number"].to_numpy(), batch.source)


class TrialBar:
    """A bar on stderr that counts the trials of a subject.

    Parameters
    ----------
    subject : int
    show : bool
        Whether there is a bar at all.
    line : int
        On which line below the cursor, where several are shown.
    """

    def __init__(self, subject: int, show: bool, line: int = 0) -> None:
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
        self._bar.close()

    def expect(self, n_trials: int) -> None:
        """How many there will be in all."""
        self._bar.total = n_trials
        self._bar.refresh()

    def skip(self, n_trials: int) -> None:
        """Some were there already; they do not count as fast work."""
        if self.show:
            self._bar.initial += n_trials
        self._bar.update(n_trials)

    def advance(self, n_trials: int) -> None:
        """Some more are done."""
        self._bar.update(n_trials)


def say_beside(say: Callable[[str], object], text: str) -> None:
    """Say a line on stderr while bars are shown there: they make way and are drawn again below it."""
    from tqdm.auto import tqdm

    with tqdm.external_write_mode(file=sys.stderr):
        say(text)


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


LITTLE = 1e9
"""Bytes of memory below which a process may find too little."""


@dataclass(frozen=True)
class Prepared:
    """What became of a subject.

    Parameters
    ----------
    subject : int
    path : Path, optional
        Where its trials are.
    error : SSRError, optional
        Why there are none.
    """

    subject: int
    path: Path | None = None
    error: SSRError | None = None


def prepare_many(
    dataset: ImageDataset,
    subjects: Iterable[int],
    spec: TrialSpec,
    *,
    jobs: int = 1,
    progress: bool = False,
    say: Callable[[str], object] = lambda text: None,
) -> Iterator[Prepared]:
    """Prepare subjects; one that fails does not keep the others from being prepared.

    Parameters
    ----------
    dataset : ImageDataset
        With ``jobs`` above 1 it is sent to other processes: it has to be picklable.
    subjects : iterable of int
    spec : TrialSpec
    jobs : int
        Subjects that are prepared at a time.
    progress : bool
        Show a bar for each on stderr.
    say : callable
        Is told in a line what happens.

    Yields
    ------
    Prepared
        In the order in which they end.
    """
    subjects = list(subjects)
    jobs = min(jobs, len(subjects))
    if jobs > 1:
        say(_memory_line(jobs))
        yield from _Crew(dataset, spec, jobs, progress, say).prepare(subjects)
        return
    for subject in subjects:
        say(f"prepare subject {subject}")
        try:
            store = prepare(dataset, subject, spec, progress=progress, say=say)
        except SSRError as error:
            yield Prepared(subject, error=error)
        else:
            yield Prepared(subject, store.path)


def free_memory() -> int | None:
    """Bytes of memory that processes can still have, where the system says."""
    with suppress(OSError, ValueError, IndexError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        return 1024 * int(text.split("MemAvailable:")[1].split()[0])
    return None


def _memory_line(jobs: int) -> str:
    line, free = f"{jobs} subjects at a time", free_memory()
    if free is None:
        return line
    line += f", {free / jobs / 1e9:.1f} GB of free memory for each"
    return line + (": that may be too little, use fewer --jobs" if free < jobs * LITTLE else "")


class _Pipe(TrialBar):
    """The bar of a process: tells the one that started it."""

    def __init__(self, subject: int, show: bool, pipe: Any) -> None:
        super().__init__(subject, show)
        self._pipe = pipe

    def __enter__(self) -> TrialBar:
        return self

    def __exit__(self, *exception: object) -> None:
        return

    def expect(self, n_trials: int) -> None:
        self.tell("expect", n_trials)

    def skip(self, n_trials: int) -> None:
        self.tell("skip", n_trials)

    def advance(self, n_trials: int) -> None:
        self.tell("advance", n_trials)

    def tell(self, what: str, content: Any) -> None:
        """Send it; where nobody listens any more, stop as after Ctrl-C: what is finished is kept."""
        try:
            self._pipe.send((what, content))
        except BrokenPipeError:
            raise KeyboardInterrupt from None


def _work(
    pipe: Any, dataset: ImageDataset, subject: int, spec: TrialSpec, jobs: int, show: bool
) -> None:
    """What a process does: prepare one subject and tell how it goes."""
    from threadpoolctl import threadpool_info, threadpool_limits

    bar = _Pipe(subject, show, pipe)
    width = max((library["num_threads"] for library in threadpool_info()), default=1)
    with suppress(KeyboardInterrupt), threadpool_limits(max(1, width // jobs)):
        try:
            store = prepare(dataset, subject, spec, progress=bar, say=partial(bar.tell, "say"))
        except SSRError as error:
            bar.tell("error", error)
        except Exception as error:
            found = f"{type(error).__name__}: {' '.join(str(error).split())}"
            mend = "prepare this subject alone with --debug, and report it"
            bar.tell("error", DataError(f"to prepare subject {subject}", found, mend))
        else:
            bar.tell("path", store.path)


class _Crew:
    """Processes that each prepare one subject, and the bars that show how far they are."""

    def __init__(
        self,
        dataset: ImageDataset,
        spec: TrialSpec,
        jobs: int,
        progress: bool,
        say: Callable[[str], object],
    ) -> None:
        self._dataset, self._spec, self._jobs = dataset, spec, jobs
        self._progress, self._say = progress, say
        self._running: dict[Any, tuple[int, BaseProcess, TrialBar]] = {}
        self._ended: dict[int, Prepared] = {}

    def prepare(self, subjects: list[int]) -> Iterator[Prepared]:
        """Keep as many at work as asked for, until all subjects have ended."""
        waiting = subjects[::-1]
        try:
            while waiting or self._running:
                while waiting and len(self._running) < self._jobs:
                    self._start(waiting.pop())
                for pipe in connection.wait(list(self._running)):
                    try:
                        self._hear(pipe, *pipe.recv())
                    except EOFError:
                        yield self._end(pipe)
        finally:
            self._stop()

    def _start(self, subject: int) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        args = (theirs, self._dataset, subject, self._spec, self._jobs, self._progress)
        process = context.Process(target=_work, args=args, daemon=True)
        with ignoring_interrupts():
            process.start()
        theirs.close()
        lines = {bar.line for _, _, bar in self._running.values()}
        line = next(place for place in range(len(lines) + 1) if place not in lines)
        bar = TrialBar(subject, self._progress, line)
        self._running[ours] = subject, process, bar.__enter__()

    def _hear(self, pipe: Any, what: str, content: Any) -> None:
        subject, _, bar = self._running[pipe]
        if what == "say":
            say_beside(self._say, content)
        elif what == "path":
            self._ended[subject] = Prepared(subject, content)
            say_beside(self._say, f"subject {subject} is prepared")
        elif what == "error":
            self._ended[subject] = Prepared(subject, error=content)
        else:
            getattr(bar, what)(content)

    def _end(self, pipe: Any) -> Prepared:
        subject, process, bar = self._running.pop(pipe)
        process.join()
        pipe.close()
        bar.__exit__()
        killed = DataError(
            f"the process that prepares subject {subject} to come to its end",
            f"it was ended with code {process.exitcode} (-9 is often: out of memory)",
            "use fewer --jobs and the same command again; sessions that are finished are kept",
        )
        return self._ended.get(subject) or Prepared(subject, error=killed)

    def _stop(self) -> None:
        """End what is still at work; whatever sessions are finished are kept."""
        for _, process, _ in self._running.values():
            process.terminate()
        for pipe, (subject, process, bar) in self._running.items():
            process.join()
            pipe.close()
            bar.__exit__()
            with suppress(SSRError):
                sweep(trials_path(self._dataset, subject, self._spec).parent)
        self._running = {}


@contextmanager
def ignoring_interrupts() -> Iterator[None]:
    """Processes that are started within it do not see Ctrl-C; the one that starts them does."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

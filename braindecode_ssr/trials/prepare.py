"""Cut the trials of subjects into stores, session by session, so that a killed `prepare` resumes."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..config import TrialSpec
from ..datasets.base import (
    UNITS,
    ImageDataset,
    Recording,
    check_trials,
    eeg_info,
    images_by_number,
    trial_table,
)
from ..errors import DataError, Say, SSRError, silent
from ..files import JOURNAL, atomic_folder, lock, read_json, set_aside, sha256, sweep
from ..preprocessing.epochs import (
    chosen_trials,
    first_time,
    kept_trials,
    n_times,
    no_training_part,
    running_count,
    windows,
)
from ..preprocessing.whitening import Whitening, clamp, fit_whitening
from ..registry import Label, as_read, folder_name
from .store import FORMAT, RecordingsChanged, StoreWriter, TrialStore

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess


LOW_MEMORY = 1e9  # bytes of free memory per process below which a warning is shown


# -- one subject ---------------------------------------------------------------------------------------------


def prepare(
    dataset: ImageDataset,
    subject: Label,
    spec: TrialSpec,
    *,
    progress: bool | TrialBar = False,
    say: Say = silent,
) -> TrialStore:
    """The trials of a subject, made once and then opened.

    A dataset that has epochs already gives them itself. Otherwise trials are cut from the recordings, session
    by session, and whitened with the noise of the training part of the session. The store lies in
    ``dataset.derived / "trials"`` under a name that changes with the spec and the dataset's ``source_key``.

    Trials go to disk as they are cut. A process that is killed leaves its finished sessions, and the next one
    resumes after them if the recordings are the same. ``say`` gets a line on what is resumed, and on what was
    left out because it was marked bad.
    """
    subject = dataset.check_subject(subject)
    path = trials_path(dataset, subject, spec)
    before = dataset.derived_before / "trials" / path.name
    store = TrialStore.find(path) or TrialStore.find(before)
    if store is None:
        with lock(path):  # another process may have made it meanwhile
            store = TrialStore.find(path) or _make(dataset, subject, spec, path, progress, say)
    if store.left_out:
        say_beside(say, f"subject {subject}: {store.left_out}")
    return store


def remove_outdated(path: Path, manifest: dict[str, Any]) -> None:
    """Remove unfinished stores of the same trials whose source files have changed since."""
    first = path.name.partition("_")[0]
    for folder in path.parent.glob(f".{first}_*.unfinished"):
        note = read_json(folder / JOURNAL) or {}
        if folder != set_aside(path) and note.get("manifest") == manifest:
            shutil.rmtree(folder, ignore_errors=True)


def trials_path(dataset: ImageDataset, subject: Label, spec: TrialSpec) -> Path:
    """Where the prepared trials of a subject are kept."""
    key = json.dumps([FORMAT, dataset.name, spec.digest, dataset.source_key(subject, spec)])
    return dataset.derived / "trials" / f"{folder_name(subject)}_{sha256(key)[:16]}"


def _make(
    dataset: ImageDataset,
    subject: Label,
    spec: TrialSpec,
    path: Path,
    progress: bool | TrialBar,
    say: Say,
) -> TrialStore:
    """Write the store, from the dataset's own epochs if it has some, else from recordings."""
    manifest = {"dataset": dataset.name, "subject": subject, "spec": spec.model_dump(mode="json")}
    released = dataset.ready_epochs(subject, spec)
    if released is not None:
        if "first_time" not in released.manifest:
            raise DataError(
                f"the epochs of {dataset.name} do not say when they begin",
                "put first_time, in seconds after the onset of the image, in the manifest of EpochedTrials",
            )
        manifest |= released.manifest
        return TrialStore.write(path, released, released.info, manifest)
    whitened = spec.whitening != "none"
    manifest["units"] = UNITS[spec.whitening] if whitened else dataset.unit(subject)
    show = progress if isinstance(progress, TrialBar) else TrialBar(subject, progress)
    with show as bar:
        for last in (False, True):
            try:
                with (
                    atomic_folder(path, resume=True, option="--cache-dir") as folder,
                    closing(StoreWriter(folder, manifest)) as store,
                ):
                    _write_recorded(dataset, subject, spec, store, bar, say)
                break
            except RecordingsChanged:  # the unfinished store is gone, and everything is made anew
                if last:
                    raise
    remove_outdated(path, manifest)
    return TrialStore.open(path)


def _write_recorded(
    dataset: ImageDataset,
    subject: Label,
    spec: TrialSpec,
    store: StoreWriter,
    bar: TrialBar,
    say: Say,
) -> None:
    """Write the store, one recording in memory at a time, resuming after the sessions that are finished."""
    if store.finished:
        sessions = dict.fromkeys(str(part["session"]) for part in store.finished)
        say_beside(say, f"subject {subject}: resuming after session {', '.join(sessions)}")
    parts = dataset.presentations(subject, spec) if bar.show else None
    if parts is not None:
        bar.expect(sum(len(kept_trials(numbers, split, spec)) for split, numbers in parts))
    shown: dict[str, pd.Series] = {}
    whiten: Whitening | None = None
    fitted, skipped, tick = None, None, bar.advance
    for recording in dataset.with_spec(spec).recordings(subject):
        session, split, sfreq = recording.session, recording.split, recording.sfreq
        kept, dropped = chosen_trials(recording, spec)
        source = f"{recording.source or 'recording'} (session {session}, {split})"
        table = _trial_table(recording, dataset.images, shown, source)
        table = table.iloc[kept].reset_index(drop=True)
        info = eeg_info(recording.ch_names, spec.sfreq, recording.ch_type)
        identity = _identity(recording, source)
        identity |= {"dropped": dropped, "first_time": first_time(sfreq, spec)}
        shape = (len(table), len(recording.ch_names), n_times(sfreq, spec))
        trials: Any
        trials, done = store.allocate(identity, table, shape, info)
        if done:
            skipped = session
            bar.skip(len(table))
            del recording
            continue
        recording = recording.processed(np.asarray(recording.samples)[kept], spec)
        windows(recording.data, recording.samples, recording.sfreq, spec, tick=tick, out=trials)
        check_trials(trials, list(recording.ch_names), source)
        del recording
        if spec.fitted:
            if split == "train":
                numbers = table["number"].to_numpy()
                whiten, fitted = fit_whitening(spec.whitening, trials, numbers, source), session
                store.keep_whitening(session, whiten)
            if whiten is None or fitted != session:
                raise RecordingsChanged if session == skipped else no_training_part(session, source)
            whiten(trials)
        if spec.clamp is not None:
            clamp(trials, spec.clamp)
        if split == "test" or not spec.fitted:
            store.finish_session()
    if not shown:
        found = f"{dataset.root} holds no recordings of subject {subject} of {dataset.name}"
        raise DataError(found, f"see where they belong with: ssr-bd data where {dataset.name}")
    all_dropped, channels = Counter[str](), dict[str, dict[str, list[str]]]()
    for part in store.parts:
        all_dropped.update(part["dropped"])
        for what, names in part["channels"].items():
            for name, files in names.items():
                known = channels.setdefault(what, {}).get(name, [])
                channels[what][name] = list(dict.fromkeys([*known, *files]))
    start = store.parts[0]["first_time"]
    store.complete(dropped=dict(all_dropped), channels=channels, first_time=start)


def _identity(recording: Recording, source: str) -> dict[str, Any]:
    """What trials depend on besides the spec: the file, and which image was shown when."""
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
        wrong = f"{source} holds {found}; the dataset has {len(names)} {recording.split} images"
        raise DataError(wrong, "use the image list that belongs to this recording")
    before = shown.get(recording.split, pd.Series(0, index=names.index))
    counts = pd.Series(numbers).value_counts()
    shown[recording.split] = before.add(counts, fill_value=0).astype(int)
    return trial_table(
        images,
        recording.split,
        numbers,
        subject=recording.subject,
        session=recording.session,
        repetition=before.loc[numbers].to_numpy() + running_count(numbers) + 1,
    )


# -- progress ------------------------------------------------------------------------------------------------


class TrialBar:
    """A progress bar on stderr that counts the trials of a subject; ``leave`` keeps it at the end."""

    def __init__(self, subject: Label, show: bool, leave: bool = True) -> None:
        from tqdm.auto import tqdm

        look: dict[str, Any] = {"unit": "trial", "leave": leave, "smoothing": 0.05}
        self.show = show
        self._bar = tqdm(desc=f"trials of subject {subject}", disable=not show, **look)

    def __enter__(self) -> TrialBar:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def expect(self, n_trials: int) -> None:
        self._bar.total = n_trials
        self._bar.refresh()

    def skip(self, n_trials: int) -> None:
        """Count trials that were done before, without raising the estimated speed."""
        if self.show:
            self._bar.initial += n_trials
        self.advance(n_trials)

    def advance(self, n_trials: int) -> None:
        self._bar.update(n_trials)


def say_beside(say: Say, text: str) -> None:
    """Print a line on stderr above the progress bars."""
    from tqdm.auto import tqdm

    with tqdm.external_write_mode(file=sys.stderr):
        say(text)


# -- several subjects at once, each in a process of its own --------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """The outcome for a subject: the path of its trials, or the error."""

    subject: Label
    path: Path | None = None
    error: SSRError | None = None


def prepare_many(
    dataset: ImageDataset,
    subjects: Iterable[Label],
    spec: TrialSpec,
    *,
    jobs: int = 1,
    progress: bool = False,
    say: Say = silent,
) -> Iterator[Prepared]:
    """Prepare subjects in ``jobs`` processes, in the order in which they finish; one may fail alone."""
    subjects = list(subjects)
    jobs = min(jobs, len(subjects))
    if jobs > 1:
        say(_memory_line(jobs))
        yield from _in_processes(dataset, subjects, spec, jobs, progress, say)
        return
    for subject in subjects:
        say(f"prepare subject {subject}")
        try:
            store = prepare(dataset, subject, spec, progress=progress, say=say)
            outcome = Prepared(subject, store.path)
        except SSRError as error:
            outcome = Prepared(subject, error=error)
        yield outcome


def free_memory() -> int | None:
    """Bytes of memory that are available, if the system says so."""
    with suppress(OSError, ValueError, IndexError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        return 1024 * int(text.split("MemAvailable:")[1].split()[0])
    return None


def _memory_line(jobs: int) -> str:
    line, free = f"{jobs} subjects in parallel", free_memory()
    if free is None:
        return line
    line += f", {free / jobs / 1e9:.1f} GB of free memory for each"
    return line + (": that may be too little, use fewer --jobs" if free < jobs * LOW_MEMORY else "")


class _PipeBar(TrialBar):
    """The progress bar of a child process: reports to its parent."""

    def __init__(self, subject: Label, show: bool, pipe: Any) -> None:
        self.show, self._pipe = show, pipe
        self.expect, self.skip, self.advance = (  # type: ignore[method-assign]
            partial(self.send, what) for what in ("expect", "skip", "advance")
        )

    def __exit__(self, *exception: object) -> None: ...

    def send(self, what: str, content: Any) -> None:
        """Send it; if the parent is gone, stop as after Ctrl-C, which keeps finished sessions."""
        try:
            self._pipe.send((what, content))
        except BrokenPipeError:
            raise KeyboardInterrupt from None


def _work(
    pipe: Any, dataset: ImageDataset, subject: Label, spec: TrialSpec, jobs: int, show: bool
) -> None:
    """What a child process does: prepare one subject and report."""
    from threadpoolctl import threadpool_info, threadpool_limits

    bar = _PipeBar(subject, show, pipe)
    width = max((library["num_threads"] for library in threadpool_info()), default=1)
    with suppress(KeyboardInterrupt), threadpool_limits(max(1, width // jobs)):
        try:
            store = prepare(dataset, subject, spec, progress=bar, say=partial(bar.send, "say"))
            outcome = Prepared(subject, store.path)
        except SSRError as error:
            outcome = Prepared(subject, error=error)
        except Exception as error:
            found = f"{type(error).__name__}: {' '.join(str(error).split())}"
            advice = "prepare this subject alone with --debug, and report it"
            error = DataError(f"subject {subject} was not prepared: {found}", advice)
            outcome = Prepared(subject, error=error)
        bar.send("outcome", outcome)


def _in_processes(
    dataset: ImageDataset,
    subjects: list[Label],
    spec: TrialSpec,
    jobs: int,
    progress: bool,
    say: Say,
) -> Iterator[Prepared]:
    """Prepare each subject in a process of its own: a pool breaks as a whole when one is killed."""
    context, waiting = get_context("spawn"), subjects[::-1]
    running: dict[Any, tuple[Label, BaseProcess, TrialBar]] = {}
    outcomes: dict[Label, Prepared] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                ours, theirs = context.Pipe(duplex=False)
                args = (theirs, dataset, subject := waiting.pop(), spec, jobs, progress)
                process: BaseProcess = context.Process(target=_work, args=args, daemon=True)
                with ignoring_interrupts():
                    process.start()
                theirs.close()
                # tqdm mixes up the lines of bars that stay while others go on
                running[ours] = subject, process, TrialBar(subject, progress, leave=False)
            ready: list[Any] = connection.wait(list(running))
            for pipe in ready:
                subject, process, bar = running[pipe]
                try:
                    what, content = pipe.recv()
                except EOFError:
                    del running[pipe]
                    _close(pipe, process, bar)
                    killed = DataError(
                        f"the process that prepared subject {subject} was killed (exit code "
                        f"{process.exitcode}; -9 often means out of memory)",
                        "use fewer --jobs and repeat the command; finished sessions are kept",
                    )
                    yield outcomes.get(subject) or Prepared(subject, error=killed)
                    continue
                if what == "say":
                    say_beside(say, content)
                elif what == "outcome":
                    outcomes[subject] = content
                    if not content.error:
                        say_beside(say, f"subject {subject} is prepared")
                else:
                    getattr(bar, what)(content)
    finally:
        for _, process, _ in running.values():
            process.terminate()
        for pipe, (subject, process, bar) in running.items():
            _close(pipe, process, bar)
            with suppress(SSRError):
                sweep(trials_path(dataset, subject, spec).parent)


def _close(pipe: Any, process: BaseProcess, bar: TrialBar) -> None:
    process.join()
    pipe.close()
    bar.__exit__()


@contextmanager
def ignoring_interrupts() -> Iterator[None]:
    """Start child processes that do not see Ctrl-C; the parent does."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

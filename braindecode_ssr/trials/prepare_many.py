"""Prepare several subjects at once, each in a process of its own."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import TrialSpec
from ..datasets.base import ImageDataset
from ..errors import DataError, SSRError
from ..files import sweep
from ..labels import Label
from .prepare import TrialBar, prepare, say_beside, trials_path

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

LITTLE = 1e9
"""Bytes of free memory per process below which a warning is shown."""


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
    say: Callable[[str], object] = lambda text: None,
) -> Iterator[Prepared]:
    """Prepare subjects in ``jobs`` processes, in the order in which they finish.

    One that fails, or whose process is killed, does not stop the others. ``say`` gets a line on what
    happens.
    """
    subjects = list(subjects)
    jobs = min(jobs, len(subjects))
    if jobs > 1:
        say(_memory_line(jobs))
        yield from _Pool(dataset, spec, jobs, progress, say).prepare(subjects)
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
    """Bytes of memory that processes can still have, if the system says."""
    with suppress(OSError, ValueError, IndexError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        return 1024 * int(text.split("MemAvailable:")[1].split()[0])
    return None


def _memory_line(jobs: int) -> str:
    line, free = f"{jobs} subjects in parallel", free_memory()
    if free is None:
        return line
    line += f", {free / jobs / 1e9:.1f} GB of free memory for each"
    return line + (": that may be too little, use fewer --jobs" if free < jobs * LITTLE else "")


class _PipeBar(TrialBar):
    """The progress bar of a child process: reports to its parent."""

    def __init__(self, subject: Label, show: bool, pipe: Any) -> None:
        super().__init__(subject, show)
        self._pipe = pipe

    def __enter__(self) -> TrialBar:
        return self

    def expect(self, n_trials: int) -> None:
        self.send("expect", n_trials)

    def skip(self, n_trials: int) -> None:
        self.send("skip", n_trials)

    def advance(self, n_trials: int) -> None:
        self.send("advance", n_trials)

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
        except SSRError as error:
            bar.send("error", error)
        except Exception as error:
            found = f"{type(error).__name__}: {' '.join(str(error).split())}"
            advice = "prepare this subject alone with --debug, and report it"
            bar.send("error", DataError(f"subject {subject} was not prepared: {found}", advice))
        else:
            bar.send("path", store.path)


class _Pool:
    """Child processes that each prepare one subject, and their progress bars.

    A pool of joblib or concurrent.futures breaks as a whole when one process is killed (out of memory);
    here the other subjects continue.
    """

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
        self._running: dict[Any, tuple[Label, BaseProcess, TrialBar]] = {}
        self._outcomes: dict[Label, Prepared] = {}

    def prepare(self, subjects: list[Label]) -> Iterator[Prepared]:
        waiting = subjects[::-1]
        try:
            while waiting or self._running:
                while waiting and len(self._running) < self._jobs:
                    self._start(waiting.pop())
                ready: list[Any] = connection.wait(list(self._running))
                for pipe in ready:
                    try:
                        self._receive(pipe, *pipe.recv())
                    except EOFError:
                        yield self._outcome(pipe)
        finally:
            for _, process, _ in self._running.values():
                process.terminate()
            for pipe, (subject, process, bar) in self._running.items():
                process.join()
                pipe.close()
                bar.__exit__()
                with suppress(SSRError):
                    sweep(trials_path(self._dataset, subject, self._spec).parent)
            self._running = {}

    def _start(self, subject: Label) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        args = (theirs, self._dataset, subject, self._spec, self._jobs, self._progress)
        process = context.Process(target=_work, args=args, daemon=True)
        with ignoring_interrupts():
            process.start()
        theirs.close()
        # tqdm mixes up the lines of bars that stay while others go on
        bar = TrialBar(subject, self._progress, leave=False).__enter__()
        self._running[ours] = subject, process, bar

    def _receive(self, pipe: Any, what: str, content: Any) -> None:
        subject, _, bar = self._running[pipe]
        if what == "say":
            say_beside(self._say, content)
        elif what == "path":
            self._outcomes[subject] = Prepared(subject, content)
            say_beside(self._say, f"subject {subject} is prepared")
        elif what == "error":
            self._outcomes[subject] = Prepared(subject, error=content)
        else:
            getattr(bar, what)(content)

    def _outcome(self, pipe: Any) -> Prepared:
        subject, process, bar = self._running.pop(pipe)
        process.join()
        pipe.close()
        bar.__exit__()
        killed = DataError(
            f"the process that prepared subject {subject} was killed (exit code {process.exitcode}; "
            "-9 often means out of memory)",
            "use fewer --jobs and repeat the command; finished sessions are kept",
        )
        return self._outcomes.get(subject) or Prepared(subject, error=killed)


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

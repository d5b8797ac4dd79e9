"""Many subjects prepared, one after the other or several at a time, each in a process of its own."""

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
from ..errors import DataError, SSRError
from ..files import sweep
from .base import ImageDataset
from .prepare import prepare, trials_path
from .trial_bar import TrialBar, say_beside

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

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

"""Processes of this machine that do tasks, and what happens when one of them dies."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool

from ..datasets.prepare_many import ignoring_interrupts
from .task import Outcome, Task, one_line

Work = Callable[[Task], Outcome]
DIED = (
    "the process of this run was killed twice, as happens where memory is short: use fewer --jobs or a "
    "smaller batch, then the same command again"
)
LIBRARIES = ("OMP", "MKL", "OPENBLAS", "VECLIB_MAXIMUM", "NUMEXPR")


def here(work: Work, tasks: Iterable[Task], jobs: int, threads: int = 1) -> Iterator[Outcome]:
    """Do tasks in processes of this machine, ``jobs`` at a time.

    Every task is done in a process of joblib's pool, also a single one at a time: if it takes all memory,
    that process dies and nothing else does. When one dies, whatever was at work is done again, each task
    alone in a pool; one that dies there too has failed.

    Parameters
    ----------
    work : callable
        Takes a task, gives its outcome, raises nothing; importable by other processes.
    tasks : iterable of Task
    jobs : int
        Processes.
    threads : int
        Of the numerical libraries in each process.

    Yields
    ------
    Outcome
        In the order in which tasks end.
    """
    waiting = deque(tasks)
    while waiting:
        lost: list[Task] = []
        yield from _pool(work, waiting, jobs, threads, lost)
        for task in lost:
            again: list[Task] = []
            yield from _pool(work, deque([task]), 1, threads, again)
            if again:
                yield Outcome(task.name, error=DIED)


def _pool(
    work: Work, waiting: deque[Task], jobs: int, threads: int, lost: list[Task]
) -> Iterator[Outcome]:
    """Take tasks until none waits or a process dies; ``lost`` gets those that were at work then."""
    # joblib.Parallel would do a single job in this process, whose death it would then be.
    from joblib.externals.loky import ProcessPoolExecutor

    # A process that has grown is replaced by a fresh one between two tasks: wanted here, no cause for alarm.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
    environment = {f"{name}_NUM_THREADS": str(threads) for name in LIBRARIES}
    options = {"initializer": _begin, "initargs": (os.getpid(),), "env": environment}
    pool = ProcessPoolExecutor(min(jobs, len(waiting)), **options)
    running: dict[Future[Outcome], Task] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                with ignoring_interrupts():
                    running[pool.submit(work, waiting[0])] = waiting[0]
                waiting.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                outcome = _outcome(future, running[future])
                del running[future]
                yield outcome
        pool.shutdown()
    except BrokenProcessPool:
        for future, task in running.items():
            if future.done() and not future.exception():
                yield future.result()
            else:
                lost.append(task)
    finally:
        pool.shutdown(kill_workers=True)


def _outcome(future: Future[Outcome], task: Task) -> Outcome:
    """What a task gave; a task that could not even be sent or begun has failed."""
    error = future.exception()
    if isinstance(error, BrokenProcessPool):
        raise error
    return Outcome(task.name, error=one_line(error)) if error else future.result()


def _begin(parent: int) -> None:
    """What a process does first: leave Ctrl-C to the one that started it, and end when that one does."""
    from tqdm import tqdm

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tqdm.set_lock(
        threading.RLock()
    )  # its own is shared by processes, and left behind by a killed one

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

"""How far a grid is: a line with the time left for each run that ends, and a bar on a terminal."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import threading
import time
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from ..errors import DataError, MissingDataError, UsageError
from ..files import unwritable
from ..trials.prepare import say_beside
from ..trials.prepare_many import ignoring_interrupts
from .plan import Outcome, Plan, Task, do, evaluated, one_line, prepare_plan
from .tables import TimeLeft, duration, tables, write_tables

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client, Future
    from tqdm import tqdm


class Progress:
    """A bar on stderr that counts runs, and the lines beside it.

    Parameters
    ----------
    total : int
        Runs that are to do.
    left : TimeLeft
        Is told of every run that ends.
    show : bool
        Whether there is a bar; the lines are said in any case.
    say : callable
        Is told a line for each run.
    """

    def __init__(
        self, total: int, left: TimeLeft, *, show: bool, say: Callable[[str], object]
    ) -> None:
        self.total, self.left, self.show, self.done = total, left, show, 0
        self._say, self._bar = say, None

    def __enter__(self) -> Progress:
        from tqdm.auto import tqdm

        counts = "{desc}: {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
        self._bar: tqdm = tqdm(
            desc="runs", total=self.total, disable=not self.show, bar_format=counts
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def ended(self, outcome: Outcome, plan: Plan) -> None:
        """A run has ended, one way or the other."""
        self.done += 1
        self.left.ended(outcome)
        line = f"[{self.done}/{self.total}] {outcome.name}: {_result(outcome, plan)}"
        say_beside(self._say, "; ".join(filter(None, [line, str(self.left)])))
        self._bar.set_postfix_str(str(self.left), refresh=False)
        self._bar.update()


def _result(outcome: Outcome, plan: Plan) -> str:
    if outcome.error:
        return f"failed: {outcome.error}"
    planned = next(run for run in plan.runs if run.run.path.name == outcome.name)
    summary = planned.run.summary
    text = f"top-1 {100 * summary['top1']:.1f} %, top-5 {100 * summary['top5']:.1f} %"
    failed = len(outcome.evaluation_errors)
    return f"{text}, {duration(outcome.seconds)}" + (
        f", {failed} evaluations failed" if failed else ""
    )


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


@dataclass(frozen=True, eq=False)
class Benchmark:
    """What came out of a grid.

    Parameters
    ----------
    queries : DataFrame
        One row per query.
    runs : DataFrame
        One row per run and evaluation; ``status`` is ``"done"`` or ``"failed"``.
    """

    queries: pd.DataFrame
    runs: pd.DataFrame

    @property
    def failed(self) -> list[dict[str, Any]]:
        """``run``, ``evaluation`` and ``error`` of each row that failed."""
        rows = self.runs[self.runs["status"] == "failed"]
        return rows[["run", "evaluation", "error"]].to_dict("records")

    @property
    def failed_by_error(self) -> dict[str, list[str]]:
        """Each error and whom it befell: names of runs, with the evaluation in brackets."""
        found: dict[str, list[str]] = {}
        for row in self.failed:
            found.setdefault(row["error"], []).append(f"{row['run']} ({row['evaluation']})")
        return found


def _silent(text: str) -> None:
    """Say nothing."""


def benchmark(
    plan: Plan,
    out: str | Path,
    *,
    jobs: int = 1,
    cluster: str | None = None,
    progress: bool = False,
    say: Callable[[str], object] = _silent,
) -> Benchmark:
    """Do all runs of a plan that are not finished, and write the tables of all of them.

    A run that fails leaves the others untouched. What is stopped or killed goes on where it was when the
    same plan is made and done again.

    Parameters
    ----------
    plan : Plan
        As made by :func:`braindecode_ssr.benchmark.plan.make_plan` for the same folder.
    out : path-like
        Gets ``queries.csv``, ``runs.csv``, ``benchmark.json`` and the folders of the runs.
    jobs : int
        Runs at a time.
    cluster : str, optional
        ``"local"``, ``"slurm"`` or ``"tcp://host:port"``: do the runs as tasks of Dask.
    progress : bool
        Show a bar with the time left on stderr.
    say : callable
        Is told, in a line, what happens.
    """
    out, lacking = Path(out), [run for run in plan.runs if run.error and not run.finished]
    errors = {planned.run.path.name: str(planned.error) for planned in lacking}
    evaluation_errors: dict[str, dict[str, str]] = {}
    finished = sum(planned.finished for planned in plan.runs)
    if finished:
        say(f"{finished} of {len(plan.runs)} runs are finished already")
    for planned in plan.runs:
        for run in (planned.run, *(evaluated(planned.run, each) for each in planned.others)):
            if run.damage:
                say(f"{run.path} is damaged and will be repaired: cannot read {run.damage}")
    with _writable(out):
        for outcome in _outcomes(plan, out, errors, jobs, cluster, progress, say):
            errors |= {outcome.name: outcome.error} if outcome.error else {}
            evaluation_errors[outcome.name] = outcome.evaluation_errors
        queries, runs = tables(plan, errors, evaluation_errors)
        write_tables(plan, queries, runs, out)
    return Benchmark(queries, runs)


@contextmanager
def _writable(out: Path) -> Iterator[None]:
    """The folder of the tables, tried before hours are spent; taken away again if it stays empty."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise unwritable(out, error) from error
    try:
        yield
    finally:
        with suppress(OSError):
            out.rmdir()


def _outcomes(
    plan: Plan,
    out: Path,
    errors: dict[str, str],
    jobs: int,
    cluster: str | None,
    progress: bool,
    say: Callable[[str], object],
) -> Iterator[Outcome]:
    """Do what is to do; ``errors`` gets the runs whose trials or features cannot be made."""
    to_do, threads = plan.to_do, plan.grid.threads
    if not to_do:
        return
    with _crew(cluster, jobs, threads) as crew:  # a cluster that is not there fails before all else
        errors |= prepare_plan(plan, jobs=jobs, progress=progress, say=say)
        able = [planned for planned in to_do if planned.run.path.name not in errors]
        tasks = [planned.task(plan.dataset, threads) for planned in able]
        left = TimeLeft(able, out, jobs)
        with Progress(len(tasks), left, show=progress, say=say) as bar:
            for outcome in crew(do, tasks):
                bar.ended(outcome, plan)
                yield outcome


@contextmanager
def _crew(
    cluster: str | None, jobs: int, threads: int
) -> Iterator[Callable[[Work, Iterable[Task]], Iterator[Outcome]]]:
    if cluster is None:
        yield lambda work, tasks: here(work, tasks, jobs, threads)
        return
    pass

    with dask_crew(cluster, jobs, threads) as crew:
        yield crew


PATIENCE = "10 s"
DEATHS = 0
"""Of its worker, that Dask forgives a task: whoever was there may be innocent, and is tried again alone."""
LOOK_AGAIN = 5.0
"""Seconds after which it is looked whether workers have come or gone."""
SLURM_MEMORY = "8 GB"


@contextmanager
def dask_crew(
    address: str, jobs: int, threads: int
) -> Iterator[Callable[[Work, Iterable[Task]], Iterator[Outcome]]]:
    """The workers of a cluster, as a function that has them do tasks.

    Parameters
    ----------
    address : str
        ``"local"``: ``jobs`` worker processes here; ``"slurm"``: as many Slurm jobs, set up in Dask's own
        configuration (``jobqueue.slurm``); else the address of a scheduler, ``"tcp://host:port"``.
    jobs : int
        Workers, where they are started here.
    threads : int
        Of the numerical libraries of each task.

    Raises
    ------
    UsageError
        If the address is none, or no scheduler answers there.
    MissingDataError
        If Dask is not installed.
    """
    for name in ("distributed", *(["dask_jobqueue"] if address == "slurm" else [])):
        _installed(name)
    with _client(address, jobs, threads) as client:
        yield lambda work, tasks: _each(client, work, deque(tasks), address)


def _each(client: Client, work: Work, waiting: deque[Task], address: str) -> Iterator[Outcome]:
    """Do all tasks; those that were on a worker when it died are done again, each alone."""
    lost: list[Task] = []
    yield from _round(client, work, waiting, address, lost)
    for task in lost:
        again: list[Task] = []
        yield from _round(client, work, deque([task]), address, again)
        if again:
            yield Outcome(task.name, error=DIED)


def _round(
    client: Client, work: Work, waiting: deque[Task], address: str, lost: list[Task]
) -> Iterator[Outcome]:
    """Hand out a task for each worker, and the next when one ends; ``lost`` gets those that Dask gave up."""
    from distributed import TimeoutError, wait
    from distributed.scheduler import KilledWorker

    running: dict[Future, Task] = {}
    try:
        while waiting or running:
            while waiting and len(running) < _n_workers(client, address):
                task = waiting.popleft()
                key = f"{task.name}-{uuid.uuid4().hex}"
                running[client.submit(work, task, key=key, pure=False)] = task
            try:
                done = wait(list(running), timeout=LOOK_AGAIN, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                continue
            for future in done:
                task = running.pop(future)
                if future.status in ("cancelled", "lost"):
                    raise _lost(address)
                error = future.exception()
                if isinstance(error, KilledWorker):
                    lost.append(task)
                else:
                    yield Outcome(task.name, error=one_line(error)) if error else future.result()
    finally:
        if client.status == "running":
            client.cancel(list(running))


def _n_workers(client: Client, address: str) -> int:
    """Workers that are there; at least one, which may still come."""
    try:
        return max(1, len(client.nthreads()))
    except (OSError, TypeError) as error:
        raise _lost(address) from error


@contextmanager
def _client(address: str, jobs: int, threads: int) -> Iterator[Client]:
    import dask
    from distributed import Client

    settings = {
        "distributed.scheduler.allowed-failures": DEATHS,
        "distributed.comm.timeouts.connect": PATIENCE,
    }
    with dask.config.set(settings):
        if address in CLUSTERS:
            with CLUSTERS[address](jobs, threads) as cluster, Client(cluster) as client:
                yield client
            return
        with _connected(address) as client:
            yield client


def _connected(address: str) -> Client:
    from distributed import Client

    if not address.startswith(("tcp://", "tls://", "ucx://")):
        raise UsageError(
            "a cluster as local, slurm or tcp://host:port", repr(address), "write --cluster so"
        )
    try:
        return Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:  # a timeout is an OSError
        raise UsageError(
            f"a Dask scheduler that answers at {address}",
            _first_line(error),
            "start one with `dask scheduler` and workers with `dask worker`, or use --cluster local",
        ) from error


def _local(jobs: int, threads: int) -> Any:
    """Worker processes of this machine, one task each."""
    from distributed import LocalCluster

    environment = {f"{name}_NUM_THREADS": str(threads) for name in LIBRARIES}
    options = {"memory_limit": 0, "dashboard_address": None, "env": environment}
    return LocalCluster(n_workers=jobs, threads_per_worker=1, processes=True, **options)


def _slurm(jobs: int, threads: int) -> Any:
    """Slurm jobs of one worker each; what Dask's configuration does not say is as small as will do."""
    import dask
    from dask_jobqueue import SLURMCluster

    asked = {"cores": threads, "processes": 1, "memory": SLURM_MEMORY}
    unset = {
        name: value
        for name, value in asked.items()
        if dask.config.get(f"jobqueue.slurm.{name}", None) is None
    }
    try:
        if not shutil.which("sbatch"):
            raise OSError("no command sbatch on this machine")
        cluster = SLURMCluster(**unset)
        cluster.scale(jobs=jobs)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(
            "Slurm and its settings in jobqueue.slurm of Dask's configuration",
            _first_line(error),
            "run it where sbatch is, and see https://jobqueue.dask.org for queue, account and memory",
        ) from error
    return cluster


CLUSTERS: dict[str, Callable[[int, int], Any]] = {"local": _local, "slurm": _slurm}


def _installed(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError as error:
        raise MissingDataError(
            "Dask, for --cluster",
            f"no module {name}",
            "install it with: pip install 'braindecode-ssr[cluster]'",
        ) from error


def _lost(address: str) -> DataError:
    return DataError(
        f"the Dask scheduler of --cluster {address} until the last run has ended",
        "it is gone",
        "start it and give the same command again: what is finished is kept",
    )


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]

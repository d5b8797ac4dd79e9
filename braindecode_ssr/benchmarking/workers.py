"""Tasks (one run each) and the processes that do them, on this machine or on a Dask cluster.

There is one scheduler, :func:`run_tasks`. It hands out work through ``concurrent.futures`` executors: that of
loky, joblib's process pool, or that of a Dask client. ``joblib.Parallel`` is not used because it cannot hold
four promises: a single job at a time runs in a process of its own as well; a worker that dies on a cluster
does not cancel the runs of the other workers; workers that join a cluster later get work; a scheduler that
disappears is an error instead of a wait without end.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import EvaluationSpec, RunSpec
from ..errors import DataError, MissingDataError, SSRError, UsageError, first_line
from ..files import lock, writing
from ..models.names import Trust, trusted, trusting
from ..runs import EvaluationFolder, Run, run_name
from ..trials.prepare import ignoring_interrupts

if TYPE_CHECKING:
    from distributed import Client


ONE_RUN_PER_PROCESS = threading.Lock()
"""Random numbers come from generators of the process: two runs in its threads would mix them."""

KILLED_TWICE = (
    "the process of this run was killed twice, which happens when memory runs out: use fewer --jobs or a "
    "smaller batch, then run the same command again"
)


@dataclass(frozen=True)
class Task:
    """A resolved run to train, below ``out``, and to evaluate in further ways.

    ``cache`` is ``$SSR_CACHE``, for workers that were started elsewhere; ``trust`` names classes that may be
    imported; ``trained_as`` is the name of the run whose model this one shares, if any.
    """

    spec: RunSpec
    data_dir: str
    out: str
    evaluations: tuple[EvaluationSpec, ...] = ()
    threads: int = 1
    trained_as: str = ""
    cache: str = field(default_factory=lambda: os.environ.get("SSR_CACHE", ""))
    trust: Trust = field(default_factory=trusted)

    @property
    def name(self) -> str:
        return run_name(self.spec)


@dataclass(frozen=True)
class Outcome:
    """What became of a task: ``error`` in one line, ``evaluation_errors`` by digest of the evaluation."""

    name: str
    seconds: float = 0.0
    error: str = ""
    evaluation_errors: dict[str, str] = field(default_factory=dict)


def run_task(task: Task) -> Outcome:
    """Train a run, or resume it, and do all its evaluations; errors are returned, not raised."""
    from ..pipeline import run_of_another_subject, train

    start, errors = time.perf_counter(), {}
    if task.cache:
        os.environ["SSR_CACHE"] = task.cache
    run = Run(Path(task.out) / task.name)
    try:
        with (
            ONE_RUN_PER_PROCESS,
            trusting(task.trust),
            _fixed_threads(task.threads),
            writing(Path(task.out)),
            # a benchmark that was killed may have left a worker at this run
            lock(run.path, "benchmark", shared=True),
        ):
            if not run.finished:
                first = Run(Path(task.out) / task.trained_as)
                known = task.trained_as and first.finished and first.summary["train_subjects"]
                if known and task.spec.data.subject in known:
                    run_of_another_subject(first, task.spec, task.data_dir)
                else:
                    train(task.spec, data_dir=task.data_dir, out=task.out)
            for evaluation in task.evaluations:
                try:
                    _evaluate(task, run, evaluation)
                except Exception as error:
                    errors[evaluation.digest] = one_line(error)
    except Exception as error:
        return Outcome(task.name, time.perf_counter() - start, one_line(error))
    return Outcome(task.name, time.perf_counter() - start, evaluation_errors=errors)


@contextmanager
def _fixed_threads(count: int) -> Iterator[None]:
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(count)
    with threadpool_limits(count):
        yield


def _evaluate(task: Task, run: Run, evaluation: EvaluationSpec) -> None:
    from ..pipeline import evaluate

    folder = evaluation_folder(run, evaluation)
    if not folder.finished:
        device = task.spec.train.device
        queries, summary = evaluate(run.path, evaluation, data_dir=task.data_dir, device=device)
        folder.path.mkdir(exist_ok=True)
        folder.write_table("queries.csv", queries)
        folder.write_json("summary.json", summary)


def evaluation_folder(run: Run, evaluation: EvaluationSpec) -> Run:
    """The folder inside a run folder with ``queries.csv`` and ``summary.json`` of another evaluation."""
    return EvaluationFolder(run.path / f"evaluation_{evaluation.digest[:8]}")


def one_line(error: BaseException) -> str:
    """An error in one line, with its type if this package did not raise it."""
    text = str(error) if isinstance(error, SSRError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


# -- the scheduler -------------------------------------------------------------------------------------------

Work = Callable[[Task], Outcome]


def run_tasks(
    work: Work, tasks: Iterable[Task], workers: LocalWorkers | DaskWorkers
) -> Iterator[Outcome]:
    """Do tasks in parallel; outcomes come in the order in which tasks end.

    Tasks that were running when a process died are done again, each alone; one that dies again has
    failed.
    """
    waiting = deque(tasks)
    while waiting:
        lost: list[Task] = []
        yield from _until_broken(work, waiting, workers, lost)
        for task in lost:
            lost_again: list[Task] = []
            yield from _until_broken(work, deque([task]), workers, lost_again)
            if lost_again:
                yield Outcome(task.name, error=KILLED_TWICE)


def _until_broken(
    work: Work, waiting: deque[Task], workers: LocalWorkers | DaskWorkers, lost: list[Task]
) -> Iterator[Outcome]:
    """Do tasks until none is waiting or the executor is broken; ``lost`` gets those whose process died."""
    running: dict[Future[Outcome], Task] = {}
    with suppress(BrokenExecutor), workers.executor(len(waiting)) as executor:
        while waiting or running:
            broken, size = False, workers.size()
            while waiting and not broken and len(running) < size:
                try:
                    with ignoring_interrupts():
                        future = executor.submit(work, waiting[0])
                except BrokenExecutor:
                    broken = True
                else:
                    running[future] = waiting.popleft()
            for future in [] if broken else wait(running, POLL_SECONDS, FIRST_COMPLETED).done:
                task = running[future]
                if future.cancelled():
                    raise workers.gone()
                error = future.exception()
                if isinstance(error, BrokenExecutor):
                    # loky's pool is lost with one of its processes
                    broken = True
                    continue
                del running[future]
                if type(error).__name__ == "KilledWorker":  # Dask continues with the other workers
                    lost.append(task)
                else:
                    yield Outcome(task.name, error=one_line(error)) if error else future.result()
            if broken:
                for future, task in running.items():
                    if future.done() and not future.exception():
                        yield future.result()
                    else:
                        lost.append(task)
                raise BrokenExecutor  # so that the pool is killed, not waited for


POLL_SECONDS = 5.0
"""How often the scheduler looks whether workers have joined or left."""


# -- processes of this machine -------------------------------------------------------------------------------


@dataclass(frozen=True)
class LocalWorkers:
    """Processes of this machine.

    Even a single job is done in a process of its own: if it takes all memory, only that process dies.
    """

    jobs: int
    threads: int = 1

    def size(self) -> int:
        return self.jobs

    @contextmanager
    def executor(self, n_tasks: int) -> Iterator[Executor]:
        """An executor for up to ``n_tasks`` tasks; those still running at its end are stopped."""
        from joblib.externals.loky import ProcessPoolExecutor

        # loky replaces a process that has grown by a fresh one between two tasks, which is what we want
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        pool = ProcessPoolExecutor(
            min(self.jobs, n_tasks),
            initializer=_start_worker,
            initargs=(os.getpid(),),
            env=_thread_variables(self.threads),
        )
        try:
            yield pool
        except BaseException:
            pool.shutdown(kill_workers=True)
            raise
        pool.shutdown()

    def gone(self) -> SSRError:
        return DataError("the processes of --jobs were stopped", "run the same command again")


def _thread_variables(threads: int) -> dict[str, str]:
    names = ("OMP", "MKL", "OPENBLAS", "VECLIB_MAXIMUM", "NUMEXPR")
    return {f"{name}_NUM_THREADS": str(threads) for name in names}


def _start_worker(parent: int) -> None:
    """Leave Ctrl-C to the parent process, and exit when the parent does."""
    from tqdm import tqdm

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tqdm.set_lock(threading.RLock())  # tqdm's own lock is shared, and stays locked after a kill

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


# -- a Dask cluster ------------------------------------------------------------------------------------------

CONNECT_TIMEOUT = "10 s"
SLURM_MEMORY = "8 GB"


@dataclass(frozen=True)
class DaskWorkers:
    """The workers of a Dask cluster; ``address`` as in ``--cluster``, for errors."""

    client: Client
    address: str

    def size(self) -> int:
        try:
            return max(1, len(self.client.nthreads()))
        except (OSError, TypeError) as error:
            raise self.gone() from error

    @contextmanager
    def executor(self, n_tasks: int) -> Iterator[Executor]:
        executor = self.client.get_executor(pure=False)
        try:
            yield executor
        finally:
            if self.client.status == "running":
                executor.shutdown(wait=False)

    def gone(self) -> SSRError:
        return DataError(
            f"the Dask scheduler of --cluster {self.address} disappeared before the last run ended",
            "start it and run the same command again: finished runs are kept",
        )


@contextmanager
def dask_workers(address: str, jobs: int, threads: int) -> Iterator[DaskWorkers]:
    """Connect to the workers of a cluster.

    ``address`` is ``"local"``: ``jobs`` worker processes of this machine; ``"slurm"``: as many Slurm jobs,
    set up in Dask's own configuration (``jobqueue.slurm``); or the scheduler, ``"tcp://host:port"``.
    """
    for name in ("distributed", *(["dask_jobqueue"] if address == "slurm" else [])):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise MissingDataError(
                f"--cluster needs Dask, and there is no module {name}",
                "install it with: pip install 'braindecode-ssr[cluster]'",
            ) from error
    import dask
    from distributed import Client

    settings = {
        # a task that was on a worker when it died is not retried by Dask but by us, alone
        "distributed.scheduler.allowed-failures": 0,
        "distributed.comm.timeouts.connect": CONNECT_TIMEOUT,
    }
    with dask.config.set(settings):
        if address in ("local", "slurm"):
            start = _local_cluster if address == "local" else _slurm_cluster
            with start(jobs, threads) as cluster, Client(cluster) as client:
                yield DaskWorkers(client, address)
        else:
            with _connect(address) as client:
                yield DaskWorkers(client, address)


def _connect(address: str) -> Client:
    from distributed import Client

    if not address.startswith(("tcp://", "tls://", "ucx://")):
        raise UsageError(
            f"{address!r} is not a cluster", "give --cluster local, slurm or tcp://host:port"
        )
    try:
        return Client(address, timeout=CONNECT_TIMEOUT)
    except (OSError, ValueError) as error:  # a timeout is an OSError
        raise UsageError(
            f"no Dask scheduler answers at {address}: {first_line(error)}",
            "start one with `dask scheduler` and workers with `dask worker`, or use --cluster local",
        ) from error


def _local_cluster(jobs: int, threads: int) -> Any:
    from distributed import LocalCluster

    options: dict[str, Any] = {"threads_per_worker": 1, "processes": True, "memory_limit": 0}
    env = _thread_variables(threads)
    return LocalCluster(n_workers=jobs, dashboard_address=None, env=env, **options)


def _slurm_cluster(jobs: int, threads: int) -> Any:
    """Slurm jobs of one worker each, with small defaults for what Dask's configuration leaves open."""
    import dask
    from dask_jobqueue import SLURMCluster

    defaults = {"cores": threads, "processes": 1, "memory": SLURM_MEMORY}
    configured = dask.config.get("jobqueue.slurm", {})
    unset: dict[str, Any] = {n: v for n, v in defaults.items() if configured.get(n) is None}
    try:
        if not shutil.which("sbatch"):
            raise OSError("sbatch is not installed on this machine")
        cluster = SLURMCluster(**unset)
        cluster.scale(jobs=jobs)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"Slurm cannot be used: {first_line(error)}",
            "run on a machine that has sbatch, and see https://jobqueue.dask.org for the queue, account and "
            "memory in jobqueue.slurm of Dask's configuration",
        ) from error
    return cluster

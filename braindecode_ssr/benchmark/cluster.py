"""Tasks done by the workers of a Dask cluster: of this machine, of Slurm, or wherever a scheduler is."""

from __future__ import annotations

import importlib
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import DataError, MissingDataError, UsageError
from .crew import DIED, LIBRARIES, Work
from .task import Outcome, Task, one_line

if TYPE_CHECKING:
    from distributed import Client, Future

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

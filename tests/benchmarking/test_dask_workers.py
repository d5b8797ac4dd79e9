"""A Dask scheduler and worker processes on this machine, some of which are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forked import SERVER
from toy_tasks import attempts, toys, work

pytest.importorskip("distributed", reason="--cluster needs Dask")
pytest.importorskip("dask_jobqueue", reason="--cluster slurm needs it")

from braindecode_ssr.benchmarking.workers import dask_workers, run_tasks
from braindecode_ssr.errors import DataError, UsageError


def outcomes(address, tasks, jobs=2):
    with dask_workers(address, jobs, 1) as workers:
        return {outcome.name: outcome for outcome in run_tasks(work, tasks, workers)}


def check(ended, tasks, folder):
    assert set(ended) == {task.name for task in tasks}
    failed = {name: outcome.error for name, outcome in ended.items() if outcome.error}
    assert set(failed) == {"1-killed", "3-raises"}
    assert "killed twice" in failed["1-killed"]
    assert failed["3-raises"] == "ValueError: as it was told to"
    assert len(attempts(folder, tasks[4])) == 2


@pytest.fixture
def forked():
    """Workers that have their imports already: one from nothing takes seconds, and three are killed."""
    import dask

    method = SERVER.get_start_method()
    with dask.config.set({"distributed.worker.multiprocessing-method": method}):
        yield


FATES = ("", "killed", "", "raises", "killed once", "")


def test_workers_of_this_machine_by_the_address_of_their_scheduler(tmp_path, forked):
    tasks = toys(FATES, tmp_path)
    with dask_workers("local", 2, 1) as here:
        check(outcomes(here.client.scheduler.address, tasks), tasks, tmp_path)
        (task,) = toys(["last"], tmp_path)
        assert [outcome.name for outcome in run_tasks(work, [task], here)] == [task.name]


@pytest.fixture
def scheduler(tmp_path):
    """The address of a scheduler with two workers, all processes of their own, and its process."""
    place = tmp_path / "scheduler.json"
    tests = str(Path(__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": tests}
    env["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] = "0"
    dask = [sys.executable, "-m", "dask"]
    here = ["--host", "127.0.0.1"]
    calls = [
        [*dask, "scheduler", *here, "--port", "0", "--no-dashboard", "--scheduler-file", place]
    ]
    worker = [
        *dask,
        "worker",
        *here,
        "--nthreads",
        "1",
        "--no-dashboard",
        "--scheduler-file",
        place,
    ]
    calls += [worker, worker]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    quiet["start_new_session"] = True
    processes = [subprocess.Popen([*map(str, call)], env=env, **quiet) for call in calls]
    while not place.is_file() or not place.read_text():
        assert processes[0].poll() is None
        time.sleep(0.05)
    yield json.loads(place.read_text())["address"], processes[0]
    for process in reversed(processes):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_a_scheduler_somewhere(scheduler, tmp_path):
    address, _ = scheduler
    tasks = toys(FATES, tmp_path)
    check(outcomes(address, tasks), tasks, tmp_path)


@pytest.mark.slow
def test_a_scheduler_that_goes_away(scheduler, tmp_path):
    address, process = scheduler
    tasks = toys(["", "waits"], tmp_path)
    with dask_workers(address, 1, 1) as workers:
        ended = run_tasks(work, tasks, workers)
        assert next(ended).name == "0-"
        process.kill()
        with pytest.raises(DataError, match="the same command again"):
            list(ended)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tcp://127.0.0.1:9", "dask scheduler"),
        ("tcp://127.0.0.1:notaport", "tcp://127.0.0.1:notaport"),
        ("locla", "local, slurm or tcp://host:port"),
    ],
)
def test_an_invalid_cluster(monkeypatch, address, expected):
    monkeypatch.setattr("braindecode_ssr.benchmarking.workers.CONNECT_TIMEOUT", "1 s")
    with pytest.raises(UsageError, match=expected), dask_workers(address, 1, 1):
        pass


def test_slurm_that_is_not_here(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="sbatch"), dask_workers("slurm", 1, 1):
        pass


SBATCH = """#!/bin/bash
cp "$1" {folder}/job
bash "$1" >/dev/null 2>&1 &
echo $! >> {folder}/pids
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/bash
kill "$@"
"""


@pytest.mark.slow
def test_slurm(monkeypatch, tmp_path):
    """Slurm's two commands as scripts: the job script that is handed in is run as it is, here."""
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(text.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("DASK_JOBQUEUE__SLURM__INTERFACE", "lo")
    monkeypatch.chdir(tmp_path)
    tasks = toys(["", "works", ""], tmp_path)
    ended = outcomes("slurm", tasks, jobs=2)
    assert set(ended) == {task.name for task in tasks}
    assert not any(outcome.error for outcome in ended.values())
    assert "#SBATCH" in (tmp_path / "job").read_text()

"""Grids whose workers are killed, or that are done elsewhere; kills of the grid are in test_kills.py."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

GRID = ("--dataset", "things-sim", "--preset", "tiny", "--subjects", "5", "--epochs", "4")
GRID += ("--methods", "ssr,contrast,ridge-decoding", "--evaluations", "default,repetitions=1")


class Ssr:
    """The command line in a process group of its own."""

    def __init__(self, folder, *args):
        place = ("--out", str(folder / "out"), "--data-dir", str(folder / "data"))
        call = [sys.executable, "-m", "braindecode_ssr_cli", "benchmark", *GRID, *place, *args]
        self.out, self.errors = folder / "out", folder.with_suffix(".txt")
        folder.mkdir(exist_ok=True)
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                call, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
            )

    def done(self, code=0):
        assert self.process.wait(600) == code, self.errors.read_text()
        return tables(self.out)

    def kill_worker(self):
        for pid in children(self.process.pid)[-1:]:
            os.kill(pid, signal.SIGKILL)


def children(pid):
    """Processes that a process has started, in the order of their start."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def tables(out):
    """What is in the tables, but for the time that it took."""
    runs = pd.read_csv(out / "runs.csv").drop(columns="train_seconds")
    return {
        "runs": runs.to_dict("list"),
        "queries": (out / "queries.csv").read_bytes(),
        "grid": json.loads((out / "benchmark.json").read_text()),
    }


def same(first, second):
    assert first["queries"] == second["queries"]
    pd.testing.assert_frame_equal(pd.DataFrame(first["runs"]), pd.DataFrame(second["runs"]))
    assert first["grid"] == second["grid"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The tables of a grid that is left alone, one run at a time, and the seconds it took."""
    start = time.monotonic()
    found = Ssr(tmp_path_factory.mktemp("alone") / "grid", "--jobs", "1").done()
    return found, time.monotonic() - start


def test_two_at_a_time_give_the_same_numbers(alone, tmp_path):
    same(Ssr(tmp_path / "grid", "--jobs", "2").done(), alone[0])


def test_a_worker_that_is_killed_is_not_seen_in_the_tables(alone, tmp_path):
    grid = Ssr(tmp_path / "grid", "--jobs", "2")
    while not list(tmp_path.glob("grid/out/*/checkpoint/*")):
        assert grid.process.poll() is None, grid.errors.read_text()
        time.sleep(0.02)
    grid.kill_worker()
    same(grid.done(), alone[0])


@pytest.fixture
def scheduler(tmp_path):
    """The address of a Dask scheduler and its two workers, processes of their own."""
    pytest.importorskip("distributed", reason="--cluster needs Dask")
    place = tmp_path / "scheduler.json"
    dask, here = [sys.executable, "-m", "dask"], ["--host", "127.0.0.1", "--no-dashboard"]
    meet = ["--scheduler-file", str(place)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    calls = [[*dask, "scheduler", *here, "--port", "0", *meet]]
    calls += 2 * [[*dask, "worker", *here, "--nthreads", "1", *meet]]
    processes = [subprocess.Popen(call, start_new_session=True, **quiet) for call in calls]
    while not place.is_file() or not place.read_text():
        assert processes[0].poll() is None
        time.sleep(0.05)
    yield json.loads(place.read_text())["address"], processes[1:]
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_two_workers_of_a_scheduler_one_of_which_is_killed(alone, scheduler, tmp_path):
    address, workers = scheduler
    grid = Ssr(tmp_path / "grid", "--cluster", address)
    while not list(tmp_path.glob("grid/out/*/checkpoint/*")):
        assert grid.process.poll() is None, grid.errors.read_text()
        time.sleep(0.02)
    os.killpg(workers[0].pid, signal.SIGKILL)
    workers[0].wait()
    same(grid.done(), alone[0])

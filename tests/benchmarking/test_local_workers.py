"""Real processes, some of which are killed."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from forked import fork_workers
from toy_tasks import attempts, toys, work

from braindecode_ssr.benchmarking.workers import LocalWorkers, run_tasks


def outcomes(tasks, jobs, **options):
    return {
        outcome.name: outcome for outcome in run_tasks(work, tasks, LocalWorkers(jobs, **options))
    }


def alive(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
    return False


@pytest.fixture
def forked(monkeypatch):
    """Processes that have their imports already: one from nothing takes seconds to start."""
    fork_workers(monkeypatch.setattr)


@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_killed_process_fails_alone(tmp_path, jobs, forked):
    fates = ("", "killed", "", "raises", "killed once", "")
    tasks = toys(fates, tmp_path)
    ended = outcomes(tasks, jobs)
    assert set(ended) == {task.name for task in tasks}
    failed = {name: outcome.error for name, outcome in ended.items() if outcome.error}
    assert set(failed) == {"1-killed", "3-raises"}
    assert "killed twice" in failed["1-killed"]
    assert failed["3-raises"] == "ValueError: as it was told to"
    assert len(attempts(tmp_path, tasks[1])) == 2 == len(attempts(tmp_path, tasks[4]))


def test_even_one_at_a_time_it_is_another_process_with_the_threads_asked_for(tmp_path):
    (task,) = tasks = toys([""], tmp_path)
    assert outcomes(tasks, 1, threads=3)[task.name].seconds == 3
    assert attempts(tmp_path, task) != [os.getpid()]


def test_nothing_to_do():
    assert outcomes([], 2) == {}


def test_a_process_that_has_grown_is_replaced_without_a_word(tmp_path, recwarn, forked):
    tasks = toys(["", "grows", ""], tmp_path)
    assert not any(outcome.error for outcome in outcomes(tasks, 1).values())
    assert len({pid for task in tasks for pid in attempts(tmp_path, task)}) > 1
    assert not [str(warning.message) for warning in recwarn]


def test_closing_the_iterator_ends_the_processes(tmp_path, forked):
    tasks = toys(["", "waits"], tmp_path)
    with closing(run_tasks(work, tasks, LocalWorkers(2))) as ended:
        assert next(ended).name == "0-"
        while not attempts(tmp_path, tasks[1]):
            time.sleep(0.05)
    (pid,) = attempts(tmp_path, tasks[1])
    assert not alive(pid)


GRID = """
import sys
sys.path[:0] = [{tests!r}]
from toy_tasks import toys, work
from braindecode_ssr.benchmarking.workers import LocalWorkers, run_tasks
list(run_tasks(work, toys(["waits"], {folder!r}), LocalWorkers(1)))
"""


@pytest.mark.parametrize("how", ["SIGKILL", pytest.param("SIGINT", marks=pytest.mark.slow)])
def test_the_processes_end_with_the_one_that_started_them(tmp_path, how):
    code = GRID.format(tests=str(Path(__file__).parents[1]), folder=str(tmp_path))
    (task,) = toys(["waits"], tmp_path)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    grid = subprocess.Popen([sys.executable, "-c", code], **pipes, start_new_session=True)
    while not attempts(tmp_path, task):
        assert grid.poll() is None, grid.stderr.read()
        time.sleep(0.05)
    (pid,) = attempts(tmp_path, task)
    if how == "SIGINT":
        os.killpg(grid.pid, signal.SIGINT)  # as a terminal does
    else:
        grid.kill()
    _, err = grid.communicate(timeout=60)
    end = time.monotonic() + 30
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(pid)
    assert err.count("Traceback") == (how == "SIGINT")  # that of the starter alone

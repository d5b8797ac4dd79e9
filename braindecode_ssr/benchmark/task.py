"""One run of a grid, from training to all its evaluations: what a worker process does."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..config import EvaluationSpec, RunSpec
from ..errors import SSRError
from ..files import lock, writing
from ..models.dotted_path import Trust, trusted, trusting
from ..runs import EvaluationFolder, Run, run_name

ONE_RUN_A_PROCESS = threading.Lock()
"""Random numbers are drawn from generators of the process: two runs in its threads would mix them."""


@dataclass(frozen=True)
class Task:
    """A run to train and test.

    Parameters
    ----------
    spec : RunSpec
        Resolved.
    data_dir : str
        The folder of the dataset.
    out : str
        The folder of the run's folder.
    evaluations : tuple of EvaluationSpec
        How it is tested besides its own way.
    threads : int
        Of the numerical libraries. More or fewer change the last digits of a sum, so that their number
        is a matter of the grid and not of how many runs go at a time.
    cache : str
        ``$SSR_CACHE``, for workers that were started elsewhere.
    trust : bool or tuple of str
        Classes that may be imported, see :func:`braindecode_ssr.models.dotted_path.trusting`.
    """

    spec: RunSpec
    data_dir: str
    out: str
    evaluations: tuple[EvaluationSpec, ...] = ()
    threads: int = 1
    cache: str = field(default_factory=lambda: os.environ.get("SSR_CACHE", ""))
    trust: Trust = field(default_factory=trusted)

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return run_name(self.spec)

    @property
    def run(self) -> Run:
        """The run's folder."""
        return Run(Path(self.out) / self.name)


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Parameters
    ----------
    name : str
        Of the run.
    seconds : float
        How long it took.
    error : str
        Why there is no run, in a line.
    evaluation_errors : dict of str to str
        Why there is no evaluation: digest of its spec to a line.
    """

    name: str
    seconds: float = 0.0
    error: str = ""
    evaluation_errors: dict[str, str] = field(default_factory=dict)


def do(task: Task) -> Outcome:
    """Train a run, or go on with it, and test it in all ways asked for; what fails is told, not raised."""
    start, errors = time.perf_counter(), {}
    if task.cache:
        os.environ["SSR_CACHE"] = task.cache
    with ONE_RUN_A_PROCESS:
        try:
            with trusting(task.trust), _fixed_threads(task.threads), _nobody_else(task):
                _train(task)
                for evaluation in task.evaluations:
                    try:
                        _evaluate(task, evaluation)
                    except Exception as error:
                        errors[evaluation.digest] = one_line(error)
        except Exception as error:
            return Outcome(task.name, time.perf_counter() - start, one_line(error))
    return Outcome(task.name, time.perf_counter() - start, evaluation_errors=errors)


def evaluated(run: Run, evaluation: EvaluationSpec) -> Run:
    """The folder inside a run's with ``queries.csv`` and ``summary.json`` of another evaluation."""
    return EvaluationFolder(run.path / f"evaluation_{evaluation.digest[:8]}")


def one_line(error: BaseException) -> str:
    """What went wrong, in a line; an error that was not foreseen is named."""
    text = str(error) if isinstance(error, SSRError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _train(task: Task) -> None:
    from ..pipeline import train

    if not task.run.finished:
        train(task.spec, data_dir=task.data_dir, out=task.out)


def _evaluate(task: Task, evaluation: EvaluationSpec) -> None:
    from ..pipeline import evaluate

    place = evaluated(task.run, evaluation)
    if place.finished:
        return
    device = task.spec.train.device
    queries, summary = evaluate(task.run.path, evaluation, data_dir=task.data_dir, device=device)
    place.path.mkdir(exist_ok=True)
    place.write_table("queries.csv", queries)
    place.write_json("summary.json", summary)


@contextmanager
def _fixed_threads(count: int) -> Iterator[None]:
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(count)
    with threadpool_limits(count):
        yield


@contextmanager
def _nobody_else(task: Task) -> Iterator[None]:
    """Wait until nobody else is at this run: a benchmark that was killed may have left a worker at it."""
    with writing(Path(task.out)), lock(task.run.path, "benchmark", shared=True):
        yield

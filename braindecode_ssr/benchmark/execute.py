"""A grid from beginning to end: prepare, run what is not finished, make the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from ..files import unwritable
from .crew import Work, here
from .estimate import TimeLeft
from .plan import Plan
from .preparation import prepare_plan
from .progress import Progress
from .tables import tables, write_tables
from .task import Outcome, Task, do, evaluated

if TYPE_CHECKING:
    import pandas as pd


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
    from .cluster import dask_crew

    with dask_crew(cluster, jobs, threads) as crew:
        yield crew

"""Do the runs of a benchmark: prepare their data, train and evaluate in parallel, write the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pandas as pd

from ..config import TrialSpec
from ..errors import SSRError
from ..files import unwritable
from ..labels import natural
from ..trials.prepare import say_beside
from ..trials.prepare_many import prepare_many
from .plan import Plan, PlannedRun, TimeLeft, duration
from .tables import tables, write_tables
from .workers import LocalWorkers, Outcome, dask_workers, run_task, run_tasks

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Benchmark:
    """The results of a grid: a row per query, and a row per run and evaluation, done or failed."""

    queries: pd.DataFrame
    runs: pd.DataFrame

    @property
    def failed(self) -> list[dict[str, Any]]:
        """``run``, ``evaluation`` and ``error`` of each row that failed."""
        rows = self.runs[self.runs["status"] == "failed"]
        return rows[["run", "evaluation", "error"]].to_dict("records")

    @property
    def failed_by_error(self) -> dict[str, list[str]]:
        """Each error and the runs that failed with it, with the evaluation in brackets."""
        found: dict[str, list[str]] = {}
        for row in self.failed:
            found.setdefault(row["error"], []).append(f"{row['run']} ({row['evaluation']})")
        return found


def benchmark(
    plan: Plan,
    out: str | Path,
    *,
    jobs: int = 1,
    cluster: str | None = None,
    progress: bool = False,
    say: Say = lambda text: None,
) -> Benchmark:
    """Do all runs of a plan that are not finished, and write the tables of all of them.

    A run that fails does not affect the others. After a stop or a kill, the same plan resumes. ``out``,
    the folder that the plan was made for, gets ``queries.csv``, ``runs.csv``, ``benchmark.json`` and the
    run folders. ``cluster`` is ``"local"``, ``"slurm"`` or ``"tcp://host:port"``: do the runs as tasks of
    Dask. ``say`` gets a line for each thing that happens.
    """
    out = Path(out)
    errors = {run.name: str(run.error) for run in plan.runs if run.error and not run.finished}
    evaluation_errors: dict[str, dict[str, str]] = {}
    finished = sum(planned.finished for planned in plan.runs)
    if finished:
        say(f"{finished} of {len(plan.runs)} runs are finished already")
    for folder in (folder for planned in plan.runs for folder in planned.folders):
        if folder.damage:
            say(f"{folder.path} is damaged and will be repaired: cannot read {folder.damage}")
    with _writable(out):
        for outcome in _outcomes(plan, out, errors, jobs, cluster, progress, say):
            if outcome.error:
                errors[outcome.name] = outcome.error
            evaluation_errors[outcome.name] = outcome.evaluation_errors
        queries, runs = tables(plan, errors, evaluation_errors)
        write_tables(plan, queries, runs, out)
    return Benchmark(queries, runs)


@contextmanager
def _writable(out: Path) -> Iterator[None]:
    """Check first that the folder of the tables can be written; remove it if it stays empty."""
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
    say: Say,
) -> Iterator[Outcome]:
    """Do what is to do; ``errors`` gets the runs whose trials or features cannot be made."""
    from tqdm.auto import tqdm

    to_do, threads = plan.to_do, plan.grid.threads
    if not to_do:
        return
    local = nullcontext(LocalWorkers(jobs, threads))
    # connect first: a cluster that is not there fails before anything else is done
    with dask_workers(cluster, jobs, threads) if cluster else local as workers:
        errors |= prepare_plan(plan, jobs=jobs, progress=progress, say=say)
        able = [planned for planned in to_do if planned.name not in errors]
        tasks = [planned.task(plan.dataset, threads) for planned in able]
        left = TimeLeft(able, out, jobs)
        form = "{desc}: {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
        with tqdm(desc="runs", total=len(tasks), disable=not progress, bar_format=form) as bar:
            for number, outcome in enumerate(run_tasks(run_task, tasks, workers), 1):
                left.ended(outcome)
                line = f"[{number}/{len(tasks)}] {outcome.name}: {_result(outcome, able)}"
                say_beside(say, "; ".join(filter(None, [line, str(left)])))
                bar.set_postfix_str(str(left), refresh=False)
                bar.update()
                yield outcome


def _result(outcome: Outcome, runs: list[PlannedRun]) -> str:
    if outcome.error:
        return f"failed: {outcome.error}"
    summary = next(planned.run.summary for planned in runs if planned.name == outcome.name)
    text = f"top-1 {100 * summary['top1']:.1f} %, top-5 {100 * summary['top5']:.1f} %"
    failed = len(outcome.evaluation_errors)
    more = f", {failed} evaluations failed" if failed else ""
    return f"{text}, {duration(outcome.seconds)}{more}"


# -- trials and features, made once before the runs start ----------------------------------------------------


def prepare_plan(plan: Plan, *, jobs: int, progress: bool, say: Say) -> dict[str, str]:
    """Make trials and features of all runs to do, for workers to memory-map; and why which cannot be."""
    by_trials: dict[TrialSpec, list[PlannedRun]] = {}
    for planned in plan.to_do:
        by_trials.setdefault(planned.spec.trials, []).append(planned)
    failed: dict[str, str] = {}
    for spec, runs in by_trials.items():
        subjects = sorted({s for planned in runs for s in planned.subjects}, key=natural)
        prepared = prepare_many(plan.dataset, subjects, spec, jobs=jobs, progress=progress, say=say)
        broken = {done.subject: str(done.error) for done in prepared if done.error is not None}
        for planned in runs:
            errors = [broken[subject] for subject in planned.subjects if subject in broken]
            if errors:
                failed[planned.name] = errors[0]
    left = [planned for planned in plan.to_do if planned.name not in failed]
    return failed | _prepare_features(plan, left, progress, say)


def _prepare_features(
    plan: Plan, runs: list[PlannedRun], progress: bool, say: Say
) -> dict[str, str]:
    """Make the features of some runs; returns the error of each run whose features cannot be made."""
    from ..training import features_of
    from ..training.distributed import pick_device

    failed: dict[str, str] = {}
    tried: dict[tuple[str, object], str] = {}
    for planned in runs:
        images = planned.spec.images
        key = (images.encoder, images.views)
        if key not in tried:
            if images.encoder not in [encoder for encoder, _ in tried]:
                say(f"features of {len(plan.dataset.images)} images: {images.encoder}")
            try:
                features = features_of(planned.spec, plan.dataset)
                device = pick_device(planned.spec.train.device)
                features.complete(plan.dataset, device=device, progress=progress, say=say)
                features.made_by()
                tried[key] = ""
            except SSRError as error:
                tried[key] = str(error)
        if tried[key]:
            failed[planned.name] = tried[key]
    return failed

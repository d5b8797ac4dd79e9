"""Do the runs of a benchmark: prepare their data, train and evaluate in parallel, write the tables."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from html import escape
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pandas as pd

from ..config import TrialSpec, nested
from ..errors import SSRError
from ..files import unwritable
from ..models.names import Trust, trusting
from ..pipeline import bars_shown
from ..registry import Label, natural
from ..trials.prepare import prepare_many, say_beside
from .plan import ENSEMBLES, Plan, PlannedRun, TimeLeft, duration, plan_benchmark
from .tables import summary_rows, summary_tables, tables, with_ensembles, write_tables
from .workers import LocalWorkers, Outcome, dask_workers, run_task, run_tasks

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Benchmark:
    """The results of a grid, in the folder ``path``.

    ``queries`` has a row per query, ``runs`` one per run and evaluation, done or failed.
    """

    queries: pd.DataFrame
    runs: pd.DataFrame

    path: Path

    @property
    def table(self) -> pd.DataFrame:
        """A row per protocol, evaluation and method: accuracies (fractions), intervals, published numbers."""
        return pd.DataFrame(summary_rows(self.queries, self.runs))

    def __str__(self) -> str:
        """The tables that ``ssr-bd benchmark`` prints, as Markdown."""
        tables = (
            [f"**{table.title}**", pd.DataFrame(table.rows).to_markdown(index=False), *table.notes]
            for table in summary_tables(summary_rows(self.queries, self.runs))
        )
        return "\n\n".join("\n\n".join(parts) for parts in tables)

    def _repr_html_(self) -> str:
        """The same tables in a notebook."""
        tables = summary_tables(summary_rows(self.queries, self.runs))
        return "".join(
            f"<p><b>{escape(table.title)}</b></p>{pd.DataFrame(table.rows).to_html(index=False)}"
            + "".join(f"<p>{escape(note)}</p>" for note in table.notes)
            for table in tables
        )

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
    *,
    methods: str | Iterable[str],
    subjects: Label | Iterable[Label] = "all",
    protocols: str | Iterable[str] = "intra",
    seeds: int | Iterable[int] = 1,
    evaluations: str | Iterable[str] = "default",
    ensemble: str | Iterable[str] = (),
    data_dir: str | Path | None = None,
    out: str | Path = "benchmark",
    jobs: int = 1,
    threads: int = 1,
    cluster: str | None = None,
    trust: Trust = False,
    progress: bool | None = None,
    say: Say = lambda text: None,
    **settings: Any,
) -> Benchmark:
    """Train and test every combination of method, subject, protocol and seed: ``ssr-bd benchmark``.

    Finished runs are kept: the same call resumes after a stop, and a larger grid reuses what is there.

    Parameters
    ----------
    methods, subjects, protocols, evaluations : str or iterable
        One or several names, or ``"all"``: every method, every subject whose files are there, ``"intra"``
        and ``"inter"``. See ``ssr-bd list methods`` and :mod:`braindecode_ssr.retrieval.evaluations`.
    seeds : int or iterable of int
        How many, or which.
    ensemble : {"seeds", "methods"} or both
        Add rows of the mean of standardized similarities, of all seeds of a method or of all methods.
    data_dir : path-like, optional
        The folder of the dataset; default: below $SSR_DATA or MNE's data folder.
    out : path-like
        Folder for the tables ``queries.csv`` and ``runs.csv`` and the run folders.
    jobs, threads : int
        Runs in parallel, and threads of each run, on which the last digits of results depend.
    cluster : str, optional
        Do the runs through Dask: ``"local"``, ``"slurm"`` or ``"tcp://host:port"``.
    trust : bool or str
        Import any class that settings name by a dotted path, or this one.
    progress : bool, optional
        Show progress bars; default: in a terminal and in a notebook.
    say : callable
        Gets a line for each thing that happens.
    **settings
        Of all runs, as in :func:`braindecode_ssr.train`: ``dataset``, ``preset``, ``epochs``, ``backbone``.

    Returns
    -------
    Benchmark
        With ``table``, ``queries``, ``runs``, ``failed`` and ``path``; shows as a table in notebooks.

    Raises
    ------
    UsageError, DataError
        If a name is unknown, or a run of a method that was named cannot be done.

    Examples
    --------
    >>> grid = benchmark(dataset="things-sim", methods=["ssr", "nice"], subjects=[1, 5])  # doctest: +SKIP
    >>> grid.table  # doctest: +SKIP
    """
    names = {"methods": methods, "subjects": subjects}
    names |= {"protocols": protocols, "evaluations": evaluations}
    names["ensemble"] = ENSEMBLES if ensemble == "all" else ensemble
    axes: dict[str, Any] = {
        axis: () if asked == "all" else (asked,) if isinstance(asked, str | int) else tuple(asked)
        for axis, asked in names.items()
    }
    with trusting(trust):
        plan = plan_benchmark(
            nested(settings), Path(out), data_dir, **axes, seeds=seeds, threads=threads
        )
        shown = bars_shown() if progress is None else progress
        return run_plan(plan, out, jobs=jobs, cluster=cluster, progress=shown, say=say)


def run_plan(
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
        if plan.grid.ensemble:
            queries, runs = with_ensembles(plan, queries, runs, out, say)
        write_tables(plan, queries, runs, out)
    return Benchmark(queries, runs, out)


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
        # those that share a model come after the run that trains it
        parts = [[p for p in able if bool(p.trained_as) is shared] for shared in (False, True)]
        done = (
            run_tasks(run_task, [p.task(plan.dataset, threads) for p in part], workers)
            for part in parts
        )
        left = TimeLeft(able, out, jobs)
        form = "{desc}: {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
        going = {planned.name: planned for planned in able}

        def now() -> str:
            return ", ".join(filter(None, [_epochs(list(going.values())[:jobs]), str(left)]))

        bar = tqdm(desc="runs", total=len(able), disable=not progress, bar_format=form)
        with bar, _refreshed(bar, now):
            for number, outcome in enumerate(chain.from_iterable(done), 1):
                left.ended(outcome)
                del going[outcome.name]
                line = f"[{number}/{len(able)}] {outcome.name}: {_result(outcome, able)}"
                say_beside(say, "; ".join(filter(None, [line, str(left)])))
                bar.update()
                yield outcome


@contextmanager
def _refreshed(bar: Any, text: Callable[[], str]) -> Iterator[None]:
    """Redraw a bar every second, so that its clock runs and it shows how far the runs are."""
    ended = threading.Event()

    def refresh() -> None:
        while not ended.wait(1):
            bar.set_postfix_str(text())

    thread = threading.Thread(target=refresh, daemon=True)
    if not bar.disable:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if not bar.disable:
            thread.join()


def _epochs(runs: list[PlannedRun]) -> str:
    """The epochs of runs, as their last checkpoints say: ``"epoch 12/50, 3/50"``."""
    shown = [
        f"{int(max(done)[6:])}/{planned.spec.train.epochs}"
        for planned in runs
        if (done := [path.name for path in planned.run.checkpoint.glob("epoch-*")])
    ]
    return f"epoch {', '.join(shown)}" if shown else ""


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
    from ..images.features import features_of
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

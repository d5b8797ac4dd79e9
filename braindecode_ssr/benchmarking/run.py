"""Do the runs of a benchmark: prepare their data, train and evaluate in parallel, write the tables."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import pandas as pd

from ..config import TrialSpec, nested
from ..errors import Say, SSRError, silent
from ..files import atomic_write, new_folder, sha256
from ..models.names import Trust, trusting
from ..pipeline import bars_shown
from ..registry import Label, natural
from ..reporting import results
from ..reporting.render import Table, markdown_table, notebook_html, percent
from ..reporting.tables import published_numbers, section_title, with_interval
from ..retrieval.evaluations import Evaluation, check_flags
from ..retrieval.statistics import COLUMN, summary_table
from ..runs import EvaluationFolder, Run
from ..sharing.ensemble import ensemble, source_of
from ..trials.prepare import prepare_many, say_beside
from .plan import ENSEMBLES, Plan, PlannedRun, TimeLeft, duration, plan_benchmark
from .workers import LocalWorkers, Outcome, dask_workers, one_line, run_task, run_tasks


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
        return "\n\n".join(
            "\n\n".join([f"**{table.caption}**", markdown_table(table), *table.notes])
            for table in summary_tables(summary_rows(self.queries, self.runs))
        )

    def _repr_html_(self) -> str:
        return notebook_html(summary_tables(summary_rows(self.queries, self.runs)))

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
    say: Say = silent,
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
        UsageError or DataError if a run of a method that was named cannot be done.

    Examples
    --------
    >>> grid = benchmark(dataset="things-sim", methods=["ssr", "nice"], subjects=[1, 5])  # doctest: +SKIP
    >>> grid.table  # doctest: +SKIP
    """
    names = {"methods": methods, "subjects": subjects}
    names |= {"protocols": protocols, "evaluations": evaluations}
    names["ensemble"] = ENSEMBLES if ensemble == "all" else ensemble
    axes: dict[str, Any] = {
        axis: (asked,) if isinstance(asked, str | int) else tuple(asked)
        for axis, asked in names.items()
    }
    axes = {axis: () if asked == ("all",) else asked for axis, asked in axes.items()}
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
    say: Say = silent,
) -> Benchmark:
    """Do all runs of a plan that are not finished, and write the tables of all of them.

    A run that fails does not affect the others; after a stop or a kill, the same plan resumes. ``out`` is the
    folder that the plan was made for, the rest is as for :func:`benchmark`.
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
    with new_folder(out):
        for outcome in _outcomes(plan, out, errors, jobs, cluster, progress, say):
            if outcome.error:
                errors[outcome.name] = outcome.error
            evaluation_errors[outcome.name] = outcome.evaluation_errors
        queries, runs = tables(plan, errors, evaluation_errors)
        if plan.grid.ensemble:
            queries, runs = with_ensembles(plan, queries, runs, out, say)
        atomic_write(out / "queries.csv", queries.to_csv(index=False))
        atomic_write(out / "runs.csv", runs.to_csv(index=False))
        atomic_write(out / "benchmark.json", plan.grid.model_dump_json(indent=2) + "\n")  # last
    return Benchmark(queries, runs, out)


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


# -- tables: a row per query, a row per run ------------------------------------------------------------------

QUERY_COLUMNS = (*results.QUERY_COLUMNS, "score", *(f"top_{place}" for place in range(1, 6)))
RUN_COLUMNS = (
    *(*COLUMN, "flags", "method", "backbone", "subject", "seed", "run", "status", "error"),
    *("top1", "top5", "mrr", "mean_rank", "median_rank", "n_queries", "n_gallery"),
    *("repetitions", "selection", "chance_top1", "chance_top5", "ceiling_top1", "ceiling_top5"),
    *("train_seconds", "fingerprint", "gallery", "repetitions_max"),
)


def tables(
    plan: Plan, errors: dict[str, str], evaluation_errors: dict[str, dict[str, str]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All queries and all runs of a plan, in its order.

    Parameters
    ----------
    plan : Plan
    errors, evaluation_errors : dict
        Why each run failed, by name, and each evaluation, by name of the run and digest of its spec.

    Returns
    -------
    queries, runs : DataFrame
        ``QUERY_COLUMNS`` and whatever else a run's own table holds; ``RUN_COLUMNS``, one row per run and
        evaluation, accuracies as fractions.
    """
    queries, rows = [], []
    for planned in plan.runs:
        of_evaluations = evaluation_errors.get(planned.name, {})
        for evaluation in planned.evaluations:
            error = errors.get(planned.name) or of_evaluations.get(evaluation.spec.digest, "")
            folder = planned.results(evaluation)
            if error and folder.finished:  # another evaluation of the run has failed
                error = ""
            ranks, row = _entry(plan, planned, evaluation, folder, error)
            queries += [] if ranks is None else [ranks]
            rows.append(row)
    both = pd.concat(queries, ignore_index=True) if queries else pd.DataFrame()
    more = [name for name in both.columns if name not in QUERY_COLUMNS]
    return both.reindex(columns=[*QUERY_COLUMNS, *more]), pd.DataFrame(rows, columns=RUN_COLUMNS)


def _entry(
    plan: Plan,
    planned: PlannedRun,
    evaluation: Evaluation,
    folder: Run,
    error: str,
    ensemble: str = "",
) -> tuple[pd.DataFrame | None, dict[str, Any]]:
    """The ranks of an evaluation, if there are any, and its row in ``runs.csv``.

    ``ensemble`` is what an ensemble in ``folder``, whose first member is given, is called if it failed.
    """
    spec, ranks, summary = planned.spec, None, {}
    if not error:
        try:
            ranks, summary = folder.queries, folder.summary
        except (SSRError, ValueError) as found:  # pandas' parsing errors are ValueErrors
            error = one_line(found)
    labels = results.labels_of(spec, {"evaluation": evaluation.name}) | {"run": planned.name}
    if ensemble:
        labels |= {"run": folder.path.name, "method": ensemble}
        labels |= {name: summary[name] for name in ("method", "backbone") if name in summary}
    flags = summary.get("flags", ("ensemble",) if ensemble else ())
    row = {
        **{name: summary[name] for name in RUN_COLUMNS if name in summary},
        **labels,
        "flags": ";".join(check_flags((*evaluation.flags, *flags))),
        "status": "failed" if error else "done",
        "error": error,
        "fingerprint": plan.dataset.source_key(spec.data.subject, spec.trials),
    }
    return None if ranks is None else ranks.assign(**labels), row


def with_ensembles(
    plan: Plan, queries: pd.DataFrame, runs: pd.DataFrame, out: Path, say: Say
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables with the rows of ensembles: all seeds of a method, or all methods with a seed.

    Members are the finished runs of a protocol, subject and evaluation; alone they are no ensemble. What was
    averaged before is read from its folder in ``out``.
    """
    finished = runs[runs["status"] == "done"].set_index(["run", "evaluation"]).index
    groups: dict[tuple[Any, ...], dict[Path, tuple[PlannedRun, Evaluation]]] = {}
    for planned in plan.runs:
        spec = planned.spec
        for evaluation in planned.evaluations:
            if (planned.name, evaluation.name) not in finished:
                continue
            alike = (spec.data.protocol, spec.data.subject, evaluation.name)
            kinds = {"seeds": (spec.method, spec.model.backbone), "methods": (spec.train.seed,)}
            for kind in plan.grid.ensemble:
                group = groups.setdefault((kind, *alike, *kinds[kind]), {})
                group[planned.run.path] = planned, evaluation
    tables, rows = [queries], []
    for members in (members for members in groups.values() if len(members) > 1):
        planned, evaluation = next(iter(members.values()))
        spec, paths = planned.spec, list(members)
        digest = sha256(json.dumps([evaluation.name, *(path.name for path in paths)]))[:8]
        folder = EvaluationFolder(out / f"ensemble_{planned.name.rpartition('_')[0]}_{digest}")
        error, sources = "", [source_of(path) for path in paths]
        told = folder.summary.get("source", {}) if folder.finished else {}
        if any(
            source.items() - told.items() for source in sources
        ):  # of runs that were replaced since
            say(f"ensemble of {', '.join(path.name for path in paths)}: {evaluation.name}")
            where: dict[str, Any] = {"data_dir": plan.dataset.root, "device": spec.train.device}
            try:
                ensemble(paths, evaluation=evaluation.name, out=folder.path, **where)
            except SSRError as found:
                error = one_line(found)
        methods = "+".join(dict.fromkeys(p.spec.label for p, _ in members.values()))
        called = f"{methods}, ensemble of {len(members)}"
        ranks, row = _entry(plan, planned, evaluation, folder, error, called)
        tables += [] if ranks is None else [ranks]
        rows.append(row)
    both = pd.concat([runs, pd.DataFrame(rows, columns=RUN_COLUMNS)], ignore_index=True)
    return pd.concat(tables, ignore_index=True), both if rows else runs


# -- the summary ---------------------------------------------------------------------------------------------


def summary_rows(queries: pd.DataFrame, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """The summary of a benchmark, one row per protocol, evaluation and method, with published numbers."""
    table = summary_table(queries, runs)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    for row in rows:
        published = published_numbers(row)
        row |= {
            f"published_{n}": published.get(f"published_{n}") for n in ("top1", "top5", "flags")
        }
        row["published_on"] = published.get("published_dataset")
    return rows


def summary_tables(rows: list[dict[str, Any]]) -> list[Table]:
    """The summary for people: one table for each dataset, protocol and evaluation, never mixed."""
    ordered = sorted(rows, key=lambda row: [str(row[name]) for name in COLUMN])
    groups = groupby(ordered, key=lambda row: [row[name] for name in COLUMN])
    return [_summary_table(list(group)) for _, group in groups]


def _summary_table(rows: list[dict[str, Any]]) -> Table:
    first = rows[0]
    title = section_title(tuple(first[name] for name in COLUMN))
    if first["n_gallery"] is not None:
        title += f", {first['n_gallery']:g} candidates"
    if first["repetitions"] is not None:
        title += f", {first['repetitions']:g} trials averaged"
    on = next((row["published_on"] for row in rows if row["published_on"]), None)
    head = ["", "backbone", "subjects x seeds", "top-1 [95 %]", "top-5 [95 %]"]
    lines, notes = [], []
    for row in rows:
        failed = f"{row['n_failed']} failed" if row["n_failed"] else ""
        cells = [row["method"] + " !" * bool(row["flags"]), row["backbone"]]
        if row["top1"] is None:
            cells += ["0", failed, ""]
        else:
            runs = f"{row['n_subjects']:g} x {row['n_seeds']:g}"
            cells += [", ".join(filter(None, (runs, failed)))]
            cells += [with_interval(row, metric) for metric in ("top1", "top5")]
        if on and row["published_top1"] is not None:
            both = f"{percent(row['published_top1'])} / {percent(row['published_top5'])}"
            cells.append(both + " !" * bool(row["published_flags"]))
        lines.append(cells)
        for how, flags in (("here", row["flags"]), ("as published", row["published_flags"])):
            if flags:
                notes.append(f"! {row['method']} {how}: {flags.replace(';', ', ')}")
    for name in ("ceiling", "chance"):
        known = next((row for row in rows if row[f"{name}_top1"] is not None), None)
        if known:
            lines.append([name, "", "", *(percent(known[f"{name}_top{k}"]) for k in (1, 5))])
    head += [f"published on {on}"] if on else []
    padded = (tuple(cells + [""] * (len(head) - len(cells))) for cells in lines)
    return Table("summary", title, tuple(head), tuple(padded), tuple(notes), words=3)

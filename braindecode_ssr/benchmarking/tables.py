"""The tables of a benchmark, made from the files of its runs: one row per query, one row per run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import SSRError
from ..files import atomic_write, sha256
from ..methods import METHODS
from ..retrieval.evaluations import check_flags
from ..retrieval.statistics import COLUMN, summary_table
from ..runs import EvaluationFolder, Run, preset_of
from ..sharing.ensemble import ensemble
from .plan import Plan, PlannedEvaluation, PlannedRun
from .workers import one_line

QUERY_COLUMNS = (
    *("dataset", "preset", "protocol", "evaluation", "method", "backbone", "subject", "seed"),
    *("run", "image_id", "concept", "rank", "score"),
    *(f"top_{place}" for place in range(1, 6)),
)
RUN_COLUMNS = (
    *("dataset", "preset", "protocol", "evaluation", "flags", "method", "backbone", "subject"),
    *("seed", "run", "status", "error"),
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
    errors : dict of str to str
        Name of each run that failed, and why.
    evaluation_errors : dict of str to dict
        The same for evaluations: name of the run, then digest of the evaluation's spec.

    Returns
    -------
    queries : DataFrame
        ``QUERY_COLUMNS``, and whatever else a run's own table holds.
    runs : DataFrame
        ``RUN_COLUMNS``, one row per run and evaluation; accuracies are fractions.
    """
    queries, rows = [], []
    for planned in plan.runs:
        spec = planned.spec
        for evaluation in planned.evaluations:
            labels = {
                "dataset": spec.data.dataset,
                "preset": spec.data.preset if "preset" in plan.dataset.options else "none",
                "protocol": spec.data.protocol,
                "evaluation": evaluation.name,
                "method": spec.method,
                "backbone": spec.model.backbone,
                "subject": spec.data.subject,
                "seed": spec.train.seed,
                "run": planned.name,
            }
            of_evaluations = evaluation_errors.get(planned.name, {})
            error = errors.get(planned.name) or of_evaluations.get(evaluation.spec.digest)
            ranks, numbers = _results(planned.results(evaluation), error)
            if ranks is not None:
                queries.append(ranks.assign(**labels))
            flags = check_flags((*evaluation.flags, *numbers.pop("flags", ())))
            version = plan.dataset.source_key(spec.data.subject, spec.trials)
            rows.append({**numbers, **labels, "flags": ";".join(flags), "fingerprint": version})
    both = pd.concat(queries, ignore_index=True) if queries else pd.DataFrame()
    more = [name for name in both.columns if name not in QUERY_COLUMNS]
    return both.reindex(columns=[*QUERY_COLUMNS, *more]), pd.DataFrame(rows, columns=RUN_COLUMNS)


def _results(folder: Run, error: str | None) -> tuple[pd.DataFrame | None, dict[str, Any]]:
    """The ranks and numbers of an evaluation, or why there are none."""
    if not error:
        try:
            summary = folder.summary
            numbers = {name: summary[name] for name in RUN_COLUMNS if name in summary}
            return folder.queries, {**numbers, "status": "done", "error": ""}
        except (SSRError, ValueError) as found:  # pandas' parsing errors are ValueErrors
            error = one_line(found)
    return None, {"status": "failed", "error": error}


def with_ensembles(
    plan: Plan, queries: pd.DataFrame, runs: pd.DataFrame, out: Path, say: Callable[[str], object]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables with the rows of ensembles: all seeds of a method, or all methods with a seed.

    Members are the finished runs of a protocol, subject and evaluation; alone they are no ensemble. What was
    averaged before is read from its folder in ``out``.
    """
    finished = runs[runs["status"] == "done"].set_index(["run", "evaluation"]).index
    groups: dict[tuple[Any, ...], dict[Path, tuple[PlannedRun, PlannedEvaluation]]] = {}
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
        error = ""
        if not folder.finished:
            say(f"ensemble of {', '.join(path.name for path in paths)}: {evaluation.name}")
            where: dict[str, Any] = {"data_dir": plan.dataset.root, "device": spec.train.device}
            try:
                ensemble(paths, evaluation=evaluation.name, out=folder.path, **where)
            except SSRError as found:
                error = one_line(found)
        ranks, numbers = _results(folder, error)
        methods = "+".join(dict.fromkeys(p.spec.method for p, _ in members.values()))
        labels = {
            "dataset": spec.data.dataset,
            "preset": preset_of(spec),
            "protocol": spec.data.protocol,
            "evaluation": evaluation.name,
            "method": numbers.get("method", f"{methods}, ensemble of {len(members)}"),
            "backbone": numbers.get("backbone", spec.model.backbone),
            "subject": spec.data.subject,
            "seed": spec.train.seed,
            "run": folder.path.name,
        }
        if ranks is not None:
            tables.append(ranks.assign(**labels))
        version = plan.dataset.source_key(spec.data.subject, spec.trials)
        flags = ";".join(numbers.pop("flags", ("ensemble",)))
        rows.append({**numbers, **labels, "flags": flags, "fingerprint": version})
    both = pd.concat([runs, pd.DataFrame(rows, columns=RUN_COLUMNS)], ignore_index=True)
    return pd.concat(tables, ignore_index=True), both if rows else runs


def write_tables(plan: Plan, queries: pd.DataFrame, runs: pd.DataFrame, out: Path) -> None:
    """Write ``queries.csv``, ``runs.csv`` and, last, ``benchmark.json``: each whole or not at all."""
    atomic_write(out / "queries.csv", queries.to_csv(index=False))
    atomic_write(out / "runs.csv", runs.to_csv(index=False))
    atomic_write(out / "benchmark.json", plan.grid.model_dump_json(indent=2) + "\n")


# -- the summary ---------------------------------------------------------------------------------------------

PUBLISHED_GALLERY = 200
"""Candidates behind all published numbers, which are shown only beside numbers among as many."""


def summary_rows(queries: pd.DataFrame, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """The summary of a benchmark, one row per protocol, evaluation and method, with published numbers."""
    table = summary_table(queries, runs)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{**row, **_published(row)} for row in rows]


def _published(row: dict[str, Any]) -> dict[str, Any]:
    """The published numbers of a method and the flags of how they were obtained."""
    dataset = row["dataset"]
    method = METHODS[row["method"]] if row["method"] in METHODS else None  # ensembles are none
    numbers = method.published.get(dataset, {}).get(row["protocol"]) if method else None
    if row["n_gallery"] != PUBLISHED_GALLERY:
        numbers = None
    return {
        "published_top1": numbers[0] / 100 if numbers else None,
        "published_top5": numbers[1] / 100 if numbers else None,
        "published_on": dataset if numbers else None,
        "published_flags": ";".join(method.as_published.flags) if method and numbers else None,
    }


@dataclass(frozen=True)
class SummaryTable:
    """The summary of one dataset, protocol and evaluation, as texts."""

    title: str
    rows: list[dict[str, str]]
    notes: list[str]


def summary_tables(rows: list[dict[str, Any]]) -> list[SummaryTable]:
    """The summary for people: one table for each dataset, protocol and evaluation, never mixed."""
    ordered = sorted(rows, key=lambda row: [str(row[name]) for name in COLUMN])
    groups = groupby(ordered, key=lambda row: [row[name] for name in COLUMN])
    return [_summary_table(list(group)) for _, group in groups]


def _summary_table(rows: list[dict[str, Any]]) -> SummaryTable:
    first = rows[0]
    preset = "" if first["preset"] == "none" else f" ({first['preset']})"
    title = (
        f"{first['dataset']}{preset}, {first['protocol']}-subject, evaluation {first['evaluation']}"
    )
    if first["n_gallery"] is not None:
        title += f", {first['n_gallery']:g} candidates"
    if first["repetitions"] is not None:
        title += f", {first['repetitions']:g} trials averaged"
    on = next((row["published_on"] for row in rows if row["published_on"]), None)
    lines = [_summary_cells(row, on) for row in rows]
    for name in ("ceiling", "chance"):
        known = next((row for row in rows if row[f"{name}_top1"] is not None), None)
        if known:
            both = (f"{100 * known[f'{name}_{metric}']:.1f}" for metric in ("top1", "top5"))
            lines.append(
                dict.fromkeys(lines[0], "") | dict(zip(("", *NUMBERS), (name, *both), strict=True))
            )
    notes = []
    for row in rows:
        for how, flags in (("here", row["flags"]), ("as published", row["published_flags"])):
            if flags:
                notes.append(f"! {row['method']} {how}: {flags.replace(';', ', ')}")
    return SummaryTable(title, lines, notes)


NUMBERS = ("top-1 [95 %]", "top-5 [95 %]")


def _summary_cells(row: dict[str, Any], published_on: str | None) -> dict[str, str]:
    cells = {"": row["method"] + " !" * bool(row["flags"]), "backbone": row["backbone"]}
    failed = f"{row['n_failed']} failed" if row["n_failed"] else ""
    if row["top1"] is None:
        cells |= {"subjects x seeds": "0", NUMBERS[0]: failed, NUMBERS[1]: ""}
    else:
        runs = f"{row['n_subjects']:g} x {row['n_seeds']:g}"
        cells["subjects x seeds"] = ", ".join(filter(None, (runs, failed)))
        for metric, head in zip(("top1", "top5"), NUMBERS, strict=True):
            mean, low, high = (100 * row[f"{metric}{end}"] for end in ("", "_low", "_high"))
            cells[head] = f"{mean:.1f} [{low:.1f}, {high:.1f}]"
    if published_on:
        published = ""
        if row["published_top1"] is not None:
            published = f"{100 * row['published_top1']:.1f} / {100 * row['published_top5']:.1f}"
            published += " !" * bool(row["published_flags"])
        cells[f"published on {published_on}"] = published
    return cells

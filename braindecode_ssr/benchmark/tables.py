"""The tidy tables of a grid, made of its runs' own files: one row per query, one row per run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SSRError
from ..files import atomic_write
from ..retrieval.leaks import checked_leaks
from ..runs import Run
from .plan import Column, Plan, Planned
from .task import one_line

if TYPE_CHECKING:
    import pandas as pd

LABELS = ("dataset", "preset", "protocol", "evaluation", "method", "backbone", "subject", "seed")
QUERY_COLUMNS = (
    *LABELS,
    "run",
    "image_id",
    "concept",
    "rank",
    "score",
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
        The same of evaluations: name of the run, then digest of the evaluation's spec.

    Returns
    -------
    queries : DataFrame
        ``QUERY_COLUMNS``, and what else a run's own table holds.
    runs : DataFrame
        ``RUN_COLUMNS``, one row per run and evaluation; accuracies are fractions.
    """
    import pandas as pd

    queries, rows = [], []
    for planned in plan.runs:
        name = planned.run.path.name
        for column in planned.columns:
            labels = _labels(plan, planned, column)
            error = errors.get(name) or evaluation_errors.get(name, {}).get(column.spec.digest)
            ranks, numbers = _read(planned.scored(column), error)
            if ranks is not None:
                queries.append(ranks.assign(**labels, run=name))
            version = plan.dataset.source_key(planned.spec.data.subject, planned.spec.trials)
            flags = checked_leaks((*column.flags, *numbers.pop("flags", ())))
            where = {"flags": ";".join(flags), "run": name, "fingerprint": version}
            rows.append({**numbers, **labels, **where})
    both = pd.concat(queries, ignore_index=True) if queries else pd.DataFrame()
    more = [name for name in both.columns if name not in QUERY_COLUMNS]
    return both.reindex(columns=[*QUERY_COLUMNS, *more]), pd.DataFrame(rows, columns=RUN_COLUMNS)


def write_tables(plan: Plan, queries: pd.DataFrame, runs: pd.DataFrame, out: Path) -> None:
    """Write ``queries.csv``, ``runs.csv`` and, last, ``benchmark.json``: each at once or not at all."""
    atomic_write(out / "queries.csv", queries.to_csv(index=False))
    atomic_write(out / "runs.csv", runs.to_csv(index=False))
    atomic_write(out / "benchmark.json", plan.grid.model_dump_json(indent=2) + "\n")


def _read(scored: Run, error: str | None) -> tuple[pd.DataFrame | None, dict[str, Any]]:
    """The ranks and numbers of an evaluation, or why there are none."""
    if not error:
        try:
            numbers = {**_numbers(scored.summary), "status": "done", "error": ""}
            numbers["flags"] = scored.summary.get("flags", ())
            return scored.queries, numbers
        except (SSRError, ValueError) as found:  # pandas' errors of parsing are of the latter
            error = one_line(found)
    return None, {"status": "failed", "error": error}


def _labels(plan: Plan, planned: Planned, column: Column) -> dict[str, Any]:
    spec = planned.spec
    return {
        "dataset": spec.data.dataset,
        "preset": spec.data.preset if "preset" in plan.dataset.options else "none",
        "protocol": spec.data.protocol,
        "evaluation": column.name,
        "method": spec.method,
        "backbone": spec.model.backbone,
        "subject": spec.data.subject,
        "seed": spec.train.seed,
    }


def _numbers(summary: dict[str, Any]) -> dict[str, Any]:
    return {name: summary[name] for name in RUN_COLUMNS if name in summary}

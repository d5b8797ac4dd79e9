"""The tidy tables of a grid, made of its runs' own files: one row per query, one row per run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from ..errors import SSRError
from ..files import atomic_write
from ..methods import METHODS
from ..retrieval.evaluations import check_flags
from ..runs import Run
from .plan import FAILING, LACKING, Column, Outcome, Plan, Planned, one_line

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
            flags = check_flags((*column.flags, *numbers.pop("flags", ())))
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


COLUMN = ("dataset", "preset", "protocol", "evaluation")
LIKE = {"things-sim": "things-eeg"}
"""Dataset to the one whose published numbers are shown beside it, having none of its own."""


def summary_rows(queries: pd.DataFrame, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """The summary of a benchmark, one row per protocol, evaluation and method.

    Parameters
    ----------
    queries, runs : DataFrame
        As of :func:`braindecode_ssr.benchmark.tables.tables`.

    Returns
    -------
    list of dict
        The columns of :func:`~braindecode_ssr.retrieval.statistics.summary_table`, and ``published_top1,
        published_top5`` (fractions), ``published_on`` (dataset), ``published_flags``. What is not known
        is None.
    """
    from ..retrieval.statistics import summary_table

    table = summary_table(queries, runs)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{**row, **published(row["method"], row["dataset"], row["protocol"])} for row in rows]


def published(method: str, dataset: str, protocol: str) -> dict[str, Any]:
    """The published numbers of a method, and what must be known of how they were obtained."""
    known, on = METHODS[method], LIKE.get(dataset, dataset)
    numbers = known.published.get(on, {}).get(protocol)
    top1, top5 = (number / 100 for number in numbers) if numbers else (None, None)
    return {
        "published_top1": top1,
        "published_top5": top5,
        "published_on": on if numbers else None,
        "published_flags": ";".join(known.as_published.flags) if numbers else None,
    }


def summary_text(rows: list[dict[str, Any]]) -> str:
    """The summary for people: one block for each dataset, protocol and evaluation, never mixed."""
    ordered = sorted(rows, key=lambda row: [str(row[name]) for name in COLUMN])
    blocks = groupby(ordered, key=lambda row: [row[name] for name in COLUMN])
    return "\n\n".join("\n".join(_block(list(block))) for _, block in blocks)


def _block(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield _title(rows[0])
    on = next((row["published_on"] for row in rows if row["published_on"]), None)
    header = ["", "backbone", "subjects x seeds", "top-1 [95 %]", "top-5 [95 %]"]
    cells = [[*header, f"published on {on}" if on else ""]]
    cells += [_cells(row) for row in rows]
    for name in ("ceiling", "chance"):
        found = [row for row in rows if row[f"{name}_top1"] is not None]
        if found:
            both = (percent(found[0][f"{name}_{k}"]) for k in ("top1", "top5"))
            cells.append([name, "", "", *both, ""])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        padded = zip(line, widths, strict=True)
        yield "  " + "  ".join(cell.ljust(width) for cell, width in padded).rstrip()
    yield from _notes(rows)


def _title(row: dict[str, Any]) -> str:
    preset = "" if row["preset"] == "none" else f" ({row['preset']})"
    title = f"{row['dataset']}{preset}, {row['protocol']}-subject, evaluation {row['evaluation']}"
    known = [f"{row['n_gallery']:g} candidates"] if row["n_gallery"] is not None else []
    if row["repetitions"] is not None:
        known.append(f"{row['repetitions']:g} trials averaged")
    return ", ".join([title, *known])


def _cells(row: dict[str, Any]) -> list[str]:
    mark = " !" if row["flags"] else ""
    cells = [row["method"] + mark, row["backbone"]]
    if row["top1"] is None:
        return [*cells, "0", f"{row['n_failed']} failed", "", _published(row)]
    failed = f", {row['n_failed']} failed" if row["n_failed"] else ""
    cells.append(f"{row['n_subjects']:g} x {row['n_seeds']:g}{failed}")
    for metric in ("top1", "top5"):
        mean, *ends = (100 * row[f"{metric}{end}"] for end in ("", "_low", "_high"))
        cells.append(f"{mean:.1f} [{ends[0]:.1f}, {ends[1]:.1f}]")
    return [*cells, _published(row)]


def _published(row: dict[str, Any]) -> str:
    if row["published_top1"] is None:
        return ""
    mark = " !" if row["published_flags"] else ""
    return f"{100 * row['published_top1']:.1f} / {100 * row['published_top5']:.1f}{mark}"


def _notes(rows: list[dict[str, Any]]) -> Iterator[str]:
    """What the marks mean."""
    for row in rows:
        if row["flags"]:
            yield f"  ! {row['method']} here: {row['flags'].replace(';', ', ')}"
        if row["published_flags"]:
            flags = row["published_flags"].replace(";", ", ")
            yield f"  ! {row['method']} as published: {flags}"


def percent(fraction: float) -> str:
    """A fraction, as tables show it."""
    return f"{100 * fraction:.1f}"


def seconds_per_epoch(out: Path) -> dict[tuple[Any, ...], float]:
    """Mean training seconds of an epoch of each kind of finished run in a folder."""
    measured: dict[tuple[Any, ...], list[float]] = {}
    for file in sorted(out.glob("[!.]*/summary.json")):
        with suppress(SSRError, KeyError, TypeError, ZeroDivisionError):
            run = Run(file.parent)
            kind = _kind(run.spec)
            seconds = run.summary["train_seconds"] / run.summary["epochs"]
            measured.setdefault(kind, []).append(seconds)
    return {kind: mean(seconds) for kind, seconds in measured.items()}


def expected_seconds(planned: Planned, known: dict[tuple[Any, ...], float]) -> float | None:
    """Training seconds that a run may take; 0 for a trained one, None where nothing is known of its kind."""
    if planned.run.finished:
        return 0.0
    epoch = known.get(_kind(planned.spec))
    return None if epoch is None else round(epoch * planned.spec.train.epochs, 1)


class TimeLeft:
    """How long the runs that have not ended may take, from those of their kind that have.

    Parameters
    ----------
    to_do : list of Planned
        Runs that begin now.
    out : Path
        The folder where finished ones may be.
    jobs : int
        Runs at a time, at least.
    """

    def __init__(self, to_do: list[Planned], out: Path, jobs: int) -> None:
        self._left = {run.run.path.name: run.spec for run in to_do if not run.run.finished}
        self._measured = {kind: [one] for kind, one in seconds_per_epoch(out).items()}
        self._jobs, self._worked, self._start = jobs, 0.0, time.monotonic()

    def ended(self, outcome: Outcome) -> None:
        """A run has ended, one way or the other."""
        self._worked += outcome.seconds
        spec = self._left.pop(outcome.name, None)  # none of a run that was tested again only
        if spec and not outcome.error:
            each = outcome.seconds / spec.train.epochs
            self._measured.setdefault(_kind(spec), []).append(each)

    def __str__(self) -> str:
        known = [
            spec.train.epochs * mean(self._measured[_kind(spec)])
            for spec in self._left.values()
            if _kind(spec) in self._measured
        ]
        unknown = len(self._left) - len(known)
        if not known:
            return f"{unknown} of unknown length left" if unknown else ""
        at_a_time = max(self._jobs, self._worked / (time.monotonic() - self._start + 1e-9))
        line = f"about {duration(sum(known) / at_a_time)} left"
        return line + (f", besides {unknown} of unknown length" if unknown else "")


def grid_preview(plan: Plan, out: Path, jobs: int) -> dict[str, Any]:
    """The runs of a plan, what became of them so far, and what the others may take.

    Returns
    -------
    dict
        ``runs``: a row each; ``done``, ``to_do``, ``lacking``, ``unknown`` (runs to do of whose kind
        none is finished): counts; ``seconds``: expected for those that are known, with ``jobs`` at a time.
    """
    known = seconds_per_epoch(out)
    rows = [_row(planned, expected_seconds(planned, known)) for planned in plan.runs]
    states = [row["state"] for row in rows]
    to_do = [row for row in rows if row["state"] in ("to do", "begun")]
    seconds = [row["seconds"] for row in to_do if row["seconds"] is not None]
    return {
        "out": str(out),
        "runs": rows,
        "done": states.count("done"),
        "to_do": len(to_do),
        "lacking": states.count(LACKING),
        "failing": states.count(FAILING),
        "unknown": len(to_do) - len(seconds),
        "seconds": round(sum(seconds) / jobs, 1) if seconds or not to_do else None,
    }


def as_read(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A preview's rows for people: seconds that are not known say so."""
    return [{**r, "seconds": "unknown" if r["seconds"] is None else r["seconds"]} for r in rows]


def cost_line(preview: dict[str, Any], jobs: int) -> str:
    """A preview's counts and cost, in a line."""
    total, unknown = len(preview["runs"]), preview["unknown"]
    line = f"{total} runs: {preview['done']} done, {preview['to_do']} to do"
    if preview["lacking"]:
        line += f", {preview['lacking']} lack features"
    if preview["failing"]:
        line += f", {preview['failing']} cannot run"
    if not preview["to_do"]:
        return line
    if preview["seconds"] is None:
        line += f"; time unknown: no run of their kinds is finished in {preview['out']}"
        return f"{line} (the same grid with --epochs 1 measures each of them)"
    line += f"; about {duration(preview['seconds'])} of training, {jobs} at a time"
    return line + (f", besides {unknown} of unknown length" if unknown else "")


def duration(seconds: float) -> str:
    """``"40 s"``, ``"12 min"``, ``"3 h 20 min"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _kind(spec: Any) -> tuple[Any, ...]:
    """What the time of an epoch depends on most."""
    data = (spec.data.dataset, spec.data.preset, spec.data.protocol, str(spec.data.channels))
    return (*data, spec.method, spec.model.backbone, spec.train.batch_size)


def _row(planned: Planned, seconds: float | None) -> dict[str, Any]:
    spec = planned.spec
    begun = (planned.run.path / "run.json").is_file()
    state = "done" if planned.finished else "begun" if begun else "to do"
    return {
        "run": planned.run.path.name,
        "method": spec.method,
        "backbone": spec.model.backbone,
        "protocol": spec.data.protocol,
        "subject": spec.data.subject,
        "seed": spec.train.seed,
        "evaluations": ",".join(column.name for column in planned.columns),
        "state": state if state == "done" else planned.problem or state,
        "seconds": seconds,
    }

"""What folders of runs and of benchmarks hold, in two tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import DataError, MissingDataError
from ..labels import as_read
from ..retrieval.column import ROW
from ..retrieval.leaks import leaks_of
from ..retrieval.protocols import evaluation_name
from ..runs import Run
from .checks import check_results

QUERY_COLUMNS = (*ROW, "subject", "seed", "run", "image_id", "concept", "rank")
RUN_COLUMNS = (*ROW, "flags", "subject", "seed", "run", "status", "n_queries", "n_gallery")
ALWAYS = {"seed", "rank"}
NUMBERS = {
    *ALWAYS,
    *("score", "top1", "top5", "mrr", "mean_rank", "median_rank", "n_queries", "n_gallery"),
    *("repetitions", "repetitions_max", "chance_top1", "chance_top5"),
    *("ceiling_top1", "ceiling_top5", "train_seconds"),
}
"""Columns that are numbers, empty where they are not known; those of ``ALWAYS`` never are."""

SIMULATED = ("things-sim",)
"""Datasets of which there are presets."""


@dataclass(frozen=True, eq=False)
class Results:
    """What was found.

    Parameters
    ----------
    queries : DataFrame
        One row per query.
    runs : DataFrame
        One row per run and evaluation, failed ones too.
    """

    queries: pd.DataFrame
    runs: pd.DataFrame


def read_results(folders: Iterable[str | Path]) -> Results:
    """Read folders of benchmarks, of runs, or of folders of runs; a run that is given twice counts once.

    Raises
    ------
    MissingDataError
        If a folder holds no tables.
    DataError
        If a table cannot be read or lacks columns, or the tables do not belong together: several presets or
        versions of a dataset, two runs under the same name, rows that are missing.
    """
    parts = [part for folder in folders for part in _read(Path(folder))]
    queries = pd.concat([queries for queries, _ in parts], ignore_index=True)
    runs = pd.concat([runs for _, runs in parts], ignore_index=True)
    results = Results(
        queries.drop_duplicates([*ROW, "run", "subject", "seed", "image_id"], ignore_index=True),
        runs.drop_duplicates([*ROW, "run"], ignore_index=True),
    )
    check_results(results.queries, results.runs)
    return results


def read_table(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """A CSV file; empty words stay empty texts, and ``nan`` may be a concept.

    Raises
    ------
    DataError
        If it is no CSV, or is cut short, or lacks one of the columns, or has no rows.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = pd.read_csv(StringIO(text), na_filter=False, dtype=str)
    except (ValueError, OSError) as error:  # ParserError, EmptyDataError, UnicodeDecodeError too
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"a CSV table in {path}", reason, "make it again") from error
    if not text.endswith("\n"):
        raise DataError(f"whole rows in {path}", "a last one that is cut short", "make it again")
    absent = [name for name in columns if name not in table]
    if absent:
        raise DataError(
            f"the columns {', '.join(columns)} in {path}",
            f"no {', '.join(absent)}",
            "make it again with this version of braindecode_ssr",
        )
    if not len(table):
        raise DataError(f"rows in {path}", "none", "finish the benchmark or the run first")
    return _numbers(table, path)


def _numbers(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Columns that hold numbers, as numbers; an empty cell is NaN where there may be none."""
    if "subject" in table:
        if (table["subject"] == "").any():
            row = int((table["subject"] == "").to_numpy().argmax()) + 1
            raise DataError(f"there is no subject in row {row} of {path}", "make it again")
        table["subject"] = table["subject"].map(as_read)
    for name in NUMBERS.intersection(table):
        try:
            table[name] = pd.to_numeric(table[name].mask(table[name] == ""))
        except (ValueError, TypeError) as error:
            raise DataError(f"numbers as {name} in {path}", str(error), "make it again") from error
    for name in ALWAYS.intersection(table):
        bad = table[name].isna() | (table[name] < (1 if name == "rank" else 0))
        if bad.any():
            found = f"{table.loc[bad, name].iloc[0]:g} in row {int(bad.to_numpy().argmax()) + 1}"
            raise DataError(f"a {name} in every row of {path}", found, "make it again")
    return table


def _read(folder: Path) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """The tables of a folder, whatever it is."""
    if (folder / "runs.csv").is_file() and (folder / "queries.csv").is_file():
        queries = read_table(folder / "queries.csv", QUERY_COLUMNS)
        return [(queries, read_table(folder / "runs.csv", RUN_COLUMNS))]
    if (folder / "summary.json").is_file():
        return [_of_run(Run(folder), place) for place in _evaluations(folder)]
    inside = sorted(path.parent for path in folder.glob("[!.]*/summary.json"))
    if inside:
        return [part for run in inside for part in _read(run)]
    raise MissingDataError(
        "a folder with queries.csv and runs.csv, or with runs",
        f"neither in {folder}" if folder.is_dir() else f"no folder at {folder}",
        "give a folder that `ssr-bd benchmark` or `ssr-bd train` printed, finished",
    )


def _evaluations(folder: Path) -> list[Run]:
    """A run as it was tested first, and again in other ways."""
    again = sorted(path.parent for path in folder.glob("evaluation_*/summary.json"))
    return [Run(folder), *map(Run, again)]


def _of_run(run: Run, place: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One evaluation of one run, as tables of a benchmark."""
    summary, spec = place.summary, run.spec
    labels = {
        "dataset": spec.data.dataset,
        "preset": spec.data.preset if spec.data.dataset in SIMULATED else "none",
        "protocol": spec.data.protocol,
        "evaluation": summary.get("evaluation")
        or evaluation_name(spec.evaluation, spec.train.selection),
        "method": spec.method,
        "backbone": spec.model.backbone,
        "seed": spec.train.seed,
        "run": run.path.name,
    }
    queries = read_table(place.path / "queries.csv", ("subject", "image_id", "concept", "rank"))
    flags = summary.get("flags", leaks_of(spec.evaluation))
    row: dict[str, Any] = {
        **{name: value for name, value in summary.items() if isinstance(value, int | float | str)},
        **labels,
        "subject": spec.data.subject,
        "flags": ";".join(flags),
        "status": "done",
        "fingerprint": str(run.record.get("dataset", {}).get("fingerprint", "")),
    }
    row = {"n_queries": len(queries), "n_gallery": len(queries), **row}
    return queries.assign(**labels), pd.DataFrame([row])

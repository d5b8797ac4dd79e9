"""Tables and pictures of finished runs, from their saved ranks alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import DataError, MissingDataError, UsageError
from ..labels import as_read
from ..registry import unknown_name
from ..retrieval.evaluations import evaluation_name, flags_of
from ..retrieval.statistics import (
    COLUMN,
    DRAWS,
    ROW,
    labels_of_methods,
    paired_tests,
    subject_means,
    summary_table,
)
from ..runs import REPAIR, Run, check_ranks
from .render import Report, Section, Table
from .tables import TITLES, accuracy_table, pair_table, subject_table, with_published

ONE_RUN = [*ROW, "subject", "seed"]


def check_results(queries: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Raise DataError unless runs are of one preset and version of each dataset, once each, and whole.

    Parameters
    ----------
    queries : DataFrame
        One row per query.
    runs : DataFrame
        One row per run and evaluation.
    """
    done = runs[runs["status"] == "done"]
    if not len(done):
        raise DataError(
            "at least one finished run",
            f"{len(runs)} that failed" + _first_error(runs),
            "mend what the errors in runs.csv say and start the benchmark again",
        )
    _check_same(done, ["dataset"], "preset", "one preset of {}")
    if "fingerprint" in done:
        told = done[done["fingerprint"] != ""]
        _check_same(told, ["dataset", "subject"], "fingerprint", "one version of {} subject {}")
    _check_once(done)
    _check_whole(queries, done)


def _first_error(runs: pd.DataFrame) -> str:
    errors = runs["error"] if "error" in runs else pd.Series(dtype=str)
    told = errors[errors != ""]
    return f", the first: {told.iloc[0]}" if len(told) else ""


def _check_same(runs: pd.DataFrame, within: list[str], name: str, what: str) -> None:
    kinds = runs[[*within, name, "run"]].drop_duplicates([*within, name])
    twice = kinds[kinds.duplicated(within, keep=False)]
    if not len(twice):
        return
    key = twice[within].iloc[0]
    same = twice[(twice[within] == key).all(axis=1)]
    found = " and ".join(f"{row[name]!r} ({row['run']})" for _, row in same.head(2).iterrows())
    raise DataError(what.format(*key), found, "report them apart: their numbers do not compare")


def _check_once(runs: pd.DataFrame) -> None:
    twice = runs[runs.duplicated(ONE_RUN, keep=False)]
    if len(twice):
        first = twice.iloc[0]
        names = twice.loc[(twice[ONE_RUN] == first[ONE_RUN]).all(axis=1), "run"].tolist()
        raise DataError(
            "one run per method, backbone, subject, seed, protocol and evaluation",
            f"{len(names)} of {first['method']}, subject {first['subject']}, seed {first['seed']}: "
            f"{names[0]} and {names[1]}",
            "they differ in other settings: report them apart",
        )


def _check_whole(queries: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Every finished run has all its queries, and no query is without a run."""
    names = ["evaluation", "run"]
    found = queries.groupby(names).size().rename("found")
    expected = runs.set_index(names)["n_queries"]
    both = pd.concat([expected, found], axis=1).fillna(0)
    wrong = both[both["n_queries"] != both["found"]]
    if len(wrong):
        (evaluation, run), counts = wrong.index[0], wrong.iloc[0]
        raise DataError(
            f"{int(counts['n_queries'])} queries of {run} under the evaluation {evaluation}",
            f"{int(counts['found'])} in queries.csv",
            "the tables do not belong together or were cut short: make them again",
        )


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


def read_results(
    folders: Iterable[str | Path], say: Callable[[str], object] = lambda text: None
) -> Results:
    """Read folders of benchmarks, of runs, or of folders of runs; a run that is given twice counts once.

    What is damaged is left out, unless nothing is left.

    Parameters
    ----------
    folders : iterable of path-like
    say : callable
        Is told, in a line, what is left out and why.

    Raises
    ------
    MissingDataError
        If a folder holds no tables.
    DataError
        If nothing can be read, or the tables do not belong together: several presets or
        versions of a dataset, two runs under the same name, rows that are missing.
    """
    parts: list[tuple[pd.DataFrame, pd.DataFrame]] = []
    errors: list[DataError] = []
    for read in [read for folder in folders for read in _readers(Path(folder))]:
        try:
            parts.append(read())
        except DataError as error:
            errors.append(error)
    if errors and not parts:
        raise errors[0]
    for error in errors:
        say(f"left out: {error}")
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


def _readers(folder: Path) -> list[Callable[[], tuple[pd.DataFrame, pd.DataFrame]]]:
    """What reads the tables of a folder: one call for a benchmark, and for each evaluation of a run."""
    if (folder / "runs.csv").is_file() and (folder / "queries.csv").is_file():
        return [partial(_of_benchmark, folder)]
    if (folder / "summary.json").is_file():
        return [partial(_of_run, Run(folder), place) for place in _evaluations(folder)]
    inside = sorted(path.parent for path in folder.glob("[!.]*/summary.json"))
    if inside:
        return [reader for run in inside for reader in _readers(run)]
    raise MissingDataError(
        f"there are no runs in {folder}" if folder.is_dir() else f"there is no folder {folder}",
        "give a folder that `ssr-bd benchmark` or `ssr-bd train` printed, finished",
    )


def _of_benchmark(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    queries = read_table(folder / "queries.csv", QUERY_COLUMNS)
    runs = read_table(folder / "runs.csv", RUN_COLUMNS)
    names = [*ROW, "run"]
    sizes = runs.drop_duplicates(names).set_index(names)["n_gallery"]
    n_gallery = queries[names].join(sizes, on=names)["n_gallery"]
    check_ranks(queries, n_gallery, folder / "queries.csv")
    return queries, runs


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
    n_gallery = summary.get("n_gallery") or len(queries)
    if summary.get("n_queries", len(queries)) != len(queries):
        raise DataError(
            f"{place.path / 'queries.csv'} has {len(queries)} of {summary['n_queries']} rows",
            REPAIR,
        )
    check_ranks(queries, n_gallery, place.path / "queries.csv")
    flags = summary.get("flags", flags_of(spec.evaluation))
    row: dict[str, Any] = {
        **{name: value for name, value in summary.items() if isinstance(value, int | float | str)},
        **labels,
        "subject": spec.data.subject,
        "flags": ";".join(flags),
        "status": "done",
        "fingerprint": (run.record.get("dataset") or {}).get("fingerprint") or "",
    }
    row = {"n_queries": len(queries), "n_gallery": len(queries), **row}
    return queries.assign(**labels), pd.DataFrame([row])


AS_PUBLISHED = "as-published"
"""The evaluation that each method does in its own way: its methods are not tested against each other."""


def report(
    folders: Iterable[str | Path], *, against: str | None = None, draws: int = DRAWS, seed: int = 0
) -> Report:
    """Everything that saved tables say.

    Parameters
    ----------
    folders : iterable of path-like
        Folders of benchmarks or of runs.
    against : str, optional
        Test the other methods against this one only.
    draws, seed
        Of the bootstrap.
    """
    return report_of(read_results(folders), against=against, draws=draws, seed=seed)


def report_of(
    results: Results, *, against: str | None = None, draws: int = DRAWS, seed: int = 0
) -> Report:
    """As :func:`report`, of tables that are read already."""
    _check_against(results, against)
    summary = summary_table(results.queries, results.runs, draws=draws, seed=seed)
    summary = with_published(summary)
    of_columns = dict(iter(results.queries.groupby(list(COLUMN), sort=False)))
    sections, subjects, tests = [], [], []
    for key, rows in summary.groupby(list(COLUMN), sort=False):
        queries = of_columns.get(key, results.queries.head(0))
        tested = _tests(queries, rows, against)
        sections.append(_section(key, queries, rows, tested))
        labels = dict(zip(COLUMN, key, strict=True))
        subjects.append(_tidy_subjects(queries).assign(**labels))
        tests.append(tested.assign(**labels))
    return Report(
        "Zero-shot image retrieval", tuple(sections), summary, _all(subjects), _all(tests)
    )


def _check_against(results: Results, against: str | None) -> None:
    names = labels_of_methods(results.runs).drop_duplicates().tolist()
    if against is not None and against not in names:
        raise unknown_name("method of these tables", against, names)


def _section(
    key: tuple[str, ...], queries: pd.DataFrame, rows: pd.DataFrame, tests: pd.DataFrame
) -> Section:
    title = section_title(key)
    tables: list[Table] = [accuracy_table(rows, queries, f"Retrieval accuracy. {title}.")]
    if len(queries):
        tables += [
            subject_table(queries, rows, metric, f"{name} accuracy of each subject. {title}.")
            for metric, name in TITLES.items()
        ]
    if len(tests):
        tables.append(pair_table(tests, f"Paired tests. {title}."))
    return Section(title, tuple(tables))


def section_title(key: tuple[str, ...]) -> str:
    """Dataset, preset, protocol and evaluation, for people."""
    dataset, preset, protocol, evaluation = key
    size = "" if preset in ("none", "") else f" ({preset})"
    return f"{dataset}{size}, {protocol}-subject, evaluation {evaluation}"


def _tests(queries: pd.DataFrame, rows: pd.DataFrame, against: str | None) -> pd.DataFrame:
    """Tests between methods that were tested alike; none where each is evaluated in its own way."""
    alike = rows["flags"].nunique() == 1 and rows["gallery"].nunique() == 1
    labels = labels_of_methods(rows[rows["top1"].notna()])
    if len(labels) < 2 or not alike or rows["evaluation"].iloc[0] == AS_PUBLISHED:
        return pd.DataFrame()
    if against is not None and against not in set(labels):
        return pd.DataFrame()
    try:
        return paired_tests(queries, "top1", against)
    except UsageError:
        return pd.DataFrame()


def _tidy_subjects(queries: pd.DataFrame) -> pd.DataFrame:
    """One row per method and subject: means over seeds."""
    if not len(queries):
        return pd.DataFrame()
    means = {metric: subject_means(queries, metric).T.stack() for metric in TITLES}
    return pd.DataFrame(means).rename_axis(["method", "subject"]).reset_index()


def _all(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables below each other, what names the column first."""
    full = [table for table in tables if len(table)]
    if not full:
        return pd.DataFrame()
    table = pd.concat(full, ignore_index=True)
    return table[[*COLUMN, *(name for name in table if name not in COLUMN)]]

"""Read the tables of benchmarks and runs, and check that they belong together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from ..config import RunSpec
from ..errors import DataError, MissingDataError, Say, first_line, silent
from ..registry import as_read, natural
from ..retrieval.evaluations import evaluation_name, flags_of
from ..retrieval.statistics import ROW
from ..runs import REPAIR, Run, check_ranks, named_folder, preset_of

RESULT = [*ROW, "subject", "seed", "run"]
"""What all queries of a result have in common."""
QUERY_COLUMNS = (*RESULT, "image_id", "concept", "rank")
RUN_COLUMNS = (*ROW, "flags", "subject", "seed", "run", "status", "n_queries", "n_gallery")
REQUIRED = {"seed", "rank"}
NUMBERS = {
    *REQUIRED,
    *("score", "top1", "top5", "mrr", "mean_rank", "median_rank", "n_queries", "n_gallery"),
    *("repetitions", "repetitions_max", "chance_top1", "chance_top5"),
    *("ceiling_top1", "ceiling_top5", "train_seconds"),
}
"""Columns that are numbers, empty where they are not known; those of ``REQUIRED`` never are."""

Tables = tuple[pd.DataFrame, pd.DataFrame]


@dataclass(frozen=True, eq=False)
class Results:
    """Saved results: a row per query, a row per run and evaluation, and the runs whose folders are here."""

    queries: pd.DataFrame
    runs: pd.DataFrame
    trained: tuple[Run, ...] = ()


def read_results(folders: Iterable[str | Path | Run], say: Say = silent) -> Results:
    """Read folders of benchmarks, of runs, or of several runs; a run that is given twice counts once.

    Damaged runs are left out, unless nothing is left; ``say`` gets a line for each.

    Raises
    ------
    MissingDataError, DataError
        If a folder holds no tables; if nothing can be read, or the tables do not belong together: several
        presets or versions of a dataset, two runs under the same name, missing rows.
    """
    parts: list[Tables] = []
    errors: list[DataError] = []
    places = [named_folder(folder) for folder in folders]
    for read in [read for folder in places for read in _readers(folder)]:
        try:
            parts.append(read())
        except DataError as error:
            errors.append(error)
    if not parts:
        none = MissingDataError("there are no runs to read", "give the folder of at least one")
        raise errors[0] if errors else none
    for damaged in errors:
        say(f"left out: {damaged}")
    queries, runs = (pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True))
    copies = queries.assign(rank=queries["rank"].round(6)).duplicated([*RESULT, "image_id", "rank"])
    queries = queries[~copies]
    for name in queries.loc[queries.duplicated([*RESULT, "image_id"]), "run"].head(1):
        raise DataError(
            f"several results are called {name}, and their ranks differ",
            "leave all but one of them out, or rename a folder",
        )
    first = runs["status"].ne("done").argsort(kind="stable")  # what failed may be done elsewhere
    runs = runs.loc[first].drop_duplicates(RESULT).sort_index(ignore_index=True)
    check_results(queries, runs)
    trained = _trained(places, set(runs["run"]))
    return Results(queries.reset_index(drop=True), runs, trained)


def _readers(folder: Path) -> Iterator[Callable[[], Tables]]:
    """One function for a benchmark, and one for each evaluation of a run, that reads its tables."""
    if (folder / "runs.csv").is_file() and (folder / "queries.csv").is_file():
        return iter([partial(_of_benchmark, folder)])
    if (folder / "summary.json").is_file():
        again = sorted(file.parent for file in folder.glob("evaluation_*/summary.json"))
        return iter([partial(tables_of_run, Run(folder), Run(place)) for place in (folder, *again)])
    inside = [file.parent for file in folder.glob("[!.]*/summary.json")]
    inside.sort(key=lambda place: natural(place.name))  # finetuned-50 before finetuned-200
    if inside:
        return (reader for run in inside for reader in _readers(run))
    raise MissingDataError(
        f"there are no runs in {folder}" if folder.is_dir() else f"there is no folder {folder}",
        "give the folder of a finished `ssr-bd benchmark` or `ssr-bd train`",
    )


def _trained(places: Iterable[Path], names: set[str]) -> tuple[Run, ...]:
    """The folders of runs of these names that hold a history and a summary, each once."""
    inside = [file.parent for place in places for file in sorted(place.glob("[!.]*/history.csv"))]
    found = {folder.name: Run(folder) for folder in (*places, *inside) if folder.name in names}
    files = ("history.csv", "summary.json")
    return tuple(run for run in found.values() if all((run.path / f).is_file() for f in files))


def _of_benchmark(folder: Path) -> Tables:
    queries = read_table(folder / "queries.csv", QUERY_COLUMNS)
    runs = read_table(folder / "runs.csv", RUN_COLUMNS)
    names = [*ROW, "run"]
    sizes = runs.drop_duplicates(names).set_index(names)["n_gallery"]
    n_gallery = queries[names].join(sizes, on=names)["n_gallery"]
    check_ranks(queries, n_gallery, folder / "queries.csv")
    return queries, runs


def labels_of(spec: RunSpec, summary: dict[str, Any]) -> dict[str, Any]:
    """What the tables of a benchmark and of a report say of an evaluation of a run."""
    named = evaluation_name(spec.evaluation, spec.train.selection)
    return {
        "dataset": spec.data.dataset,
        "preset": preset_of(spec),
        "protocol": spec.data.protocol,
        "evaluation": summary.get("evaluation") or named,
        "method": spec.label,
        "backbone": spec.model.backbone,
        "subject": spec.data.subject,
        "seed": spec.train.seed,
    }


def tables_of_run(run: Run, place: Run) -> Tables:
    """One evaluation of a run, in the form of a benchmark's tables."""
    summary, file = place.summary, place.path / "queries.csv"
    if "scored_by" in summary:  # similarities or embeddings of another program, or an ensemble
        lacking = [name for name in (*ROW, "seed", "subject", "flags") if name not in summary]
        if lacking:
            raise DataError(f"{place.path / 'summary.json'} lacks {', '.join(lacking)}", REPAIR)
        labels = {name: summary[name] for name in (*ROW, "seed", "subject")}
        flags, fingerprint = summary["flags"], ""
    else:
        labels = labels_of(run.spec, summary)
        flags = summary.get("flags", flags_of(run.spec.evaluation))
        fingerprint = (run.record.get("dataset") or {}).get("fingerprint") or ""
    labels["run"] = run.path.name
    queries = read_table(file, ("subject", "image_id", "concept", "rank"))
    if summary.get("n_queries", len(queries)) != len(queries):
        raise DataError(f"{file} has {len(queries)} of {summary['n_queries']} rows", REPAIR)
    check_ranks(queries, summary.get("n_gallery") or len(queries), file)
    row: dict[str, Any] = {
        "n_queries": len(queries),
        "n_gallery": len(queries),
        **{name: value for name, value in summary.items() if isinstance(value, int | float | str)},
        **labels,
        "flags": ";".join(flags),
        "status": "done",
        "fingerprint": fingerprint,
    }
    return queries.assign(**labels), pd.DataFrame([row])


def read_table(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """Read a CSV file in which empty cells stay empty texts, and ``nan`` may be a concept."""
    again = "make it again"
    try:
        text = path.read_text(encoding="utf-8")
        table = pd.read_csv(StringIO(text), na_filter=False, dtype=str)
    except (ValueError, OSError) as error:  # ParserError, EmptyDataError, UnicodeDecodeError too
        raise DataError(f"{path} is not a CSV table: {first_line(error)}", again) from error
    if not text.endswith("\n"):
        raise DataError(f"the last row of {path} is cut off", again)
    missing = [name for name in columns if name not in table]
    if missing:
        raise DataError(
            f"{path} lacks the columns {', '.join(missing)}",
            "make it again with this version of braindecode_ssr",
        )
    if not len(table):
        raise DataError(f"{path} has no rows", "finish the benchmark or the run first")
    if "subject" in table:
        if (table["subject"] == "").any():
            row = int((table["subject"] == "").to_numpy().argmax()) + 1
            raise DataError(f"there is no subject in row {row} of {path}", again)
        table["subject"] = table["subject"].map(as_read)
    for name in NUMBERS.intersection(table):
        try:
            table[name] = pd.to_numeric(table[name].mask(table[name] == ""))
        except (ValueError, TypeError) as error:
            wrong = f"the column {name} of {path} is not numeric: {error}"
            raise DataError(wrong, again) from error
    for name in REQUIRED.intersection(table):
        bad = table[name].isna() | (table[name] < (1 if name == "rank" else 0))
        if bad.any():
            row = int(bad.to_numpy().argmax())
            value = table[name].iloc[row]
            found = "missing" if pd.isna(value) else f"{value:g}"
            raise DataError(f"the {name} in row {row + 1} of {path} is {found}", again)
    return table


def check_results(queries: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Raise DataError unless runs are of one preset and version of each dataset, once each, and complete."""
    done = runs[runs["status"] == "done"]
    if not len(done):
        first = next(
            (f"; the first error: {error}" for error in runs.get("error", []) if error), ""
        )
        raise DataError(
            f"all {len(runs)} runs failed{first}",
            "fix what the errors in runs.csv say and start the benchmark again",
        )
    _check_same(done, ["dataset"], "preset", "presets")
    if "fingerprint" in done:
        known = done[done["fingerprint"] != ""]
        _check_same(known, ["dataset", "subject"], "fingerprint", "versions")
    check_once(done)
    _check_complete(queries, done)


def _check_same(runs: pd.DataFrame, within: list[str], name: str, kinds: str) -> None:
    for key, own in runs.groupby(within, sort=False):
        first = own.drop_duplicates(name).head(2)
        if len(first) > 1:
            found = " and ".join(f"{row[name]!r} ({row['run']})" for _, row in first.iterrows())
            raise DataError(
                f"there are several {kinds} of {' subject '.join(map(str, key))}: {found}",
                "report them separately: their numbers cannot be compared",
            )


def check_once(runs: pd.DataFrame) -> None:
    """Raise DataError if two runs would count as one."""
    same = [*ROW, "subject", "seed"]
    for (*_, method, _, subject, seed), own in runs.groupby(same, sort=False, dropna=False):
        names = own["run"].tolist()
        if len(names) > 1:
            raise DataError(
                f"there are {len(names)} runs of {method}, subject {subject}, seed {seed}: {names[0]} and "
                f"{names[1]}",
                "they differ in other settings: report them separately",
            )


def _check_complete(queries: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Every finished run has all its queries, and every query belongs to a run."""
    found = queries.groupby(RESULT).size().rename("found")
    both = pd.concat([runs.set_index(RESULT)["n_queries"], found], axis=1).fillna(0)
    wrong = both[both["n_queries"] != both["found"]]
    if len(wrong):
        labels, counts = dict(zip(RESULT, wrong.index[0], strict=True)), wrong.iloc[0]
        raise DataError(
            f"runs.csv has {int(counts['n_queries'])} queries of {labels['run']}, evaluation "
            f"{labels['evaluation']}, "
            f"but {int(counts['found'])} are in queries.csv",
            "the tables do not belong together or were cut off: make them again",
        )

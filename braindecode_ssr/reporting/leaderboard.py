"""Results that add up: one small file per result, and the table of many people's files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from ..config import RunSpec
from ..errors import DataError, MissingDataError, Say, UsageError, silent
from ..files import atomic_write, load_json, sha256
from ..methods import METHODS
from ..registry import folder_name
from ..retrieval.evaluations import AS_PUBLISHED, check_flags, named_evaluation
from ..retrieval.ranks import METRICS, per_query
from ..retrieval.statistics import COLUMN, ROW
from ..runs import Run, check_ranks, named_folder, settings_digest
from . import report_of
from .render import Report, Table
from .results import Results, check_once, tables_of_run

AGAIN = "make the file again with `ssr-bd results add`"
LABELS = (*ROW, "subject", "seed")
NUMBERS = (
    *("top1", "top5", "mrr", "mean_rank", "median_rank", "n_queries", "n_gallery"),
    *("chance_top1", "chance_top5", "ceiling_top1", "ceiling_top5"),
    *("gallery", "selection", "repetitions", "repetitions_max"),
)


class Result(BaseModel):
    """What a file must contain: labels, flags, numbers, and what they rest on."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    format: Literal[1]
    dataset: str
    preset: str
    protocol: str
    evaluation: str
    method: str
    backbone: str
    subject: int | str
    seed: int
    flags: list[str]
    top1: float
    top5: float
    mrr: float | None = None
    mean_rank: float | None = None
    median_rank: float | None = None
    n_queries: int
    n_gallery: int
    chance_top1: float | None = None
    chance_top5: float | None = None
    ceiling_top1: float | None = None
    ceiling_top5: float | None = None
    repetitions: float | None = None
    repetitions_max: float | None = None
    version: str
    """Of this package."""
    data: str
    """The fingerprint of the recordings."""
    spec: dict[str, Any] | None
    """The settings of the run; None if another program made it."""
    ensemble: dict[str, Any] | None = None
    queries: dict[str, list[Any]]
    """``image_id`` and ``rank``; ``top1``, ``top5`` and ``mrr`` where they are expectations."""
    digest: str
    """The SHA-256 of all the rest."""


def digest_of(content: dict[str, Any]) -> str:
    rest = {name: value for name, value in content.items() if name != "digest"}
    return sha256(json.dumps(rest, sort_keys=True))


def add_results(folders: Iterable[str | Path], to: str | Path, say: Say = silent) -> list[Path]:
    """Write ``DATASET/METHOD_PROTOCOL_EVALUATION_SUBJECT_SEED_SETTINGS.json`` for each finished result.

    ``folders`` are those of runs, benchmarks, ``ssr-bd score`` or ``ensemble``, or hold them. A file that is
    there stays. Nothing is written if a run is damaged or another result has the same name.
    """
    found: dict[Path, dict[str, Any]] = {}
    for folder in map(named_folder, folders):
        files = [path.relative_to(folder) for path in folder.rglob("summary.json")]
        seen = (file for file in files if not any(part.startswith(".") for part in file.parts))
        places = sorted(folder / file.parent for file in seen)
        if not places:
            raise MissingDataError(f"{folder} holds no finished run", "give the folder of a run")
        for place in places:
            inside = place.name.startswith("evaluation_")
            content = _content(Run(place.parent if inside else place), Run(place))
            labels = [content[name] for name in ("method", "protocol", "evaluation")]
            labels += [folder_name(content["subject"]), f"seed-{content['seed']}"]
            name = "_".join([*labels, settings_of(content)])
            file = Path(to) / _slug(content["dataset"]) / f"{_slug(name)}.json"
            there = found.get(file, content)
            if file.exists():
                there = load_json(file, Result, AGAIN)
            if there["digest"] != content["digest"]:
                raise DataError(
                    f"{file} is another result with the labels and settings of {place}",
                    "remove one of them, or give your own method another name",
                )
            found[file] = content
    new = {file: content for file, content in found.items() if not file.exists()}
    for file in sorted(set(found) - set(new)):
        say(f"{file} is there already")
    for file, content in new.items():
        atomic_write(file, json.dumps(content, indent=1) + "\n", "--to")
    return list(new)


def _slug(text: str) -> str:
    return re.sub(r"[^\w.=+-]+", "-", text)


def _content(run: Run, place: Run) -> dict[str, Any]:
    queries, runs = tables_of_run(run, place)
    row = runs.iloc[0].to_dict()
    record = {} if "scored_by" in place.summary else run.record
    versions = record.get("versions") or place.summary.get("scored_by") or {}
    columns = [name for name in ("image_id", "rank", "top1", "top5", "mrr") if name in queries]
    known = {
        name: row[name] for name in (*LABELS, *NUMBERS) if name in row and not pd.isna(row[name])
    }
    content = {
        "format": 1,
        **{name: v.item() if isinstance(v, np.generic) else v for name, v in known.items()},
        "flags": [flag for flag in row["flags"].split(";") if flag],
        "version": versions.get("braindecode_ssr", ""),
        "versions": versions,
        "git": record.get("git"),
        "data": row["fingerprint"],
        "spec": record.get("spec"),
        "ensemble": place.summary.get("ensemble"),
        "queries": {name: queries[name].tolist() for name in columns},
    }
    content["digest"] = digest_of(content)
    check_result(content, place.path)
    return content


def settings_of(content: dict[str, Any]) -> str:
    """Eight digits that results of the same settings share, whatever the subject, seed and machine."""
    if content["spec"] is None:
        members = content.get("ensemble") or {}
        names = ("method", "backbone", "gallery", "selection", "n_gallery")
        facts = [*map(content.get, names), members.get("how"), members.get("settings")]
        return sha256(json.dumps(facts))[:8]
    try:
        return settings_digest(RunSpec.model_validate(content["spec"]))
    except ValidationError as error:
        raise DataError("its spec is of another version of this package", AGAIN) from error


def check_result(content: dict[str, Any], path: Path) -> None:
    """Raise DataError unless a result is complete, unchanged, flagged as its evaluation is, and adds up."""
    lacking = [name for name in ("version", "digest") if not content[name]]
    if lacking:
        raise DataError(f"{path} has no {' and no '.join(lacking)}", AGAIN)
    if content["digest"] != digest_of(content):
        raise DataError(f"{path} was changed: its digest is that of another content", AGAIN)
    needed: set[str] = {"ensemble"} if content.get("ensemble") else set()
    try:
        for part in content["evaluation"].split("+"):
            known = part != AS_PUBLISHED or content["method"] in METHODS
            method = METHODS[content["method"]] if part == AS_PUBLISHED and known else None
            needed |= set(named_evaluation(part, method).flags if known else ())
        lacking = sorted(needed - set(check_flags(content["flags"])))
    except UsageError as error:
        raise DataError(f"{path} cannot be compared: {error.message}", AGAIN) from error
    if lacking:
        raise DataError(f"{path} lacks the flag {', '.join(lacking)} of its evaluation", AGAIN)
    try:
        queries = pd.DataFrame(content["queries"])
        check_ranks(queries, content["n_gallery"], path)
        numbers = {name: float(per_query(queries, name).mean()) for name in METRICS}
        whole = len(queries) == content["n_queries"] and queries["image_id"].is_unique
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} has no table of queries ({error})", AGAIN) from error
    said = {name: content[name] for name in METRICS if content.get(name) is not None}
    wrong = [name for name, value in said.items() if abs(value - numbers[name]) > 1e-9]
    if wrong or not whole:
        what = f"its {wrong[0]} is not that" if wrong else "its number of queries is not that"
        raise DataError(f"{path} does not add up: {what} of its queries", AGAIN)


def leaderboard(folder: str | Path, say: Say = silent) -> tuple[Report, list[str]]:
    """The tables of a results folder, best first, and the files that were refused, with reasons.

    Files of other settings are never in one row; refused are those without version, flags or digest, or
    that do not add up. DataError if all are, or two are of the same settings, subject and seed.
    """
    files = sorted(Path(folder).rglob("*.json"))
    if not files:
        raise MissingDataError(
            f"there are no results in {folder}", "make them with `ssr-bd results add`"
        )
    results, refused = {}, []
    for file in files:
        try:
            content = load_json(file, Result, AGAIN)
            check_result(content, file)
            results[file] = content | {"settings": settings_of(content)}
        except DataError as error:
            refused.append(f"{file}: {error}")
            say(f"refused: {error}")
    if not results:
        raise DataError(f"all {len(files)} files of {folder} are refused", refused[0])
    names = (*LABELS, *NUMBERS, "settings", "version", "data")
    rows = [
        {name: c.get(name) for name in names}
        | {"flags": ";".join(c["flags"]), "status": "done", "run": str(file)}
        for file, c in results.items()
    ]
    runs = pd.DataFrame(rows)
    several = runs.groupby(list(ROW))["settings"].transform("nunique") > 1
    runs["method"] = runs["method"].where(~several, runs["method"] + " " + runs["settings"])
    mean = runs.groupby([*ROW, "subject"])["top1"].transform("mean")
    runs["mean"] = mean.groupby([runs[name] for name in ROW]).transform("mean")
    ascending = [True] * len(COLUMN) + [False]
    runs = runs.sort_values([*COLUMN, "mean"], ascending=ascending, kind="stable")
    named = runs.set_index("run")[[*LABELS]]
    tables = [
        pd.DataFrame(c["queries"]).assign(concept="", run=str(file), **named.loc[str(file)])
        for file, c in results.items()
    ]
    check_once(runs)
    versions = runs.groupby([*ROW, "subject"])["data"].nunique()
    if (versions > 1).any():
        *_, method, _, subject = versions.idxmax()
        raise DataError(
            f"results of {method}, subject {subject}, are of several versions of the recordings",
            "remove those of one version",
        )
    made = report_of(Results(pd.concat(tables, ignore_index=True), runs))
    own = (part for _, part in runs.groupby(list(COLUMN), sort=False))
    sections = tuple(
        replace(section, tables=(*section.tables[:1], _entries(rows), *section.tables[1:]))
        for section, rows in zip(made.sections, own, strict=True)
    )
    title = "Leaderboard: zero-shot image retrieval"
    return replace(made, title=title, sections=sections), refused


def _entries(runs: pd.DataFrame) -> Table:
    rows = []
    for (method, backbone), own in runs.groupby(["method", "backbone"], sort=False):
        data = sorted({text[:8] or "unknown" for text in own["data"]})
        shown = [sorted(set(own[name])) for name in ("settings", "version")] + [data]
        rows.append((method, backbone, *map(", ".join, shown), str(len(own))))
    head = ("method", "backbone", "settings", "version", "data", "files")
    note = "Rows whose data differ were trained or tested on other versions of the recordings."
    about = "Settings, versions and data of each row."
    return Table("entries", about, head, tuple(rows), (note,), words=5)

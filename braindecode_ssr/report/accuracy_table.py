"""The table of methods: accuracy with its interval, how it was obtained, what was published."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..retrieval.bootstrap import Interval
from ..retrieval.statistics import noise_floor
from .content import MARK, Table, fill, percent
from .published import meaning


def accuracy_table(rows: pd.DataFrame, queries: pd.DataFrame, caption: str) -> Table:
    """One row per method of one dataset, preset, protocol and evaluation, then ceiling and chance.

    Parameters
    ----------
    rows : DataFrame
        Part of the summary with published numbers, in the order of rows.
    queries : DataFrame
        Those behind them.
    caption : str
    """
    sources = [text for text in dict.fromkeys(rows.get("published_source", [])) if text]
    columns = _columns(rows, sources)
    body = [[tell(row) for tell in columns.values()] for row in rows.to_dict("records")]
    head = tuple(columns)
    lines = fill([*body, *_limits(rows)], len(head))
    return Table("accuracy", caption, head, lines, tuple(_notes(rows, queries, sources)), words=2)


def marked(text: str, flags: Any) -> str:
    """A number with the mark behind it, if there are flags."""
    return f"{text} {MARK}" if isinstance(flags, str) and flags else text


def _columns(rows: pd.DataFrame, sources: list[str]) -> dict[str, Any]:
    """Head to what it tells of a row; columns in which nothing would stand are left out."""
    columns: dict[str, Any] = {
        "method": lambda row: marked(row["method"], row["flags"]),
        "backbone": lambda row: row["backbone"],
        "top-1 (%)": lambda row: marked(_with_interval(row, "top1"), row["flags"]),
        "top-5 (%)": lambda row: marked(_with_interval(row, "top5"), row["flags"]),
        "median rank": lambda row: _number(row["median_rank"], "{:.1f}"),
        "subjects": lambda row: _number(row["n_subjects"], "{:.0f}"),
        "seeds": lambda row: _number(row["n_seeds"], "{:.0f}"),
        "gallery": lambda row: f"{row['gallery']}, {_number(row['n_gallery'], '{:.0f}')}",
        "selection": lambda row: row["selection"] if isinstance(row["selection"], str) else "–",
        "trials averaged": _repetitions,
    }
    if rows["flags"].ne("").any():
        columns["flags"] = lambda row: row["flags"].replace(";", ", ") or "–"
    if sources:
        place = {source: f"[{number}]" for number, source in enumerate(sources, 1)}
        on = rows["published_dataset"].dropna().iloc[0]
        columns |= {
            f"published on {on}": _published,
            "published under": _published_under,
            "source": lambda row: place.get(row["published_source"], "–"),
        }
    return columns


def _with_interval(row: dict[str, Any], metric: str) -> str:
    if pd.isna(row[metric]):
        return "failed"
    ends = f"{percent(row[f'{metric}_low'])}, {percent(row[f'{metric}_high'])}"
    return f"{percent(row[metric])} [{ends}]"


def _number(value: Any, form: str) -> str:
    return "–" if pd.isna(value) else form.format(value)


def _repetitions(row: dict[str, Any]) -> str:
    least, most = row["repetitions"], row["repetitions_max"]
    same = pd.isna(most) or least == most
    return _number(least, "{:.0f}") if same else f"{least:.0f} to {most:.0f}"


def _published(row: dict[str, Any]) -> str:
    if pd.isna(row["published_top1"]):
        return "–"
    both = f"{percent(row['published_top1'])} / {percent(row['published_top5'])}"
    return marked(both, row["published_flags"])


def _published_under(row: dict[str, Any]) -> str:
    if pd.isna(row["published_top1"]):
        return "–"
    return row["published_flags"].replace(";", ", ") or "nothing to flag known"


def _limits(rows: pd.DataFrame) -> list[list[str]]:
    """Ceiling, where it is known, and chance, if they are the same for all rows."""
    lines = []
    for name, places in (("ceiling", 1), ("chance", 2)):
        both = rows[[f"{name}_top1", f"{name}_top5"]].dropna()
        if len(both) and (both.max() - both.min() < 1e-3).all():
            top1, top5 = (f"{100 * value:.{places}f}" for value in both.mean())
            lines.append([name, "", top1, top5])
    return lines


def _notes(rows: pd.DataFrame, queries: pd.DataFrame, sources: list[str]) -> list[str]:
    done = rows.dropna(subset=["top1"])
    notes = [_resampled(done), _noise(done)] if len(done) else []
    if _unlike(queries):
        notes.append("Rows rest on different subjects or seeds: their means do not compare.")
    failed = int(rows["n_failed"].sum())
    if failed:
        notes.append(f"{failed} runs failed and are left out; runs.csv says why.")
    flags = [*rows["flags"], *rows.get("published_flags", [])]
    if any(flags):
        notes.append(
            f"{MARK} obtained in a way that makes it no peer of an unmarked number. {meaning(flags)}."
        )
    if sources:
        notes.append(
            "Published: top-1 / top-5 in percent as their authors give them, under their own protocol; "
            "not ours, and not directly comparable. "
            + " ".join(f"[{number}] {source}." for number, source in enumerate(sources, 1))
        )
    return notes


def _unlike(queries: pd.DataFrame) -> bool:
    """Whether some methods were not tested on the same subjects with the same seeds as others."""
    cells = queries[["method", "backbone", "subject", "seed"]].drop_duplicates()
    tested = cells.groupby(["method", "backbone"])[["subject", "seed"]]
    kinds = {frozenset(part.itertuples(index=False, name=None)) for _, part in tested}
    return len(kinds) > 1


def _resampled(done: pd.DataFrame) -> str:
    least = {name: int(done[f"n_{name}"].min()) for name in ("subjects", "seeds", "queries")}
    counts = Interval(0, 0, 0, 0.95, *least.values())
    text = f"Mean over subjects [95 % interval], bootstrap over {', '.join(counts.levels) or 'nothing'}"
    if least["subjects"] == 1:
        return text + ": of one subject, it says nothing about others."
    if least["subjects"] < 5:
        return text + f"; with {least['subjects']} subjects it is rather too narrow."
    return text + "."


def _noise(done: pd.DataFrame) -> str:
    best = done.sort_values("top1").iloc[-1]
    p, n_queries, n_subjects = best["top1"], int(best["n_queries"]), int(best["n_subjects"])
    text = (
        f"Counting hits alone gives a standard error of {percent(noise_floor(p, n_queries))} points"
    )
    text += f" per subject at {percent(p)} %"
    if n_subjects > 1:
        mean = percent(noise_floor(p, n_queries, n_subjects))
        text += f", {mean} for the mean of {n_subjects}, were all queries independent"
    return text + "."

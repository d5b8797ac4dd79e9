"""The table that is printed at the end: means with intervals, published numbers beside, chance, ceiling."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ..methods import METHODS

if TYPE_CHECKING:
    import pandas as pd

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

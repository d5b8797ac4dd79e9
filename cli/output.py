"""What commands print: JSON documents, tables, and the results of runs."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

import click

documents = 0
"""How many JSON documents were printed: an error is one of its own only if there is none."""
stdout: Any = None
"""Where a JSON document goes; with --json, what other libraries print goes to stderr."""


def print_json(content: Any) -> None:
    """One JSON document."""
    global documents
    documents += 1
    click.echo(json.dumps(content, indent=2, default=str), file=stdout)


def print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Rows as one JSON document or as a table."""
    if as_json:
        print_json(rows)
    else:
        print_table(rows)


def print_table(rows: list[dict[str, Any]], indent: str = "") -> None:
    """Rows with the same keys as aligned columns, numbers to the right.

    On a terminal, text wraps within its column, or each row becomes a block of its own where columns would
    get too narrow. Elsewhere each row is one line, however long: for pipes, ``grep`` and tests.
    """
    if not rows:
        return
    names = list(rows[0])
    cells = [[_text(row[name]) for name in names] for row in rows]
    numeric = [all(isinstance(row[name], int | float) for row in rows) for name in names]
    if not fits(rows, indent):
        _print_wrapped(names, cells, numeric, indent, shutil.get_terminal_size().columns)
        return
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    for line in [names, *cells]:
        padded = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ]
        click.echo((indent + "  ".join(padded)).rstrip())


def fits(rows: list[dict[str, Any]], indent: str = "") -> bool:
    """Whether each row is one line of the terminal; anything fits a pipe or a file."""
    if not sys.stdout.isatty():
        return True
    widths = [max(len(name), *(len(_text(row[name])) for row in rows)) for name in rows[0]]
    return len(indent) + sum(widths) + 2 * len(widths) - 2 <= shutil.get_terminal_size().columns


WORD = 20
"""A column of a wrapped table is at least as wide as its longest word, up to this width."""


def _print_wrapped(
    names: list[str], cells: list[list[str]], numeric: list[bool], indent: str, width: int
) -> None:
    """Print cells within the width of the terminal."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(width=width, highlight=False)
    words = [" ".join(column).split() for column in zip(names, *cells, strict=True)]
    least = [min(WORD, max(map(len, column))) for column in words]
    left = (0, 0, 0, len(indent))
    if len(indent) + sum(least) + 2 * len(least) - 2 <= width:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name, column, right in zip(names, least, numeric, strict=True):
            options: dict[str, Any] = {"min_width": column, "overflow": "fold"}
            table.add_column(Text(name), justify="right" if right else "left", **options)
        for row in cells:
            table.add_row(*map(Text, row))
        console.print(Padding(table, left))
        return
    for row in cells:
        block = Table.grid(padding=(0, 2, 0, 0))
        for name, cell in zip(names, row, strict=True):
            if cell:
                block.add_row(Text(name, style="bold"), Text(cell, overflow="fold"))
        console.print(Padding(block, (0, 0, 1, len(indent))))


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


# -- results of a run ----------------------------------------------------------------------------------------


def print_summary(summary: dict[str, Any]) -> None:
    """The results of a run, with how they were obtained."""
    channels = summary["channels"]
    channels = channels if isinstance(channels, str) else f"{len(channels)} channels"
    views = "+".join(summary["views"]) or "originals only"
    parts = ", a part for each subject" if summary.get("subjects") == "own" else ""
    correction = summary["correction"]
    corrected = "" if correction == "none" else f", {correction} correction"
    selected = {
        "last": "last epoch",
        "validation": f"epoch {summary['epoch']}, best on held-out training concepts",
        "oracle": f"epoch {summary['epoch']}, best on this very test",
    }[summary["selection"]]
    click.echo(
        f"{summary['dataset']}, subject {summary['subject']}, {summary['protocol']}-subject, "
        f"{summary['n_gallery']}-way zero-shot retrieval\n"
        f"  trained    {summary['method']}, {summary['backbone']}{parts}, {channels}, "
        f"{summary['encoder']} ({views}), {summary['epochs']} epochs, seed {summary['seed']}\n"
        f"  tested     {summary['n_queries']} queries, {_repetitions(summary)} trials averaged, "
        f"gallery {summary['gallery']}{corrected}, {selected}"
    )
    print_flags([summary])
    click.echo()
    lines = [["", "top-1", "top-5", "median rank", "mean rank", "MRR"]]
    for name, prefix in ((summary["method"], ""), ("ceiling", "ceiling_"), ("chance", "chance_")):
        if f"{prefix}top1" in summary:
            lines.append([name, *(percent(summary[f"{prefix}{k}"]) for k in ("top1", "top5"))])
    lines[1] += [f"{summary[name]:.1f}" for name in ("median_rank", "mean_rank")]
    lines[1] += [f"{summary['mrr']:.3f}"]
    for first, *rest in lines:
        click.echo(f"  {first:<11}" + "".join(f"{cell:>13}" for cell in rest))


def print_evaluations(summaries: list[dict[str, Any]]) -> None:
    """Several evaluations of a run, or of similarities of any program: one row each, flags below."""
    first = summaries[0]
    data = f"{first['dataset']}, subject {first['subject']}"
    scored = "scored_by" in first
    if scored:
        title = f"{first['method']}: {data}, {first['n_queries']} queries, zero-shot retrieval "
        title += "[95 % interval over queries]"
    else:
        title = f"{data}, {first['protocol']}-subject, zero-shot retrieval, {first['method']}, "
        title += f"{first['backbone']}, seed {first['seed']}"
    click.echo(f"{title}\n")
    rows = []
    for one in summaries:
        row = {"evaluation": one["evaluation"]}
        if not scored:
            row["repetitions"] = _repetitions(one)
            row["epoch"] = "-" if one["epoch"] is None else one["epoch"]
        for name, key in (("top-1", "top1"), ("top-5", "top5")):
            row[name] = percent(one[key])
            if scored:
                row[name] += f" [{100 * one[f'{key}_low']:.1f}, {100 * one[f'{key}_high']:.1f}]"
        row |= {"median rank": f"{one['median_rank']:.1f}", "MRR": f"{one['mrr']:.3f}"}
        if scored:
            row["candidates"] = one["n_gallery"]
        else:
            row["ceiling"] = percent(one["ceiling_top1"]) if "ceiling_top1" in one else "-"
        row |= {"chance": percent(one["chance_top1"]), "flags": ", ".join(one["flags"]) or "-"}
        rows.append(row)
    print_table(rows)
    print_flags(summaries)


def print_flags(summaries: list[dict[str, Any]]) -> None:
    """What flags mean, one line each."""
    from braindecode_ssr.retrieval.evaluations import FLAGS

    flags = {flag for summary in summaries for flag in summary["flags"]}
    for flag in filter(flags.__contains__, FLAGS):
        click.echo(f"  ! {flag}: {FLAGS[flag]}")


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _repetitions(summary: dict[str, Any]) -> str:
    fewest, most = summary["repetitions"], summary["repetitions_max"]
    return str(fewest) if fewest == most else f"{fewest} to {most}"

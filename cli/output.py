"""What commands print: progress on stderr; JSON, tables and the results of runs on stdout."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import time
from typing import Any

import click

# -- progress ------------------------------------------------------------------------------------------------

START = time.perf_counter()


def _volume() -> dict[str, bool]:
    """``quiet`` and ``verbose``, as asked for."""
    context = click.get_current_context(silent=True)
    return context.find_root().meta if context else {}


def _set_volume(context: click.Context, option: click.Parameter, value: bool) -> None:
    if value:
        context.find_root().meta[str(option.name)] = True
        if option.name == "verbose":
            logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")


def volume(function: Any) -> Any:
    """-q and -v."""
    options: dict[str, Any] = {"is_flag": True, "expose_value": False, "callback": _set_volume}
    quiet = click.option("-q", "--quiet", help="Print results and errors only.", **options)
    told = "Print the seconds of each step, and what other libraries log."
    return quiet(click.option("-v", "--verbose", help=told, **options)(function))


def say(text: str) -> None:
    """Print a line of progress on stderr."""
    asked = _volume()
    if not asked.get("quiet"):
        since = f"{time.perf_counter() - START:7.1f} s  " if asked.get("verbose") else ""
        click.echo(since + text, err=True)


def show_bars() -> bool:
    """Whether to show progress bars: only if stderr is a terminal, and not with -q."""
    return sys.stderr.isatty() and not _volume().get("quiet")


# -- results -------------------------------------------------------------------------------------------------

documents = 0
"""How many JSON documents were printed: an error is one of its own only if there is none."""


def print_json(content: Any) -> None:
    """One JSON document."""
    global documents
    documents += 1
    click.echo(json.dumps(content, indent=2, default=str))


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
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    terminal = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if terminal and len(indent) + sum(widths) + 2 * len(widths) - 2 > terminal:
        _print_wrapped(names, cells, numeric, indent, terminal)
        return
    for line in [names, *cells]:
        padded = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ]
        click.echo((indent + "  ".join(padded)).rstrip())


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
            lines.append([name, *(_percent(summary[f"{prefix}{k}"]) for k in ("top1", "top5"))])
    lines[1] += [f"{summary[name]:.1f}" for name in ("median_rank", "mean_rank")]
    lines[1] += [f"{summary['mrr']:.3f}"]
    for first, *rest in lines:
        click.echo(f"  {first:<11}" + "".join(f"{cell:>13}" for cell in rest))


def print_evaluations(summaries: list[dict[str, Any]]) -> None:
    """A run that was evaluated in several ways: one row each, flags below."""
    first = summaries[0]
    click.echo(
        f"{first['dataset']}, subject {first['subject']}, {first['protocol']}-subject, zero-shot "
        f"retrieval, {first['method']}, {first['backbone']}, seed {first['seed']}\n"
    )
    print_table(
        [
            {
                "evaluation": summary["evaluation"],
                "repetitions": _repetitions(summary),
                "epoch": "-" if summary["epoch"] is None else summary["epoch"],
                "top-1": _percent(summary["top1"]),
                "top-5": _percent(summary["top5"]),
                "median rank": f"{summary['median_rank']:.1f}",
                "MRR": f"{summary['mrr']:.3f}",
                "ceiling": _percent(summary["ceiling_top1"]) if "ceiling_top1" in summary else "-",
                "chance": _percent(summary["chance_top1"]),
                "flags": ", ".join(summary["flags"]) or "-",
            }
            for summary in summaries
        ]
    )
    print_flags(summaries)


def print_flags(summaries: list[dict[str, Any]]) -> None:
    """What flags mean, one line each."""
    from braindecode_ssr.retrieval.evaluations import FLAGS

    flags = {flag for summary in summaries for flag in summary["flags"]}
    for flag in (known for known in FLAGS if known in flags):
        click.echo(f"  ! {flag}: {FLAGS[flag]}")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _repetitions(summary: dict[str, Any]) -> str:
    fewest, most = summary["repetitions"], summary["repetitions_max"]
    return str(fewest) if fewest == most else f"{fewest} to {most}"


def print_scored(summaries: list[dict[str, Any]]) -> None:
    """Results that come from no run, one row for each evaluation."""
    first = summaries[0]
    click.echo(
        f"{first['method']}: {first['dataset']}, subject {first['subject']}, "
        f"{first['n_queries']} queries, zero-shot retrieval [95 % interval over queries]\n"
    )
    rows = []
    for one in summaries:
        accuracy = {
            f"top-{k}": f"{_percent(one[f'top{k}'])} "
            f"[{100 * one[f'top{k}_low']:.1f}, {100 * one[f'top{k}_high']:.1f}]"
            for k in (1, 5)
        }
        rows.append(
            {
                "evaluation": one["evaluation"],
                **accuracy,
                "median rank": f"{one['median_rank']:.1f}",
                "MRR": f"{one['mrr']:.3f}",
                "candidates": one["n_gallery"],
                "chance": _percent(one["chance_top1"]),
                "flags": ", ".join(one["flags"]) or "-",
            }
        )
    print_table(rows)
    print_flags(summaries)

"""What commands print: JSON documents and tables."""

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
    global documents
    documents += 1
    click.echo(json.dumps(content, indent=2, default=str), file=stdout)


def print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
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

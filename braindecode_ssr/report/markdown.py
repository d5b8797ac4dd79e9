"""A report as Markdown, aligned so that it reads well in a terminal too."""

from __future__ import annotations

import re

from .content import Report, Table


def markdown(report: Report) -> str:
    """The report as GitHub-flavoured Markdown."""
    parts = [f"# {escape(report.title)}"]
    for section in report.sections:
        parts.append(f"## {escape(section.title)}")
        for table in section.tables:
            parts += [f"**{escape(table.caption)}**", markdown_table(table)]
            parts += ["\n".join(f"- {escape(note)}" for note in table.notes)] if table.notes else []
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table) -> str:
    """One table."""
    lines = [[escape(cell) for cell in row] for row in (table.head, *table.rows)]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(table.head))]
    text = [_line(line, widths, table.words) for line in lines]
    rule = [
        "-" * width if place < table.words else "-" * (width - 1) + ":"
        for place, width in enumerate(widths)
    ]
    return "\n".join([text[0], _line(rule, widths, table.words), *text[1:]])


def escape(text: str) -> str:
    """Text in which nothing is taken for Markdown or HTML."""
    return re.sub(r"([\\`*_|<>])", r"\\\1", " ".join(text.split()))


def _line(cells: list[str], widths: list[int], words: int) -> str:
    padded = [
        cell.ljust(width) if place < words else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"

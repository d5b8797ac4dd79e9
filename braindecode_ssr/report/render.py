"""What a report holds before it is written in a format."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape as escape_html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..errors import UsageError
from ..files import atomic_write, unwritable
from ..registry import unknown_name

if TYPE_CHECKING:
    from .figures import Picture


MARK = "†"
"""Stands behind every number that was obtained in a way a reader must know of."""


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Parameters
    ----------
    name : str
        For labels and files: ``accuracy``, ``top1``, ``tests``.
    caption : str
    head : tuple of str
    rows : tuple of tuple of str
    notes : tuple of str
        Lines below it.
    words : int
        How many columns from the left hold words; numbers of the others go to the right.
    """

    name: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    words: int = 1


@dataclass(frozen=True)
class Section:
    """All tables of one dataset, preset, protocol and evaluation.

    Parameters
    ----------
    title : str
    tables : tuple of Table
    """

    title: str
    tables: tuple[Table, ...]


@dataclass(frozen=True, eq=False)
class Report:
    """What was found, for people and for machines.

    Parameters
    ----------
    title : str
    sections : tuple of Section
    summary, subjects, tests : DataFrame
        The same as tidy tables; accuracies are fractions.
    """

    title: str
    sections: tuple[Section, ...]
    summary: pd.DataFrame
    subjects: pd.DataFrame = field(default_factory=pd.DataFrame)
    tests: pd.DataFrame = field(default_factory=pd.DataFrame)

    def as_json(self) -> dict[str, Any]:
        """The tidy tables as lists of rows; what is not known is None."""
        tables = {"summary": self.summary, "subjects": self.subjects, "tests": self.tests}
        return {name: _records(table) for name, table in tables.items()}


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return table.astype(object).where(table.notna(), None).to_dict("records")


def percent(fraction: float) -> str:
    """``"32.5"``; a dash where there is no number."""
    return "–" if pd.isna(fraction) else f"{round(100 * fraction, 9):.1f}"


def fill(rows: list[list[str]], width: int) -> tuple[tuple[str, ...], ...]:
    """Rows of one length, filled with empty texts."""
    return tuple((*row, *([""] * (width - len(row)))) for row in rows)


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
figure { margin: 1.5rem 0; overflow-x: auto; }
table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; font-size: .9rem; }
caption, figcaption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
th, td { padding: .25rem .7rem; text-align: right; white-space: nowrap;
         font-variant-numeric: tabular-nums; }
th.word, td.word { text-align: left; }
thead { border-bottom: 1px solid; }
.marked { color: #8a3b00; }
.notes { font-size: .85rem; color: #444; max-width: 60rem; }
img { max-width: 100%; height: auto; }
"""


def html(report: Report, pictures: tuple[Picture, ...] = ()) -> str:
    """The report as a page; pictures are held inside it.

    Parameters
    ----------
    report : Report
    pictures : tuple of Picture
    """
    title = escape_html(report.title)
    parts = [f"<h1>{title}</h1>"]
    for section in report.sections:
        parts.append(f"<h2>{escape_html(section.title)}</h2>")
        parts += [html_table(table) for table in section.tables]
    if pictures:
        parts += ["<h2>Pictures</h2>", *map(_figure, pictures)]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def html_table(table: Table) -> str:
    """One table with its notes."""
    head = _row("th", table.head, table.words)
    body = "\n".join(_row("td", row, table.words) for row in table.rows)
    notes = "".join(f"<p>{escape_html(note)}</p>" for note in table.notes)
    return (
        f"<figure><table>\n<caption>{escape_html(table.caption)}</caption>\n<thead>\n{head}\n</thead>\n"
        f'<tbody>\n{body}\n</tbody>\n</table>\n<div class="notes">{notes}</div></figure>'
    )


def _row(tag: str, cells: tuple[str, ...], words: int) -> str:
    told = []
    for place, cell in enumerate(cells):
        names = ["word"] * (place < words) + ["marked"] * (MARK in cell)
        kind = f' class="{" ".join(names)}"' if names else ""
        told.append(f"<{tag}{kind}>{escape_html(cell)}</{tag}>")
    return f"<tr>{''.join(told)}</tr>"


def _figure(picture: Picture) -> str:
    content = b64encode(picture.png()).decode()
    caption = escape_html(picture.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{content}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


NEEDS = r"% Needs \usepackage{booktabs,graphicx} in the preamble."
SPECIAL = {
    "\\": r"\textbackslash{}",
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    MARK: r"\textsuperscript{\textdagger}",
    "±": r"\(\pm\)",
    "[": "{[}",  # after \\ a bracket would be a length
    "]": "{]}",
}
WIDE = 8  # columns that still fit a page at its own size


def latex(report: Report) -> str:
    """All tables of the report, each a float with a label."""
    parts = [NEEDS]
    for number, section in enumerate(report.sections, 1):
        parts.append(f"% {' '.join(section.title.split())}")
        parts += [latex_table(table, f"tab:{table.name}-{number}") for table in section.tables]
    return "\n\n".join(parts) + "\n"


def latex_table(table: Table, label: str) -> str:
    """One table as a float."""
    columns = "l" * table.words + "r" * (len(table.head) - table.words)
    lines = [" & ".join(map(escape_latex, row)) + r" \\" for row in table.rows]
    tabular = "\n".join(
        [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(escape_latex, table.head)) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )
    if len(table.head) > WIDE:
        tabular = "\\resizebox{\\linewidth}{!}{%\n" + tabular + "}"
    notes = "\n\n".join(escape_latex(note) for note in table.notes)
    below = rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {notes}}}" if notes else "%"
    return "\n".join(
        [
            r"\begin{table}[tp]",
            r"\centering",
            rf"\caption{{{escape_latex(table.caption)}}}",
            rf"\label{{{re.sub(r'[^a-z0-9:-]', '', label)}}}",
            tabular,
            below,
            r"\end{table}",
        ]
    )


def escape_latex(text: str) -> str:
    """Text in which nothing is taken for a command."""
    return "".join(SPECIAL.get(sign, sign) for sign in " ".join(text.split()))


def markdown(report: Report) -> str:
    """The report as GitHub-flavoured Markdown."""
    parts = [f"# {escape_markdown(report.title)}"]
    for section in report.sections:
        parts.append(f"## {escape_markdown(section.title)}")
        for table in section.tables:
            parts += [f"**{escape_markdown(table.caption)}**", markdown_table(table)]
            parts += (
                ["\n".join(f"- {escape_markdown(note)}" for note in table.notes)]
                if table.notes
                else []
            )
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table) -> str:
    """One table."""
    lines = [[escape_markdown(cell) for cell in row] for row in (table.head, *table.rows)]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(table.head))]
    text = [_line(line, widths, table.words) for line in lines]
    rule = [
        "-" * width if place < table.words else "-" * (width - 1) + ":"
        for place, width in enumerate(widths)
    ]
    return "\n".join([text[0], _line(rule, widths, table.words), *text[1:]])


def escape_markdown(text: str) -> str:
    """Text in which nothing is taken for Markdown or HTML."""
    return re.sub(r"([\\`*_|<>])", r"\\\1", " ".join(text.split()))


def _line(cells: list[str], widths: list[int], words: int) -> str:
    padded = [
        cell.ljust(width) if place < words else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"


FORMATS = ("md", "csv", "latex", "html")


def as_text(report: Report, form: str, pictures: tuple[Picture, ...] = ()) -> str:
    """The report in a format; pictures are part of HTML only.

    Parameters
    ----------
    report : Report
    form : {"md", "csv", "latex", "html"}
    pictures : tuple of Picture

    Raises
    ------
    UsageError
        If the format is none of these.
    """
    if form not in FORMATS:
        raise unknown_name("format of a report", form, list(FORMATS))
    if form == "html":
        return html(report, pictures)
    if form == "csv":
        return report.summary.to_csv(index=False)
    return {"md": markdown, "latex": latex}[form](report)


def check_places(form: str, out: Path | None, plots: bool) -> None:
    """Raise UsageError if pictures are asked for and have no place."""
    if plots and out is None and form != "html":
        raise UsageError(
            "a folder for pictures",
            f"--plots with --format {form} and no --out",
            "add --out DIR, or take --format html, which holds them itself",
        )


def write_report(
    report: Report, form: str, out: Path, pictures: tuple[Picture, ...] = ()
) -> list[Path]:
    """Write the report and its pictures into a folder, each file at once or not at all.

    Returns
    -------
    list of Path
        What was written: ``report.md``, ``report.tex``, ``report.html``, or as CSV ``summary.csv``,
        ``subjects.csv`` and ``tests.csv``; pictures as PNG and PDF.

    Raises
    ------
    DataError
        If the folder cannot be written.
    """
    texts = _files(report, form, pictures)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(out, error) from error
    for name, text in texts.items():
        atomic_write(out / name, text)
    drawn = [path for picture in pictures for path in picture.write(out)]
    return [*(out / name for name in texts), *drawn]


def _files(report: Report, form: str, pictures: Iterable[Picture]) -> dict[str, str]:
    text = as_text(report, form, tuple(pictures))
    if form != "csv":
        return {f"report.{'tex' if form == 'latex' else form}": text}
    more = {"subjects.csv": report.subjects, "tests.csv": report.tests}
    return {"summary.csv": text} | {
        name: table.to_csv(index=False) for name, table in more.items() if len(table)
    }

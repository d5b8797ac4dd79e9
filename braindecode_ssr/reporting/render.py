"""The content of a report, and the formats in which it is written."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pandas as pd

from ..errors import SSRError, UsageError
from ..files import atomic_write
from ..registry import check_name

if TYPE_CHECKING:
    from ..datasets.base import ImageDataset
    from .run_figures import Picture


MARK = "†"
"""Follows every number whose flags a reader must know."""


@dataclass(frozen=True)
class Table:
    """A table of texts; the numbers right of the first ``words`` columns are aligned right.

    Sorting leaves the last ``limits`` rows, such as ceiling and chance, where they are.
    """

    name: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    words: int = 1
    limits: int = 0


@dataclass(frozen=True)
class Section:
    """All tables of one dataset, preset, protocol and evaluation."""

    title: str
    tables: tuple[Table, ...]


@dataclass(frozen=True, eq=False)
class Report:
    """Results as tables for people, and as tidy tables with accuracies as fractions."""

    title: str
    sections: tuple[Section, ...]
    summary: pd.DataFrame
    subjects: pd.DataFrame = field(default_factory=pd.DataFrame)
    tests: pd.DataFrame = field(default_factory=pd.DataFrame)
    pictures: tuple[Picture, ...] = ()
    grids: tuple[Grid, ...] = ()
    files: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return markdown(self)

    def _repr_html_(self) -> str:
        return notebook_html([table for section in self.sections for table in section.tables])

    def as_json(self) -> dict[str, Any]:
        """The tidy tables as lists of rows; unknown values are None."""
        tables = {"summary": self.summary, "subjects": self.subjects, "tests": self.tests}
        return {
            name: table.astype(object).where(table.notna(), None).to_dict("records")
            for name, table in tables.items()
        }


def percent(fraction: float) -> str:
    """``"32.5"``; a dash where there is no number."""
    return "–" if pd.isna(fraction) else f"{round(100 * fraction, 9):.1f}"


def notebook_html(tables: Iterable[Table]) -> str:
    from tabulate import tabulate

    return "".join(
        f"<p><b>{escape(table.caption)}</b></p>"
        + tabulate(table.rows, table.head, tablefmt="html", disable_numparse=True)
        + "".join(f"<p>{escape(note)}</p>" for note in table.notes)
        for table in tables
    )


# -- formats -------------------------------------------------------------------------------------------------


def html(report: Report) -> str:
    """The report as one page that holds its figures."""
    return _filled("report.html", report=report, mark=MARK)


def _filled(name: str, **values: Any) -> str:
    from jinja2 import Environment, PackageLoader

    loader = PackageLoader(__package__, "")
    options: dict[str, Any] = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    return Environment(loader=loader, **options).get_template(name).render(**values) + "\n"


@dataclass(frozen=True)
class Grid:
    """Seen images and the nearest ones, for a page: see :func:`shown` for what is known of each query.

    ``named`` says whether it is known what was seen.
    """

    title: str
    queries: list[dict[str, Any]]
    top: int
    named: bool = True


def shown(
    row: dict[str, Any], seen: str | None, link: Callable[[str], str]
) -> list[dict[str, Any]]:
    """Name, source (empty: not shown) and score of each of the nearest images, and which is the right one."""
    tops = [name for name in row if name.startswith("top_")]
    return [
        {
            "name": row[name],
            "source": link(row[name]),
            "right": row[name] == seen,
            "note": f"{row[score]:.3f}" if (score := name.replace("top", "score")) in row else "",
        }
        for name in tops
    ]


def image_links(
    images: ImageDataset | None, folder: Path | None, *, embed: bool = False
) -> Callable[[str], str]:
    """A function that gives the source of an image in a page, empty if the image is not here.

    ``folder`` is where the page will be (None: it is printed). ``embed`` puts small copies into the page
    instead of linking the files; images that are not files, such as simulated ones, are always copied.
    """

    @cache
    def link(image_id: str) -> str:
        if images is None:
            return ""
        try:
            file = images.image_source(image_id)
            if file is not None and not embed:
                if folder is None:
                    return file.absolute().as_uri()
                relative = os.path.relpath(file.absolute(), folder.absolute())
                return quote(Path(relative).as_posix())
            picture = images.image(image_id)
        except SSRError:
            return ""
        content = BytesIO()
        picture.thumbnail((160, 160))
        picture.save(content, "JPEG")
        return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"

    return link


def retrieval_page(
    table: pd.DataFrame,
    images: ImageDataset,
    page: Path,
    title: str,
    lines: Iterable[str] = (),
    *,
    embed: bool = False,
) -> None:
    """Write a page with the image that was seen, if known, beside the nearest; the right one is framed."""
    link, known = image_links(images, page.parent, embed=embed), set(images.images["image_id"])
    title = title.replace(" %", "\N{NO-BREAK SPACE}%")
    queries = []
    for number, row in enumerate(table.to_dict("records"), 1):
        seen = row["image"]
        rank = f"rank {row['rank']}, " if "rank" in row else ""
        queries.append(
            {
                "name": seen or f"trial {number}",
                "source": link(seen) if seen in known else "",
                "note": f"{rank}{row['n_trials']} trials",
                "nearest": shown(row, seen, link),
            }
        )
    top = sum(name.startswith("top_") for name in table)
    grid = Grid(title, queries, top, named=bool(table["image"].notna().any()))
    content = _filled("retrieval.html", title=title, lines=list(lines), grid=grid)
    atomic_write(page, content, "--html")


def markdown(report: Report) -> str:
    parts = [f"# {escape_markdown(report.title)}"]
    for section in report.sections:
        parts.append(f"## {escape_markdown(section.title)}")
        for table in section.tables:
            parts += [f"**{escape_markdown(table.caption)}**", markdown_table(table)]
            if table.notes:
                parts.append("\n".join(f"- {escape_markdown(note)}" for note in table.notes))
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table) -> str:
    from tabulate import tabulate

    head, *rows = ([escape_markdown(cell) for cell in row] for row in (table.head, *table.rows))
    align = ["left"] * table.words + ["right"] * (len(head) - table.words)
    return tabulate(rows, head, tablefmt="pipe", disable_numparse=True, colalign=align)


def escape_markdown(text: str) -> str:
    return re.sub(r"([\\`*_|<>])", r"\\\1", " ".join(text.split()))


WIDE = 8  # columns that still fit a page at its own size
LATEX = {
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


def latex(report: Report) -> str:
    parts = [r"% Needs \usepackage{booktabs,graphicx} in the preamble."]
    for number, section in enumerate(report.sections, 1):
        parts.append(f"% {' '.join(section.title.split())}")
        parts += [latex_table(table, f"tab:{table.name}-{number}") for table in section.tables]
    return "\n\n".join(parts) + "\n"


def latex_table(table: Table, label: str) -> str:
    frame = pd.DataFrame(table.rows, columns=list(table.head), dtype=object)
    style = frame.style.hide(axis="index").format(escape_latex).format_index(escape_latex, axis=1)
    text = style.to_latex(
        column_format="l" * table.words + "r" * (len(table.head) - table.words),
        hrules=True,
        position="tp",
        position_float="centering",
        caption=escape_latex(table.caption),
        label=re.sub(r"[^a-z0-9:-]", "", label),
    )
    if len(table.head) > WIDE:
        start, end = r"\begin{tabular}", r"\end{tabular}"
        text = text.replace(start, "\\resizebox{\\linewidth}{!}{%\n" + start)
        text = text.replace(end, end + "}")
    if table.notes:
        notes = "\n\n".join(escape_latex(note) for note in table.notes)
        below = rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {notes}}}"
        text = text.replace(r"\end{table}", below + "\n" + r"\end{table}")
    return text.rstrip("\n")


def escape_latex(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in " ".join(text.split()))


FORMATS = ("md", "csv", "latex", "html")


def as_text(report: Report, form: str) -> str:
    """The report as ``"md"``, ``"csv"``, ``"latex"`` or ``"html"``; only HTML shows pictures and grids."""
    check_name("format of a report", form, FORMATS)
    if form == "csv":
        return report.summary.to_csv(index=False)
    if form == "html":
        return html(report)
    return markdown(report) if form == "md" else latex(report)


def check_places(form: str, out: Path | None, plots: bool, embed: bool = False) -> None:
    """Raise UsageError if figures are asked for and there is no place for them."""
    if embed and not plots:
        raise UsageError("--embed-images is about figures, which are not asked for", "add --plots")
    if plots and out is None and form != "html":
        raise UsageError(
            f"the figures of a {form} report need a folder",
            "add --out DIR, or use --format html, which holds them itself",
        )


def write_report(report: Report, form: str, out: Path) -> list[Path]:
    """Write the report and its figures (PNG and PDF) into a folder, each file whole or not at all."""
    text = as_text(report, form)
    texts = {f"report.{'tex' if form == 'latex' else form}": text}
    if form == "csv":
        texts = {"summary.csv": text}
        for name, table in (("subjects.csv", report.subjects), ("tests.csv", report.tests)):
            if len(table):
                texts[name] = table.to_csv(index=False)
    for name, content in texts.items():
        atomic_write(out / name, content)
    drawn = [path for picture in report.pictures for path in picture.write(out)]
    return [*(out / name for name in texts), *drawn]

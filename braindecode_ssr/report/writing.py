"""A report in a format, as text or in a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..files import atomic_write, unwritable
from ..registry import unknown_name
from .content import Report
from .html import html
from .latex import latex
from .markdown import markdown

if TYPE_CHECKING:
    from .pictures.picture import Picture

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

"""A report as one HTML file that needs nothing else: no script, no font, no picture beside it."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING

from .content import MARK, Report, Table

if TYPE_CHECKING:
    from .pictures.picture import Picture

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
    title = escape(report.title)
    parts = [f"<h1>{title}</h1>"]
    for section in report.sections:
        parts.append(f"<h2>{escape(section.title)}</h2>")
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
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    return (
        f"<figure><table>\n<caption>{escape(table.caption)}</caption>\n<thead>\n{head}\n</thead>\n"
        f'<tbody>\n{body}\n</tbody>\n</table>\n<div class="notes">{notes}</div></figure>'
    )


def _row(tag: str, cells: tuple[str, ...], words: int) -> str:
    told = []
    for place, cell in enumerate(cells):
        names = ["word"] * (place < words) + ["marked"] * (MARK in cell)
        kind = f' class="{" ".join(names)}"' if names else ""
        told.append(f"<{tag}{kind}>{escape(cell)}</{tag}>")
    return f"<tr>{''.join(told)}</tr>"


def _figure(picture: Picture) -> str:
    content = b64encode(picture.png()).decode()
    caption = escape(picture.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{content}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )

r"""A report as LaTeX: tables with booktabs, to be taken into a paper by ``\input``."""

from __future__ import annotations

import re

from .content import MARK, Report, Table

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
    lines = [" & ".join(map(escape, row)) + r" \\" for row in table.rows]
    tabular = "\n".join(
        [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(escape, table.head)) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )
    if len(table.head) > WIDE:
        tabular = "\\resizebox{\\linewidth}{!}{%\n" + tabular + "}"
    notes = "\n\n".join(escape(note) for note in table.notes)
    below = rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {notes}}}" if notes else "%"
    return "\n".join(
        [
            r"\begin{table}[tp]",
            r"\centering",
            rf"\caption{{{escape(table.caption)}}}",
            rf"\label{{{re.sub(r'[^a-z0-9:-]', '', label)}}}",
            tabular,
            below,
            r"\end{table}",
        ]
    )


def escape(text: str) -> str:
    """Text in which nothing is taken for a command."""
    return "".join(SPECIAL.get(sign, sign) for sign in " ".join(text.split()))

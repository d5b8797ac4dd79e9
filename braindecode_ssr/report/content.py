"""What a report holds before it is written in a format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

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

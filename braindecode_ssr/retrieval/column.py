"""What makes numbers comparable: one dataset, preset, protocol and evaluation, one column."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ..errors import DataError

COLUMN = ("dataset", "preset", "protocol", "evaluation")
"""What all numbers of a column have in common."""

ROW = (*COLUMN, "method", "backbone")
"""What all runs behind one number have in common."""


def check_one(table: pd.DataFrame, names: Sequence[str], what: str) -> None:
    """Raise if rows differ where they must not; a name that the table lacks is the same everywhere.

    Parameters
    ----------
    table : DataFrame
    names : sequence of str
        Columns with one value each.
    what : str
        What the rows are to be, for the message.

    Raises
    ------
    DataError
        If there are no rows, or rows of several kinds.
    """
    if not len(table):
        raise DataError(what, "no rows", "finish a run first, with `ssr-bd train` or `benchmark`")
    present = [name for name in names if name in table]
    kinds = table[present].drop_duplicates()
    if present and len(kinds) > 1:
        first, second = (_told(kinds.iloc[place], kinds) for place in (0, 1))
        raise DataError(
            what,
            f"{len(kinds)} kinds, such as {first} and {second}",
            f"take one of them: they differ in {', '.join(_differing(kinds))}",
        )


def labels_of_methods(table: pd.DataFrame) -> pd.Series:
    """The method of each row, with its backbone where a method has several.

    Parameters
    ----------
    table : DataFrame
        With ``method`` and, perhaps, ``backbone``.
    """
    if "backbone" not in table:
        return table["method"]
    several = table.groupby("method")["backbone"].transform("nunique") > 1
    named = table["method"] + " (" + table["backbone"].fillna("") + ")"
    return table["method"].where(~several, named)


def _differing(kinds: pd.DataFrame) -> list[str]:
    return [name for name in kinds if kinds[name].nunique(dropna=False) > 1]


def _told(row: pd.Series, kinds: pd.DataFrame) -> str:
    return " ".join(f"{name} {row[name]!r}" for name in _differing(kinds))

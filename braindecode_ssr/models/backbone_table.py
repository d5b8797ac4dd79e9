"""What every backbone can do, as measured; reading it imports no model."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from . import BACKBONES
from .dotted_path import as_dotted, is_path

TABLE = Path(__file__).with_name("backbone_table.csv")

# Channels and samples of the trials that the table was made with.
SHAPES = ((17, 250), (63, 250), (271, 201))


def shape_name(n_chans: int, n_times: int) -> str:
    """How a shape is called in the table: ``"17x250"``."""
    return f"{n_chans}x{n_times}"


COLUMNS = (
    "name",
    "origin",
    *(shape_name(*shape) for shape in SHAPES),
    "feature_point",
    "width",
    "parameters",
    "step_ms",
    "needs",
    "adjusted",
    "reason",
)

_WHOLE = ("width", "parameters", "step_ms")


@cache
def backbone_rows() -> tuple[dict[str, str | int | None], ...]:
    """The rows of ``backbone_table.csv``, ours first.

    Returns
    -------
    tuple of dict
        ``name``; ``origin``; ``17x250``, ``63x250``, ``271x201``: ``"yes"`` or ``"no"``; ``feature_point``
        (``"embedding"`` or ``"head"``), ``width``, ``parameters`` of the encoder and ``step_ms``
        (milliseconds of one step with 8 trials on one processor core), all at the first shape that works;
        ``needs``; ``adjusted`` parameters; ``reason`` why not.
    """
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(_typed(row) for row in csv.DictReader(file))


def backbone_name(name: str) -> str:
    """A backbone's name as it is registered, so that ``eegnet`` and ``EEGNet`` are one run.

    Ours and those of the table are known without an import; for others braindecode is asked. ``"auto"``,
    ``"linear"`` (of closed forms) and dotted paths stay as they are.

    Raises
    ------
    UsageError
        If there is no such backbone.
    """
    plain = name.lower().replace("-", "").replace("_", "")
    if is_path(name):
        return as_dotted(name)
    if plain in ("auto", "linear"):
        return plain
    if name in BACKBONES:
        return BACKBONES.name_of(name)
    for row in backbone_rows():
        if str(row["name"]).lower().replace("_", "") == plain:
            return str(row["name"])
    from .backbone import named_model

    return named_model(name)


def _typed(row: dict[str, str]) -> dict[str, str | int | None]:
    return {**row, **{key: int(float(row[key])) if row[key] else None for key in _WHOLE}}

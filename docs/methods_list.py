"""Writes the generated parts of the pages on methods and backbones: ``python docs/methods_list.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import TextWrapper

from braindecode_ssr.models.names import SHAPES, backbone_rows, shape_name
from braindecode_ssr_cli.catalog import catalogue

HERE = Path(__file__).parent
CELLS = [(data, way) for data in ("things-eeg", "things-meg") for way in ("intra", "inter")]


def text() -> str:
    """Two tables, and a section for each method."""
    rows = catalogue("methods")
    parts = [table(recipe(rows)), PUBLISHED, table(published(rows))]
    return "\n".join([*parts, *(section(row) for row in rows)])


def recipe(rows: list[dict]) -> list[list[str]]:
    """The recipe of each method."""
    head = ["name", "venue", "backbone", "parameters, EEG", "loss"]
    return [head, *([*map(cell, _made_of(row))] for row in rows)]


def _made_of(row: dict) -> Iterator[str]:
    counts = [f"{count / 1e6:.2f} M" for count in row["parameters"].get("things-eeg", {}).values()]
    yield f"``{row['name']}``"
    yield row["venue"]
    yield row["backbone"]
    yield ", inter ".join(dict.fromkeys(counts))
    yield row["loss"]


PUBLISHED = """
Published numbers, mean top-1 / top-5 in percent among 200 images, each under its own evaluation. ``flags``
says what that evaluation did that a default run does not; see :doc:`evaluations`.
"""


def published(rows: list[dict]) -> list[list[str]]:
    """The numbers of the literature and their flags."""
    head = ["name", "EEG intra", "EEG inter", "MEG intra", "MEG inter", "seeds", "flags"]
    return [head, *([*map(cell, _numbers(row))] for row in rows if row["published"])]


def _numbers(row: dict) -> Iterator[str]:
    yield f"``{row['name']}``"
    for data, way in CELLS:
        found = row["published"].get(data, {}).get(way)
        yield f"{found[0]} / {found[1]}" if found else ""
    yield str(row["seeds"] or "")
    yield row["flags"].replace(";", ", ")


def section(row: dict) -> str:
    """Citation, image features, differences, and traps of the public code."""
    encoder = row["encoder"].replace("open-clip:", "").replace("+", " + ")
    about = (
        f"``--method {row['name']}``. Image encoder: {encoder}; views: {row['views'].replace('+', ', ')}. "
        f"Source: {row['citation']}."
    )
    lines = [row["title"], "~" * len(row["title"]), "", fill(about, 118)]
    if row["known_to_differ"]:
        lines += ["", "What differs:", "", *map(bullet, row["known_to_differ"])]
    if row["traps"]:
        lines += ["", "In the public code or text, and not copied unless noted:", ""]
        lines += map(bullet, row["traps"])
    return "\n".join(["", *lines, ""])


def fill(text: str, width: int, subsequent_indent: str = "") -> str:
    """Text in lines, broken at spaces only."""
    wrapper = TextWrapper(width, subsequent_indent=subsequent_indent)
    wrapper.break_long_words = wrapper.break_on_hyphens = False
    return wrapper.fill(text)


def bullet(text: str) -> str:
    """An item of a list, with asterisks and underscores escaped for Sphinx."""
    return fill(f"- {text}".replace("*", r"\*").replace("_", r"\_"), 118, subsequent_indent="  ")


def cell(text: str) -> str:
    """Text of a table's cell."""
    return text or "\\ "


def table(rows: list[list[str]]) -> str:
    """A simple table of reStructuredText."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule, ""])


def backbones() -> str:
    """The measured backbones: a table, and a line for each that needs something or does not work."""
    rows = backbone_rows()
    shapes = [shape_name(*shape) for shape in SHAPES]
    columns = [*shapes, "feature_point", "width", "parameters", "step_ms"]
    cells = [[f"``{row['name']}``", *(str(row[c] or "") for c in columns)] for row in rows]
    lines = [table([["name", *columns], *([*map(cell, line)] for line in cells)])]
    for row in rows:
        notes = {"needs": row["needs"], "adjusted": row["adjusted"], "does not work": row["reason"]}
        said = "; ".join(f"{key}: {note}" for key, note in notes.items() if note)
        if said:
            lines.append(bullet(f"{row['name']}. {said[0].upper()}{said[1:]}."))
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    (HERE / "methods_list.inc").write_text(text(), encoding="utf-8")
    (HERE / "backbones_list.inc").write_text(backbones(), encoding="utf-8")

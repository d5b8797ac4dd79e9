"""The part of the page on methods that comes from their files: ``python docs/methods_list.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from braindecode_ssr_cli.info import catalogue

PAGE = Path(__file__).with_name("methods_list.inc")
CELLS = [(data, way) for data in ("things-eeg", "things-meg") for way in ("intra", "inter")]


def text() -> str:
    """Two tables, and a section for each method."""
    rows = catalogue("methods")
    parts = [table(recipe(rows)), PUBLISHED, table(published(rows))]
    return "\n".join([*parts, *(section(row) for row in rows)])


def recipe(rows: list[dict]) -> list[list[str]]:
    """What each method is made of."""
    head = ["name", "venue", "backbone", "parameters, EEG", "image encoder", "views", "loss"]
    return [head, *([*map(cell, _made_of(row))] for row in rows)]


def _made_of(row: dict) -> Iterator[str]:
    counts = [f"{count / 1e6:.2f} M" for count in row["parameters"]["things-eeg"].values()]
    yield f"``{row['name']}``"
    yield row["venue"]
    yield row["backbone"]
    yield counts[0] if counts[0] == counts[1] else f"{counts[0]}, inter {counts[1]}"
    yield row["encoder"].replace("open-clip:", "").replace("+", " + ")
    yield row["views"].replace("+", ", ")
    yield row["loss"]


PUBLISHED = """
Published numbers, mean top-1 / top-5 in percent of 200, evaluated as by their authors. ``flags`` says what
that evaluation does that a default run does not; see :doc:`evaluations`.
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
    """Citation, what differs, and the traps that are not copied."""
    lines = [
        f"{row['title']}",
        "~" * len(row["title"]),
        "",
        f"``--method {row['name']}``. Source: {row['citation']}.",
    ]
    lines += ["", "What differs:", "", *(f"- {plain(text)}" for text in row["known_to_differ"])]
    if row["traps"]:
        lines += ["", "In the public code or text, and not copied unless it says so:", ""]
        lines += [f"- {plain(text)}" for text in row["traps"]]
    return "\n".join(["", *lines, ""])


def plain(text: str) -> str:
    """Text whose asterisks and underscores mean nothing to Sphinx."""
    return text.replace("*", r"\*").replace("_", r"\_")


def cell(text: str) -> str:
    """Text of a table's cell."""
    return text or "\\ "


def table(rows: list[list[str]]) -> str:
    """A simple table of reStructuredText."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule, ""])


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")

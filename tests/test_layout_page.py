"""The page that says which file holds what: its files exist, and its picture is drawn from the imports."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_files_of_the_page_exist():
    text = (ROOT / "docs" / "layout.rst").read_text(encoding="utf-8")
    named = re.findall(r"``((?:braindecode_ssr|cli|tests|benchmarks|docs)/[\w/.]*)``", text)
    inside = re.findall(r"\(``([\w/]+\.py)``", text)
    assert len(named) > 20 and len(inside) > 5
    for path in [*named, *(f"braindecode_ssr/{path}" for path in inside)]:
        assert (ROOT / path).exists(), path


@pytest.mark.slow
def test_picture_is_drawn(tmp_path):
    page = runpy.run_path(str(ROOT / "docs" / "layout.py"))
    arrows = page["arrows"]()
    assert "losses" not in arrows["models"] and "errors" in arrows["registry"]
    page["draw"](tmp_path / "layout.svg")
    assert (tmp_path / "layout.svg").stat().st_size > 10_000

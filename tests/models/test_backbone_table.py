import pytest

from braindecode_ssr.models import BACKBONES, list_backbones
from braindecode_ssr.models.backbone import adjustments
from braindecode_ssr.models.names import COLUMNS, SHAPES, backbone_rows, shape_name
from braindecode_ssr_cli.info import catalogue

ROWS = {row["name"]: row for row in backbone_rows()}


def test_every_backbone_has_a_row_and_nothing_else_has():
    assert list(ROWS) == list_backbones()
    ours = {name for name, row in ROWS.items() if row["origin"] == "braindecode_ssr"}
    assert ours == set(BACKBONES)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_row_says_what_it_gives_or_why_it_does_not(name):
    row = ROWS[name]
    assert tuple(row) == COLUMNS
    works = [row[shape_name(*shape)] for shape in SHAPES]
    assert set(works) <= {"yes", "no"}
    assert bool(row["reason"]) == ("no" in works)
    assert len(row["reason"]) < 150 and "Error" not in row["reason"]
    if "yes" in works:
        assert row["feature_point"] in ("embedding", "head")
        as_published = adjustments(name).get("feature_point") == "embedding"
        assert row["width"] >= 1024 or as_published
        assert row["parameters"] > 0 and row["step_ms"] > 0


def test_a_backbone_of_another_package_is_listed_as_not_measured(monkeypatch):
    monkeypatch.setattr(BACKBONES, "_foreign", {"Theirs": "package.module:Theirs"})
    row = catalogue("backbones")[-1]
    assert (row["name"], row["origin"]) == ("Theirs", "another package")
    assert row["reason"] == "not measured" and set(row) == set(COLUMNS)

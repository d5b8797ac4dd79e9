import pytest
from braindecode.models import ShallowFBCSPNet

from braindecode_ssr.models import BACKBONES, list_backbones, names
from braindecode_ssr.models.backbone import adjustments, build_backbone
from braindecode_ssr.models.names import COLUMNS, SHAPES, backbone_rows, shape_name
from braindecode_ssr_cli.catalog import catalogue

ROWS = {row["name"]: row for row in backbone_rows()}


def test_every_backbone_is_listed_once_and_the_measured_ones_first():
    names = [row["name"] for row in catalogue("backbones")]
    assert len(names) == len(set(names)) and set(names) >= set(list_backbones())
    unmeasured = [row for row in catalogue("backbones") if row["reason"] == "not measured"]
    assert {row["name"] for row in unmeasured}.isdisjoint(ROWS)
    ours = {name for name, row in ROWS.items() if row["origin"] == "braindecode_ssr"}
    assert ours <= set(BACKBONES)


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


def test_the_next_braindecode_has_a_new_model_and_lacks_an_old_one(monkeypatch):
    theirs = dict(names._braindecode_models())
    del theirs["EEGNet"]
    monkeypatch.setattr(names, "MEASURED_WITH", "0.0")
    monkeypatch.setattr(names, "_braindecode_models", lambda: {**theirs, "NewNet": ShallowFBCSPNet})
    rows = {row["name"]: row for row in catalogue("backbones")}
    assert "EEGNet" not in rows and "ShallowFBCSPNet" in rows
    assert (rows["NewNet"]["origin"], rows["NewNet"]["reason"]) == ("braindecode", "not measured")
    assert names.backbone_name("new-net") == "NewNet"
    shape = {"n_outputs": 4, "n_chans": 3, "n_times": 200}
    assert build_backbone("newnet", feature_point="head", **shape).width == 4


def listed(name):
    return next(row for row in catalogue("backbones") if row["name"] == name)


def test_a_backbone_of_ours_may_be_unmeasured_too(monkeypatch):
    parts = {**BACKBONES._parts, "Fresh": "braindecode_ssr.models.nice:TSConv"}
    monkeypatch.setattr(BACKBONES, "_parts", parts)
    row = listed("Fresh")
    assert (row["origin"], row["reason"]) == ("braindecode_ssr", "not measured")


def test_a_backbone_of_another_package_is_listed_as_not_measured(monkeypatch):
    monkeypatch.setattr(BACKBONES, "_foreign", {"Theirs": "package.module:Theirs"})
    row = listed("Theirs")
    assert (row["origin"], row["reason"]) == ("another package", "not measured")
    assert set(row) == set(COLUMNS)

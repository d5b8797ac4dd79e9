import sys
from importlib.metadata import EntryPoint

import pytest

from braindecode_ssr import registry as registry_module
from braindecode_ssr.errors import UsageError
from braindecode_ssr.registry import Registry

PARTS = {"low-resolution": "math:pi", "EEGProject": "math:tau"}


@pytest.mark.parametrize("name", ["low-resolution", "low_resolution", "Low-Resolution"])
def test_case_hyphen_and_underscore_do_not_matter(name):
    assert Registry("view", PARTS)[name] == pytest.approx(3.14159, abs=1e-4)


def test_an_unknown_name_gets_the_nearest_and_the_list():
    with pytest.raises(UsageError, match=r"did you mean 'EEGProject'\?.*low-resolution, EEGPr"):
        Registry("backbone", PARTS)["EEGProjekt"]


def test_a_name_similar_to_none_gets_the_list_only():
    with pytest.raises(UsageError) as caught:
        Registry("backbone", PARTS)["qqqqqqqqqqqqqqqqqqqq"]
    assert "did you mean" not in str(caught.value)


def test_listing_imports_nothing(tmp_path, monkeypatch):
    (tmp_path / "a_part_nobody_loads.py").write_text("raise RuntimeError('loaded')")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("view", {"x": "a_part_nobody_loads:x"})
    assert list(registry) == ["x"] and "X" in registry
    assert "a_part_nobody_loads" not in sys.modules
    with pytest.raises(RuntimeError, match="loaded"):
        registry["x"]


def test_an_object_resolves_to_itself():
    assert Registry("view", PARTS).resolve(len) is len
    assert Registry("view", PARTS).resolve("EEGProject") == pytest.approx(6.28, abs=0.01)


def test_parts_of_other_packages_come_by_entry_point(monkeypatch):
    asked = []

    def points(group):
        asked.append(group)
        return [EntryPoint("e", "math:e", group), EntryPoint("EEGProject", "math:e", group)]

    monkeypatch.setattr(registry_module, "entry_points", points)
    registry = Registry("loss", PARTS)
    assert registry["e"] == pytest.approx(2.718, abs=1e-3)
    assert registry["EEGProject"] == pytest.approx(6.28, abs=0.01), "own parts win"
    assert set(asked) == {"braindecode_ssr.losses"}


def test_a_package_whose_folder_joins_the_path_later_is_found(monkeypatch, tmp_path):
    registry = Registry("loss", PARTS)
    assert "phi" not in registry
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[braindecode_ssr.losses]\nphi = math:e\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert registry["phi"] == pytest.approx(2.718, abs=1e-3)

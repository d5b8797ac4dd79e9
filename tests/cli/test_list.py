import re
import sys

import pytest


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("datasets", {"things-sim", "things-eeg"}),
        ("methods", {"ssr", "neurobridge", "contrast"}),
        ("backbones", {"EEGProject", "TSConv", "EEGNet", "ShallowFBCSPNet", "ATCNet"}),
        ("image-heads", {"linear", "fusion", "geodesic"}),
        ("losses", {"ssr", "contrast", "neurobridge"}),
        ("encoders", {"pyramid", "open-clip"}),
        ("settings", {"train.lr", "data.subject", "model.components", "evaluation.gallery"}),
        ("views", {"original", "blur", "noise", "low-resolution", "mosaic", "fovea", "text"}),
    ],
)
def test_every_kind_lists_its_parts(call, kind, expected):
    rows = call("list", kind, "--json", code=0).json
    assert expected <= {row["name"] for row in rows}
    plain = call("list", kind, code=0).out.splitlines()
    assert len(plain) == len(rows) + 1 and plain[0].startswith("name")


def test_methods_carry_source_and_published_numbers(call):
    rows = {row["name"]: row for row in call("list", "methods", "--json", code=0).json}
    assert rows["ssr"]["published"]["things-eeg"]["intra"] == [66.9, 92.9]
    assert rows["neurobridge"]["known_to_differ"]
    assert "SSR" not in {row["name"] for row in call("list", "backbones", "--json", code=0).json}


@pytest.mark.parametrize("width", [40, 80, 100, 200])
@pytest.mark.parametrize("kind", ["methods", "backbones", "losses"])
def test_tables_fit_the_terminal(call, monkeypatch, kind, width):
    rows = call("list", kind, code=0).out.splitlines()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", call("list", kind, code=0).out)
    assert max(map(len, shown.splitlines())) <= width
    assert {row.split()[0] for row in rows[1:]} <= set(shown.split())
    if kind == "methods" and width == 100:  # what it has no room for is in `show`
        assert len(shown.splitlines()) < 2 * len(rows) and "encoder" not in shown


def test_a_table_that_fits_the_terminal_is_the_same_as_in_a_pipe(call, monkeypatch):
    plain = call("list", "image-heads", code=0).out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "400")
    assert call("list", "image-heads", code=0).out == plain


def test_every_setting_says_what_it_is(call):
    from braindecode_ssr.config import setting_names

    rows = {row["name"]: row for row in call("list", "settings", "--json", code=0).json}
    assert list(rows) == setting_names()
    assert rows["train.weight_decay"]["description"] == "Weight decay of AdamW."
    assert all(len(row["description"]) > 5 for row in rows.values())


def test_one_part_is_shown_whole(call):
    shown = call("show", "method", "SSR", code=0).out
    assert "EEGProject, inter TSConv" in shown and "known to differ" in shown
    assert "things-eeg intra: 66.9, 92.9" in shown and "{" not in shown
    assert max(map(len, shown.splitlines())) <= 100
    assert call("show", "loss", "ssr", "--json", code=0).json["name"] == "ssr"
    assert "did you mean 'neurobridge'" in call("show", "method", "neurobrige", code=2).err


def test_a_subject_is_given_once(call):
    said = call("train", "--subject", "1", "--subject=2", code=2).err
    assert "--subject" in said and "benchmark" in said

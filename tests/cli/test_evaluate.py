import json

import pandas as pd
import pytest


def test_it_gives_the_numbers_of_the_run_again(call, tiny_run, tmp_path):
    path, done = tiny_run
    table = tmp_path / "q.csv"
    again = call("evaluate", path, "--json", "--queries", table, code=0).json
    assert again == done.json
    ranks = pd.read_csv(table, keep_default_na=False)
    assert set(ranks.pop("evaluation")) == {"default"} and set(ranks.pop("flags")) == {""}
    pd.testing.assert_frame_equal(ranks, pd.read_csv(path / "queries.csv"))


def test_fewer_repetitions(call, tiny_run):
    path, _ = tiny_run
    few = call("evaluate", path, "--repetitions", 2, "--json", code=0).json
    assert few["repetitions"] == few["repetitions_max"] == 2
    assert few["ceiling_top1"] <= 1


def test_the_gallery_of_views_is_named(call, tiny_run):
    path, done = tiny_run
    views = call("evaluate", path, "--gallery", "views", "--json", code=0).json
    assert views["gallery"] == "views" and views["n_gallery"] == 16
    assert "gallery views" in call("evaluate", path, "--gallery", "views", code=0).out


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        (("--repetitions", 1000), 2, "1000"),
        (("--gallery", "altered"), 2, "'original', 'views' or 'concept'"),
        (("--gallery", "concept"), 1, "features import"),
        (("--data-dir", "/dev/null/x"), 1, "/dev/null/x"),
    ],
)
def test_bad_input(call, tiny_run, args, code, expected):
    path, _ = tiny_run
    done = call("evaluate", path, *args, code=code)
    assert expected in done.error and done.out == ""


def test_a_folder_that_is_no_run(call, tmp_path):
    assert str(tmp_path) in call("evaluate", tmp_path, code=1).error


def test_damaged_weights(call, tiny_run, tmp_path):
    import shutil

    path, _ = tiny_run
    broken = tmp_path / "run"
    shutil.copytree(path, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "model.safetensors" in call("evaluate", broken, code=1).error


def test_a_damaged_summary(call, tiny_run, tmp_path):
    import shutil

    path, _ = tiny_run
    broken = tmp_path / "run"
    shutil.copytree(path, broken)
    (broken / "summary.json").write_text("{")
    assert "summary.json" in call("evaluate", broken, code=1).error
    record = json.loads((path / "run.json").read_text())
    del record["spec"]["train"]
    (broken / "summary.json").write_text("{}")
    (broken / "run.json").write_text(json.dumps({**record, "spec": {"x": 1}}))
    assert "run.json" in call("evaluate", broken, code=1).error


def test_features_that_were_made_anew_by_something_else_are_refused(call, tiny_run, tmp_path):
    import shutil

    path, _ = tiny_run
    other = tmp_path / "run"
    shutil.copytree(path, other)
    record = json.loads((path / "run.json").read_text())
    record["features"]["original"] = "another"
    (other / "run.json").write_text(json.dumps(record))
    assert "pyramid" in call("evaluate", other, code=1).error

import json
import shutil

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


def test_a_folder_that_is_not_a_run(call, tmp_path):
    assert str(tmp_path) in call("evaluate", tmp_path, code=1).error


def test_damaged_weights(call, tiny_run, tmp_path):
    path, _ = tiny_run
    broken = tmp_path / "run"
    shutil.copytree(path, broken, ignore=shutil.ignore_patterns("checkpoint"))
    weights = broken / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    assert "model.safetensors" in call("evaluate", broken, code=1).error
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "its bytes have changed" in call("evaluate", broken, code=1).error
    weights.write_bytes(whole)
    call("evaluate", broken, code=0)


def test_a_damaged_summary(call, tiny_run, tmp_path):
    path, _ = tiny_run
    broken = tmp_path / "run"
    shutil.copytree(path, broken, ignore=shutil.ignore_patterns("checkpoint"))
    (broken / "summary.json").write_text("{")
    assert "summary.json" in call("evaluate", broken, code=1).error
    record = json.loads((path / "run.json").read_text())
    del record["spec"]["train"]
    (broken / "summary.json").write_text("{}")
    (broken / "run.json").write_text(json.dumps({**record, "spec": {"x": 1}}))
    assert "run.json" in call("evaluate", broken, code=1).error


def test_features_that_were_made_again_by_something_else_are_refused(call, tiny_run, tmp_path):
    path, _ = tiny_run
    other = tmp_path / "run"
    shutil.copytree(path, other, ignore=shutil.ignore_patterns("checkpoint"))
    record = json.loads((path / "run.json").read_text())
    record["features"]["original"] = "another"
    (other / "run.json").write_text(json.dumps(record))
    assert "simnet" in call("evaluate", other, code=1).error


@pytest.fixture(scope="module")
def kept_run(sim_dir, tmp_path_factory):
    """A finished run on the tiny simulation that kept every epoch and scored them on validation concepts."""
    from braindecode_ssr.pipeline import train
    from braindecode_ssr.resolve import run_spec

    settings = {
        "data": {"dataset": "things-sim", "preset": "tiny", "subject": 5},
        "model": {"width": 64, "n_outputs": 64},
        "train": {"epochs": 3, "batch_size": 32, "keep": "every", "validation_concepts": 6},
    }
    run = train(run_spec(settings), data_dir=sim_dir, out=tmp_path_factory.mktemp("kept"))
    return run.path, run.summary


def test_named_evaluations_side_by_side(call, kept_run, tmp_path):
    path, done = kept_run
    names = (
        "default,selection=validation,selection=oracle,n-way=8,correction=hungarian,as-published"
    )
    table = tmp_path / "q.csv"
    asked = ("evaluate", path, "--evaluation", names, "--queries", table)
    rows = call(*asked, "--json", code=0).json["evaluations"]
    assert [row["evaluation"] for row in rows] == names.split(",")
    flags = [[], [], ["test-selection"], ["fewer-candidates"], ["transductive"], []]
    assert [row["flags"] for row in rows] == flags
    assert {name: rows[0][name] for name in ("top1", "mrr")} == {
        name: done[name] for name in ("top1", "mrr")
    }
    best = pd.read_csv(path / "history.csv")["valid_mrr"].argmax() + 1
    assert rows[1]["epoch"] == best and rows[2]["top1"] >= max(rows[0]["top1"], rows[1]["top1"])
    assert rows[3]["n_gallery"] == 8 and "ceiling_top1" not in rows[3]
    ranks = pd.read_csv(table, keep_default_na=False)
    assert list(dict.fromkeys(ranks["evaluation"])) == names.split(",")
    assert set(ranks.loc[ranks["evaluation"] == "selection=oracle", "flags"]) == {"test-selection"}
    text = call("evaluate", path, "--evaluation", names, code=0).out
    assert "! test-selection:" in text and "! transductive:" in text
    assert "altered-gallery" not in text


def test_the_oracle_is_the_best_of_all_epochs(call, kept_run, tmp_path):
    """Every epoch tested by itself: its weights put where a run has them."""
    path, _ = kept_run
    reached = []
    for epoch in (1, 2, 3):
        single = tmp_path / f"epoch-{epoch}"
        shutil.copytree(path, single, ignore=shutil.ignore_patterns("checkpoint"))
        shutil.copy(
            single / "epochs" / f"epoch-{epoch:04d}.safetensors", single / "model.safetensors"
        )
        alone = call("evaluate", single, "--json", code=0).json
        reached.append((alone["top1"], alone["top5"]))
    found = call("evaluate", path, "--evaluation", "selection=oracle", "--json", code=0).json
    assert (found["top1"], found["top5"]) == max(reached)
    assert found["epoch"] == reached.index(max(reached)) + 1
    assert (
        "best on this very test" in call("evaluate", path, "--evaluation", "selection=oracle").out
    )


def test_a_curve_over_repetitions(call, tiny_run):
    path, _ = tiny_run
    rows = call("evaluate", path, "--repetitions", "1,2,5-6", "--json", code=0).json["evaluations"]
    assert [row["repetitions"] for row in rows] == [1, 2, 5, 6]
    assert [row["evaluation"] for row in rows] == [f"repetitions={k}" for k in (1, 2, 5, 6)]
    single = call("evaluate", path, "--repetitions", 5, "--json", code=0).json
    assert {**single, "run": None} == {**rows[2], "run": None}
    lines = call("evaluate", path, "--repetitions", "1,2", code=0).out.splitlines()
    assert [line.split()[0] for line in lines[-2:]] == ["repetitions=1", "repetitions=2"]


def test_settings_of_the_evaluation(call, tiny_run):
    path, _ = tiny_run
    sets = ("--set", "evaluation.n_way=4", "--set", "evaluation.correction=csls")
    found = call("evaluate", path, *sets, "--json", code=0).json
    assert found["evaluation"] == "n-way=4+correction=csls"
    assert found["flags"] == ["transductive", "fewer-candidates"] and found["chance_top1"] == 0.25


def test_a_run_of_an_older_version_is_read(call, tiny_run, tmp_path):
    """Its run.json and summary.json know nothing of what came later."""
    path, done = tiny_run
    older = tmp_path / "run"
    shutil.copytree(path, older, ignore=shutil.ignore_patterns("checkpoint"))
    record = json.loads((path / "run.json").read_text())
    record["spec"]["evaluation"] = {"gallery": "original", "repetitions": None}
    for name in ("keep", "solver", "betas"):
        del record["spec"]["train"][name]
    del record["spec"]["model"]["subjects"]
    (older / "run.json").write_text(json.dumps(record))
    later = ("evaluation", "flags", "n_way", "correction", "epoch", "subjects")
    summary = {name: value for name, value in done.json.items() if name not in (*later, "run")}
    (older / "summary.json").write_text(json.dumps(summary))
    assert call("evaluate", older, "--json", code=0).json == {**done.json, "run": str(older)}


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--repetitions", "1,1000"), "1000"),
        (("--repetitions", "5-1"), "1-10"),
        (("--repetitions", "few"), "1-10"),
        (("--evaluation", "n-way=17"), "16 test images"),
        (("--evaluation", "correction=cls"), "did you mean 'csls'?"),
        (("--evaluation", "publised"), "did you mean 'as-published'?"),
        (("--evaluation", "default,"), "names with one comma"),
        (("--evaluation", "selection=oracle"), "--set train.keep=every"),
        (("--evaluation", "selection=validation"), "--set train.validation_concepts"),
        (("--evaluation", "window=0.1-0.4"), "--set trials.start=0.1 --set trials.stop=0.4"),
        (("--set", "evaluation.nway=3"), "did you mean 'evaluation.n_way'?"),
        (("--set", "train.lr=1"), "settings of the evaluation"),
    ],
)
def test_an_impossible_evaluation(call, tiny_run, args, expected):
    path, _ = tiny_run
    done = call("evaluate", path, *args, code=2)
    assert expected in done.error and done.out == ""


def test_epochs_that_are_gone(call, kept_run, tmp_path):
    path, _ = kept_run
    broken = tmp_path / "run"
    shutil.copytree(path, broken, ignore=shutil.ignore_patterns("checkpoint"))
    (broken / "epochs" / "epoch-0002.safetensors").unlink()
    assert "epoch 2" in call("evaluate", broken, "--evaluation", "selection=oracle", code=1).error


@pytest.mark.parametrize(
    "model",
    [
        {
            "backbone": "torchvision.ops.misc.ConvNormActivation",
            "backbone_params": {
                "in_channels": "x",
                "out_channels": "touch PWNED",
                "norm_layer": "os.system",
                "conv_layer": "unittest.mock.Mock",
            },
        },
        {"backbone": "EEGNet", "backbone_params": {"activation": "os.abort"}},
        {"image_head": "os.system"},
    ],
    ids=["backbone", "activation", "image_head"],
)
def test_a_run_folder_from_elsewhere_runs_no_code(call, tiny_run, tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    evil = shutil.copytree(
        tiny_run[0], tmp_path / "evil", ignore=shutil.ignore_patterns("checkpoint")
    )
    record = json.loads((evil / "run.json").read_text())
    record["spec"]["model"] |= model
    (evil / "run.json").write_text(json.dumps(record))
    assert "--trust" in call("evaluate", evil, code=2).error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil"]

import json

import pandas as pd
import pytest

from .conftest import TINY

KEYS = (
    "dataset method backbone protocol subject seed top1 top5 mean_rank median_rank mrr n_queries "
    "n_gallery gallery repetitions selection epochs train_seconds ceiling_top1 ceiling_top5 "
    "chance_top1 chance_top5"
).split()


def test_json_is_all_there_is_on_stdout(tiny_run):
    path, done = tiny_run
    assert set(KEYS) <= set(done.json)
    assert f"run folder: {path}" in done.err


def test_the_run_folder_holds_what_the_design_promises(tiny_run):
    path, done = tiny_run
    assert path.name.startswith("things-sim_ssr_sub-05_intra_seed-0_")
    assert {p.name for p in path.iterdir()} == {
        "run.json",
        "history.csv",
        "model.safetensors",
        "checkpoint",
        "queries.csv",
        "summary.json",
    }
    summary = json.loads((path / "summary.json").read_text())
    assert {**summary, "run": str(path)} == done.json
    queries = pd.read_csv(path / "queries.csv")
    assert len(queries) == summary["n_queries"] == 16
    assert (queries["rank"] == 1).mean() == summary["top1"]
    assert (1 / queries["rank"]).mean() == pytest.approx(summary["mrr"])
    history = pd.read_csv(path / "history.csv")
    assert len(history) == 3 and {"brain_view", "reconstruct_brain"} <= set(history)
    record = json.loads((path / "run.json").read_text())
    assert record["spec"]["train"]["batch_size"] == 32 and record["versions"]["torch"]
    assert record["spec"]["model"].pop("feature_point") == "auto"
    assert record["backbone"]["feature_point"] == "head" and record["backbone"]["features"] == 1024
    assert "auto" not in json.dumps({**record["spec"], "train": 0, "trials": 0})


def test_the_table_says_how_it_was_obtained(call, tiny_run):
    path, _ = tiny_run
    done = call("evaluate", path, code=0)
    for part in (
        "16-way zero-shot",
        "gallery original",
        "last epoch",
        "ceiling",
        "chance",
        "seed 0",
    ):
        assert part in done.out


def test_the_same_command_gives_the_same_weights_and_queries(call, shell, tiny_run, tmp_path):
    path, done = tiny_run
    data = json.loads((path / "run.json").read_text())["dataset"]["root"]
    options = ("--subject", "sub-05", "--out", tmp_path, "--data-dir", data, "--json")
    again = shell("train", *TINY, *options, code=0).json["run"]
    for name in ("model.safetensors", "queries.csv"):
        first, second = ((p / name).read_bytes() for p in (path, tmp_path / path.name))
        assert first == second, name
    assert again.endswith(path.name)


def test_resuming_a_finished_run_changes_nothing(call, tiny_run):
    path, done = tiny_run
    data = json.loads((path / "run.json").read_text())["dataset"]["root"]
    before = (path / "summary.json").stat().st_mtime_ns
    options = ("--subject", 5, "--out", path.parent, "--data-dir", data, "--resume", "--json")
    assert call("train", *TINY, *options, code=0).json == done.json
    assert (path / "summary.json").stat().st_mtime_ns == before


def test_dry_run_prints_the_resolved_run_and_does_nothing(call, tmp_path):
    done = call("train", *TINY, "--out", tmp_path / "runs", "--dry-run", code=0)
    spec = done.json["spec"]
    assert spec["data"]["channels"] == "occipital-17" and spec["model"]["backbone"] == "EEGProject"
    assert spec["images"] == {
        "encoder": "pyramid",
        "views": ["blur", "noise", "low-resolution", "mosaic"],
        "pool": "mean",
    }
    inter = call("train", *TINY, "--protocol", "inter", "--dry-run", code=0).json["spec"]
    assert inter["data"]["channels"] == "all" and inter["model"]["backbone"] == "TSConv"
    assert not (tmp_path / "runs").exists()


def test_flags_win_over_set_and_set_over_the_file(call, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('method = "contrast"\n[train]\nepochs = 3\nlr = 1e-3\nseed = 4\n')
    args = ("--config", file, "--set", "train.seed=5", "--set", "train.epochs=7", "--epochs", 9)
    spec = call("train", *args, "--preset", "tiny", "--dry-run", code=0).json["spec"]
    assert spec["method"] == spec["loss"]["name"] == "contrast"
    assert (spec["train"]["epochs"], spec["train"]["lr"], spec["train"]["seed"]) == (9, 1e-3, 5)


def test_inter_subject_trains_on_all_others(call, tiny_run, tmp_path):
    path, _ = tiny_run
    data = json.loads((path / "run.json").read_text())["dataset"]["root"]
    args = ("--subject", 2, "--protocol", "inter", "--out", tmp_path, "--data-dir", data, "--json")
    epochs = ("--dataset", "things-sim", "--preset", "tiny", "--epochs", 1)
    summary = call("train", *epochs, *args, code=0).json
    assert summary["train_subjects"] == [1, 3, 4, 5, 6, 7, 8, 9, 10]
    assert summary["n_train"] == 9 * 96 and summary["backbone"] == "TSConv"


@pytest.mark.parametrize("method", ["contrast", "neurobridge"])
def test_other_methods(call, tiny_run, tmp_path, method):
    path, _ = tiny_run
    data = json.loads((path / "run.json").read_text())["dataset"]["root"]
    args = ("--method", method, "--subject", 5, "--out", tmp_path, "--data-dir", data, "--json")
    assert call("train", *TINY, *args, code=0).json["method"] == method


def test_validation_on_held_out_concepts(call, tiny_run, tmp_path):
    path, _ = tiny_run
    data = json.loads((path / "run.json").read_text())["dataset"]["root"]
    sets = ("--set", "train.validation_concepts=4", "--set", "train.selection=validation")
    args = ("--subject", 5, "--out", tmp_path, "--data-dir", data, "--json")
    done = call("train", *TINY, *sets, *args, code=0).json
    assert done["selection"] == "validation"
    history = pd.read_csv(next(tmp_path.glob("*/history.csv")))
    assert history["valid_top1"].between(0, 1).all()


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        (("--subject", "11"), 2, "1 to 10"),
        (("--subject", "five"), 2, "5, 05 or sub-05"),
        (("--epochs", "0"), 2, "train.epochs"),
        (("--batch-size", "97"), 2, "at most 96 trials"),
        (("--dataset", "things-eeeg"), 2, "did you mean 'things-eeg'?"),
        (("--method", "srs"), 2, "did you mean 'ssr'?"),
        (("--loss", "contrats"), 2, "did you mean 'contrast'?"),
        (("--encoder", "pyramide"), 2, "did you mean 'pyramid'?"),
        (("--backbone", "EEGNett"), 2, "did you mean 'EEGNet'?"),
        (("--device", "cuda:9"), 2, "--device cpu"),
        (("--protocol", "both"), 2, "'intra' or 'inter'"),
        (("--preset", "huge"), 2, "tiny, small, full"),
        (("--set", "train.lrr=1"), 2, "did you mean 'train.lr'?"),
        (("--set", "loss.params.mask=1"), 2, "did you mean 'mask_ratio'?"),
        (("--set", 'data.channels=["Oz", "O99"]'), 1, "O99"),
        (("--set", 'images.views=["blurr"]'), 2, "did you mean 'blur'?"),
        (("--set", "train.selection=validation"), 2, "train.validation_concepts"),
        (("--set", "train.validation_concepts=23"), 2, "at most 22"),
        (("--config", "no_such.toml"), 2, "no_such.toml"),
        (("--data-dir", "/dev/null/here"), 1, "/dev/null/here"),
        (("--out", "/dev/null/runs"), 1, "/dev/null/runs"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    call, tiny_run, tmp_path, monkeypatch, args, code, expected
):
    path, _ = tiny_run
    monkeypatch.chdir(tmp_path)
    data = json.loads((path / "run.json").read_text())["dataset"]["root"]
    place = () if "--data-dir" in args else ("--data-dir", data)
    preset = () if "--preset" in args else ("--preset", "tiny")
    done = call("train", *preset, "--epochs", 1, *place, *args, code=code)
    assert expected in done.error and done.out == ""
    left = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert left == []


def test_missing_data_names_the_paths_and_the_source(shell, tmp_path):
    done = shell("train", "--dataset", "things-eeg", "--subject", 5, "--data-dir", tmp_path, code=1)
    assert str(tmp_path / "image_set" / "image_metadata.npy") in done.error
    assert "https://" in done.error and "data where things-eeg" in done.error

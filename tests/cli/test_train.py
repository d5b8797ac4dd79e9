import json
import shutil
from pathlib import Path

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
        *("config.json", "README.md", "whitening.safetensors"),
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
    assert record["backbone"]["feature_point"] == "head" and record["backbone"]["features"] == 64
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


def again(call, tiny_run, *args, out=None, **expected):
    """The command of the tiny run, a second time."""
    path, _ = tiny_run
    data = json.loads((path / "run.json").read_text())["dataset"]["root"]
    place = ("--out", out or path.parent, "--data-dir", data)
    return call("train", *TINY, "--subject", 5, *place, *args, **expected)


def content(folder):
    """Every file of a folder, hidden ones too, with what is in it."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def copied(tiny_run, tmp_path):
    """A copy of the tiny run, in a folder of its own."""
    path, done = tiny_run
    shutil.copytree(path, tmp_path / "runs" / path.name)
    return tmp_path / "runs" / path.name


def test_a_finished_run_is_handed_back_and_left_alone(call, tiny_run, copied):
    before = content(copied)
    done = again(call, tiny_run, out=copied.parent, code=0)
    assert "finished already" in done.err and "--overwrite" in done.err
    assert "16-way zero-shot" in done.out
    assert content(copied) == before and [p.name for p in copied.parent.iterdir()] == [copied.name]
    assert "finished already" in again(call, tiny_run, "--dry-run", out=copied.parent).out


def test_overwriting_replaces_a_run_when_the_new_one_is_complete(
    call, tiny_run, copied, monkeypatch
):
    from braindecode_ssr import pipeline

    (copied / "note.txt").write_text("of the old run")
    before, test = content(copied), pipeline.score_run

    def stopped(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "score_run", stopped)
    again(call, tiny_run, "--overwrite", out=copied.parent, code=130)
    assert content(copied) == before
    monkeypatch.setattr(pipeline, "score_run", test)
    done = again(call, tiny_run, "--overwrite", out=copied.parent, code=0)
    assert "resuming from epoch 3" in done.err and "finished already" not in done.err
    after = content(copied)
    assert Path("note.txt") not in after
    assert after[Path("queries.csv")] == before[Path("queries.csv")]
    assert [p.name for p in copied.parent.iterdir()] == [copied.name]


def test_an_interrupted_run_is_continued_by_the_same_command(call, tiny_run, copied):
    path, _ = tiny_run
    for name in ("summary.json", "queries.csv", "model.safetensors"):
        (copied / name).unlink()
    done = again(call, tiny_run, out=copied.parent, code=0)
    assert "resuming from epoch 3" in done.err
    for name in ("model.safetensors", "queries.csv"):
        assert (copied / name).read_bytes() == (path / name).read_bytes()


@pytest.mark.parametrize("part", ["dataset", "features"])
def test_a_run_on_other_data_is_neither_handed_back_nor_continued(call, tiny_run, copied, part):
    record = json.loads((copied / "run.json").read_text())
    changed = {"dataset": {"fingerprint": "other"}, "features": {"original": "other"}}[part]
    record[part] = {**record[part], **changed}
    (copied / "run.json").write_text(json.dumps(record))
    done = again(call, tiny_run, out=copied.parent, code=1)
    assert "other data" in done.error and "--overwrite" in done.error
    (copied / "summary.json").unlink()
    done = again(call, tiny_run, out=copied.parent, code=1)
    assert "other data" in done.error and "--overwrite" in done.error
    again(call, tiny_run, "--overwrite", out=copied.parent, code=0)
    assert json.loads((copied / "run.json").read_text())[part] != record[part]


def test_names_are_canonical(call, tiny_run):
    asked = ("--backbone", "EEG-Net"), ("--backbone", "eegnet", "--loss", "SSR")
    names = {again(call, tiny_run, *args, "--dry-run", code=0).json["run"] for args in asked}
    plain = again(call, tiny_run, "--backbone", "EEGNet", "--dry-run", code=0).json
    assert names == {plain["run"]} and plain["spec"]["model"]["backbone"] == "EEGNet"
    head = again(call, tiny_run, "--set", "model.image_head=Linear", "--dry-run", code=0).json
    assert head["run"] == again(call, tiny_run, "--dry-run", code=0).json["run"]


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (("train.seed=4294967296",), "train.seed"),
        (("train.seed=1e22",), "train.seed"),
        (("train.lr=inf",), "train.lr"),
        (("train.weight_decay=nan",), "train.weight_decay"),
        (("train.warmup=1e308",), "train.warmup"),
        (("trials.tmin=2.0",), "trials.tmax"),
        (("trials.tmax=1e6",), "trials.tmax"),
        (("trials.start=0.9", "trials.stop=0.1"), "trials.start"),
        (("trials.stop=2.0",), "trials.stop"),
        (("trials.tmin=0.1", "trials.start=0.2"), "trials.baseline=none"),
        (("trials.sfreq=4000",), "trials.sfreq"),
        (("trials.sfreq=-1",), "trials.sfreq"),
        (("trials.l_freq=125",), "trials.l_freq"),
        (("evaluation.n_way=17",), "evaluation.n_way"),
        (("data.channels=[]",), "data.channels"),
        (('data.channels=["Oz", "Xx"]',), "Xx"),
        (("model.backbone=EEGNett",), "EEGNet"),
        (("model.backbone=EEGNet", "model.backbone_params.F9=1"), "F9"),
        (("model.backbone=EEGNet", "model.backbone_params.kernel_length='x'"), "EEGNet"),
        (("model.image_head=fusionn",), "fusion"),
        (("model.image_head_params.depth=3",), "depth"),
        (("model.n_outputs=100000000",), "model.n_outputs"),
        (("model.pretrained=/no/such/folder",), "/no/such/folder"),
        (('model.freeze=["bakbone"]',), "backbone"),
        (("train.lr_of.bakbone=1e-5",), "backbone"),
        (("model.subjects=own",), "model.subjects=shared"),
        (("loss.params.temperature='warm'",), "temperature"),
        (("train.device=mps",), "--device cpu"),
        (("train.device=gpu",), "cuda"),
        (("train.learning_rate=1e-3",), "train.lr"),
        (("images.encoder=pyramid+nothing",), "nothing"),
        (("evaluation.selection=oracle",), "train.keep=every"),
    ],
)
def test_what_can_be_known_before_work_starts_is_reported_then(
    call, tmp_path, monkeypatch, sets, expected
):
    """By ``train`` and by ``train --dry-run`` in the same words; nothing has been made by then."""
    from braindecode_ssr.images.features import ImageFeatures
    from braindecode_ssr.training import data as training_data

    def work(*args, **options):
        raise AssertionError("work has started")

    monkeypatch.setattr(training_data, "prepare", work)
    monkeypatch.setattr(ImageFeatures, "complete", work)
    args = [part for setting in sets for part in ("--set", setting)]
    place = ("--preset", "tiny", "--data-dir", tmp_path / "data", "--out", tmp_path / "runs")
    done = call("train", *place, *args)
    assert expected in done.error and done.code in (1, 2) and done.out == ""
    assert len(done.error) < 1500
    assert call("train", *place, *args, "--dry-run", code=done.code).error == done.error
    assert list(tmp_path.iterdir()) == []


def test_features_that_cannot_be_made_are_missed_before_trials_are_made(
    call, tmp_path, monkeypatch
):
    from braindecode_ssr.datasets.things_sim import ThingsSim

    monkeypatch.setattr(ThingsSim, "has_images", lambda self: False)
    place = ("--preset", "tiny", "--data-dir", tmp_path / "data", "--out", tmp_path / "runs")
    error = call("train", *place, code=1).error
    assert "features" in error and list(tmp_path.iterdir()) == []
    assert call("train", *place, "--dry-run", code=1).error == error


def test_a_full_disk_is_noticed_before_work_starts(call, tmp_path, monkeypatch):
    from collections import namedtuple

    from braindecode_ssr import files

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10**6))
    place = ("--preset", "tiny", "--data-dir", tmp_path / "data", "--out", tmp_path / "runs")
    assert "--data-dir" in call("train", *place, code=1).error
    assert list(tmp_path.iterdir()) == []


def test_dry_run_prints_the_resolved_run_and_does_nothing(call, tmp_path):
    done = call("train", *TINY, "--out", tmp_path / "runs", "--dry-run", code=0)
    spec = done.json["spec"]
    assert spec["data"]["channels"] == "occipital-17" and spec["model"]["backbone"] == "EEGProject"
    assert spec["images"] == {
        "encoder": "simnet",
        "views": ["blur", "noise", "low-resolution", "mosaic"],
        "pool": "mean",
        "tuning": "frozen",
        **{"lora_rank": 8, "lora_alpha": 16.0, "lora_blocks": 4},
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


@pytest.mark.slow
def test_inter_subject_trains_on_all_others(call, sim_dir, tmp_path, monkeypatch):
    from braindecode_ssr.datasets.things_sim import ThingsSim

    monkeypatch.setattr(ThingsSim, "subjects", (1, 2, 3, 5))  # ten take seconds to simulate
    args = ("--subject", 2, "--protocol", "inter", "--out", tmp_path, "--data-dir", sim_dir)
    done = call("train", *TINY, *args, "--epochs", 1, "--batch-size", 128, "--json", code=0).json
    assert done["train_subjects"] == [1, 3, 5]
    assert done["n_train"] == 3 * 96 and done["backbone"] == "TSConv"


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
        (("--subject", "five"), 2, "no subject five"),
        (("--epochs", "0"), 2, "train.epochs"),
        (("--batch-size", "97"), 2, "at most 96 trials"),
        (("--dataset", "things-eeeg"), 2, "did you mean 'things-eeg'?"),
        (("--method", "srs"), 2, "did you mean 'ssr'?"),
        (("--loss", "contrats"), 2, "did you mean 'contrast'?"),
        (("--encoder", "pyramide"), 2, "did you mean 'pyramid'?"),
        (("--backbone", "EEGNett"), 2, "did you mean 'EEGNet'?"),
        (("--device", "cuda:9"), 2, "--device cpu"),
        (("--protocol", "both"), 2, "'intra', 'inter' or 'pooled'"),
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


@pytest.mark.parametrize("typed", ["typed_net:Net", "typed_net.py:Net"])
def test_a_class_is_trusted_when_it_is_typed_and_not_when_a_file_names_it(
    call, sim_dir, tmp_path, monkeypatch, typed
):
    (tmp_path / "typed_net.py").write_text(
        "from pathlib import Path\n"
        "from braindecode.models import ShallowFBCSPNet\n"
        "(Path(__file__).parent / 'IMPORTED').touch()\n"
        "class Net(ShallowFBCSPNet):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    tiny = ("train", *TINY, "--epochs", 1, "--out", tmp_path / "runs", "--data-dir", sim_dir)
    config = tmp_path / "config.toml"
    config.write_text(f"model.backbone = {typed!r}\n")
    for named in (("--config", config), ("--set", f"model.backbone={typed}")):
        assert "--trust" in call(*tiny, *named, code=2).error
    assert not (tmp_path / "IMPORTED").exists()
    run = call(*tiny, "--backbone", typed, "--json", code=0).json["run"]
    assert "--trust" in call("evaluate", run, code=2).error
    call("evaluate", run, "--trust", code=0)

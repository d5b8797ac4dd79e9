"""BIDS folders from the command line: looked for, read, prepared, trained on."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import bids_trees
import pandas as pd
import pytest
from PIL import Image

from braindecode_ssr.datasets.things_sim import ThingsSim

from .conftest import SMALL

CH_NAMES = ("P7", "Pz", "P8", "O1", "Oz", "O2")
ONE_VIEW = ("--set", 'images.views=["blur"]')
SHORT = ("--encoder", "pyramid", *ONE_VIEW, "--epochs", 2, "--batch-size", 4, *SMALL, "--json")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return bids_trees.write_study(tmp_path_factory.mktemp("study"), CH_NAMES)


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """Subject 3 of the tiny simulation as BIDS, with its images."""
    base = tmp_path_factory.mktemp("things")
    simulation = ThingsSim(base / "sim", preset="tiny")
    bids_trees.write_both(simulation, 3, base / "raw", base / "bids", sessions=[1])
    for folder in ("training_images", "test_images"):
        shutil.copytree(base / "raw/image_set" / folder, base / "bids/stimuli" / folder)
    return base / "bids"


def test_your_own_recordings_as_a_process(shell, study, tmp_path):
    where = ("--data-dir", study)
    checked = shell("data", "check", "bids", *where, "--subject", 1, "--json", code=0).json
    assert {file["state"] for file in checked["files"]} == {"found"}
    prepared = shell("data", "prepare", "bids", *where, "--subject", "sub-01", "--json", code=0)
    assert prepared.json[0]["trials"] == 80 and prepared.json[0]["channels"] == 6
    out = ("--out", tmp_path)
    run = shell("train", "--dataset", "bids", *where, "--subject", 1, *SHORT, *out, code=0).json
    assert run["dataset"] == "bids" and run["n_train"] == 8 and run["n_queries"] == 2
    queries = pd.read_csv(next(tmp_path.glob("*/queries.csv")))
    assert sorted(queries["image_id"]) == ["egg/egg_0", "egg/egg_1"]


def test_a_run_on_other_pictures_is_neither_handed_back_nor_continued(
    call, study, tmp_path, runs_here
):
    root = shutil.copytree(study, tmp_path / "study", ignore=shutil.ignore_patterns("ssr"))
    place = ("--data-dir", root, "--out", tmp_path / "runs", "--subject", 1, *SHORT)
    call("train", "--dataset", "bids", *place, code=0)
    assert "finished already" in call("train", "--dataset", "bids", *place, code=0).err
    picture = root / "stimuli" / "egg" / "egg_0.png"
    before = picture.read_bytes()
    Image.new("RGB", (16, 16), (200, 20, 20)).save(picture)
    grid = ("--subjects", 1, "--methods", "ssr", "--data-dir", root, "--out", tmp_path / "grid")
    for finished in (True, False):
        if not finished:
            next(tmp_path.glob("runs/*/summary.json")).unlink()
        error = call("train", "--dataset", "bids", *place, code=1).error
        assert "image files in" in error and "have changed" in error and "--overwrite" in error
    call("benchmark", "--dataset", "bids", *grid, *SHORT, code=0)
    picture.write_bytes(before)
    error = call("benchmark", "--dataset", "bids", *grid, *SHORT, code=1).error
    assert "image files in" in error and "have changed" in error
    call("train", "--dataset", "bids", *place, "--overwrite", code=0)
    shutil.rmtree(root / "stimuli")  # they are not needed any more
    assert "finished already" in call("train", "--dataset", "bids", *place, code=0).err


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        ("open-clip:RN51/openai", "unknown model of open_clip: 'RN51'"),
        ("open-clip:RN50/openay", "did you mean 'openai'"),
        ("timm:resnet19.a1_in1k", "unknown model of timm: 'resnet19'"),
        ("timm:resnet18.a1_in1l", "unknown set of weights of resnet18"),
        ("simnet:foo", "simnet has no variant 'foo'; write simnet or simnet:detail"),
    ],
)
def test_a_misspelt_encoder_is_noticed_before_work_starts(call, study, tmp_path, encoder, said):
    place = ("--data-dir", study, "--subject", 1, "--encoder", encoder, "--out", tmp_path / "runs")
    error = call("train", "--dataset", "bids", *place, "--dry-run", code=2).error
    assert said in error and error == call("train", "--dataset", "bids", *place, code=2).error
    assert list(tmp_path.iterdir()) == []


def test_across_people(call, study, tmp_path):
    args = ("--protocol", "inter", "--data-dir", study, "--out", tmp_path)
    call("train", "--dataset", "bids", "--subject", 1, *args, *SHORT, code=0)
    run = json.loads(next(tmp_path.glob("*/summary.json")).read_text(encoding="utf-8"))
    assert run["train_subjects"] == [2] and run["n_train"] == 8


@pytest.mark.slow
def test_things_eeg_in_bids(call, things, tmp_path):
    where = ("--data-dir", things)
    files = call("data", "check", "things-eeg", *where, "--json", code=0).json["files"]
    runs = [file for file in files if file["what"].startswith("BIDS, subject 3, session 01")]
    assert len(runs) == 3 and {file["state"] for file in files} == {"found"}
    assert "63 channels (eeg)" in runs[0]["detail"]
    assert sum("train trials" in file["detail"] for file in runs) == 2
    args = ("--set", "trials.release=bids", "--out", tmp_path)
    call("train", "--dataset", "things-eeg", "--subject", 3, *where, *args, *SHORT, code=0)
    assert len(pd.read_csv(next(tmp_path.glob("*/queries.csv")))) == 16
    record = json.loads(next(tmp_path.glob("*/run.json")).read_text(encoding="utf-8"))
    assert record["dataset"]["fingerprint"].startswith("bids|")


def test_what_is_wrong_is_one_line(call, study, things, tmp_path):
    tree = shutil.copytree(study, tmp_path / "tree")
    path = tree / "sub-01/ses-1/eeg/sub-01_ses-1_task-look_run-1_events.tsv"
    path.write_text(path.read_text(encoding="utf-8").replace("train", "learn"), encoding="utf-8")
    for command in (("data", "prepare", "bids"), ("train", "--dataset", "bids")):
        done = call(*command, "--subject", 1, "--data-dir", tree, code=1)
        assert "'learn'" in done.error and "column 'split'" in done.error
    rows = call("data", "check", "bids", "--data-dir", tree, "--json", code=1).json["files"]
    assert any(row["state"] == "broken" and "'learn'" in row["detail"] for row in rows)
    done = call("train", "--dataset", "bids", "--subject", 1, "--data-dir", tmp_path / "no", code=1)
    assert "--data-dir" in done.error
    done = call("data", "where", "things-eeg", "--subject", 4, "--data-dir", things, code=0)
    assert "missing" in done.out


def test_settings_where_data_are_looked_at(call, study, tmp_path):
    tree = shutil.copytree(study, tmp_path / "tree", ignore=shutil.ignore_patterns("ssr"))
    for path in sorted(tree.rglob("sub-*_task-look_*")):
        if path.suffix in (".eeg", ".vhdr", ".vmrk"):
            target = path.with_name(path.name.replace("_eeg.", "_proc-sss_eeg."))
            named = path.suffix != ".eeg"
            content = path.read_bytes()
            target.write_bytes(content.replace(b"_eeg.", b"_proc-sss_eeg.") if named else content)
    for path in sorted(tree.rglob("sub-*_task-look_*_events.tsv")):
        shutil.copy(path, path.with_name(path.name.replace("_events", "_proc-sss_events")))
    where, chosen = ("--data-dir", tree), ("--set", "data.bids.proc=sss")
    encoder = ("--dataset", "bids", "--encoder", "pyramid", "--view", "original")
    assert "data.bids.proc" in call("data", "check", "bids", *where, code=1).out
    files = call("data", "check", "bids", *where, *chosen, "--json", code=0).json["files"]
    assert sum("proc-sss" in file["path"] for file in files) == 8
    late = ("--set", "trials.tmax=20")
    assert "20 s" in call("data", "check", "bids", *where, *chosen, *late, code=1).out
    files = call("data", "where", "bids", *where, *chosen, "--json", code=0).json["files"]
    assert {file["state"] for file in files} == {"found"}
    call("data", "prepare", "bids", "--subject", 1, *where, *chosen, code=0)
    call("features", "extract", *encoder, *where, *chosen, code=0)
    call("features", "check", "--dataset", "bids", *where, *chosen, code=0)


@pytest.mark.parametrize("dataset", ["bids", "things-eeg", "things-eeg1", "things-meg"])
@pytest.mark.parametrize("kind", ["missing", "empty", "other"])
def test_a_wrong_data_folder_is_the_same_error_everywhere(call, tmp_path, dataset, kind):
    folder = tmp_path / "data"
    if kind != "missing":
        folder.mkdir()
    if kind == "other":
        (folder / "holiday").mkdir()
    expected = {
        "missing": "there is no folder",
        "empty": "is empty",
        "other": "holds no recordings",
    }
    where = ("--data-dir", folder)
    for command in (
        ("data", "check", dataset),
        ("data", "where", dataset),
        ("data", "prepare", dataset),
        ("train", "--dataset", dataset),
        ("train", "--dataset", dataset, "--dry-run"),
        ("benchmark", "--dataset", dataset, "--methods", "ssr"),
        ("features", "check", "--dataset", dataset),
        ("features", "extract", "--dataset", dataset, "--encoder", "pyramid"),
    ):
        if command[1] == "where" and dataset in ("things-eeg", "things-meg"):
            continue  # says what would be fetched there
        done = call(*command, *where, code=1)
        assert expected[kind] in done.error and str(folder) in done.error, command
        assert "--data-dir" in done.error and "not foreseen" not in done.error


@pytest.mark.slow
def test_the_example_of_the_docs(shell, tmp_path):
    script = Path(__file__).parents[2] / "docs" / "bids_study.py"
    subprocess.run([sys.executable, "-W", "ignore", script], cwd=tmp_path, check=True)
    args = ("--encoder", "pyramid", "--epochs", 10, "--set", "data.channels=occipital-17", "--json")
    args += ("--set", "train.lr=1e-3")  # of things-sim by default
    where = ("--data-dir", tmp_path / "MYSTUDY", "--subject", 5, "--out", tmp_path)
    own = shell("train", "--dataset", "bids", *where, *args, code=0).json
    tiny = ("--dataset", "things-sim", "--preset", "tiny", "--subject", 5, "--out", tmp_path)
    simulated = shell("train", *tiny, *args, code=0).json
    assert (own["top1"], own["mrr"]) == pytest.approx((simulated["top1"], simulated["mrr"]))

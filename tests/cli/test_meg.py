"""THINGS-MEG on the command line: simulate, check, prepare, train intra and inter, evaluate."""

import json

import pytest

QUICK = ("--epochs", "8", "--batch-size", "32", "--set", "model.n_outputs=64")


@pytest.fixture(scope="module")
def meg(shell, tmp_path_factory):
    """Two simulated subjects and the printed summary of writing them."""
    out = tmp_path_factory.mktemp("meg")
    options = ("--layout", "meg", "--preset", "tiny", "--subject", "1,2", "--out", out)
    return out, shell("data", "simulate", "things-sim", *options, code=0)


def test_simulate_says_what_comes_next(meg):
    out, done = meg
    assert "wrote 8 recordings of 2 subjects" in done.out
    assert f"ssr-bd train --dataset things-meg --data-dir {out}" in done.out


def test_check_reads_every_subject(meg, call):
    out, _ = meg
    done = call("data", "check", "things-meg", "--data-dir", out, code=0)
    told = "4 parts, 12 sessions: 72 training trials of 72 images, 192 test trials of 16 images"
    assert done.out.count(told) == 2 and "34 sensors, 281 samples at 200 Hz" in done.out


def test_check_finds_a_missing_part(meg, call, tmp_path):
    out, _ = meg
    for path in (out / "derivatives/preprocessed").glob("*P1-epo*.fif"):
        if not path.name.endswith("-2.fif"):
            (tmp_path / path.name).symlink_to(path)
    done = call("data", "check", "things-meg", "--data-dir", tmp_path, code=1)
    assert "preprocessed_P1-epo-2.fif" in done.out


def test_where_says_what_is_missing_and_where_it_is_to_be_had(call, tmp_path):
    done = call("data", "where", "things-meg", "--data-dir", tmp_path, "--json", code=0)
    files = json.loads(done.out)["files"]
    parts = [file for file in files if file["path"].endswith(".fif")]
    assert len(parts) == 16 and all("ds004212" in part["source"] for part in parts)


def test_prepare(meg, call):
    out, _ = meg
    done = call(
        "data", "prepare", "things-meg", "--data-dir", out, "--subject", "2", "--json", code=0
    )
    (row,) = json.loads(done.out)
    assert (row["trials"], row["channels"], row["samples"]) == (264, 34, 200)


@pytest.fixture(scope="module")
def intra(meg, shell, tmp_path_factory):
    out, _ = meg
    options = ("--subject", "2", *QUICK, "--epochs", "40", "--out", tmp_path_factory.mktemp("runs"))
    return shell("train", "--dataset", "things-meg", "--data-dir", out, *options, "--json", code=0)


def test_intra_trains_as_eeg_does(intra):
    summary = intra.json
    assert summary["dataset"] == "things-meg" and summary["n_queries"] == 16
    assert summary["repetitions"] == summary["repetitions_max"] == 12
    assert summary["channels"] == "all" and summary["n_train"] == 72
    assert summary["top5"] > 2 * summary["chance_top5"]


def test_evaluate_again_with_fewer_repetitions(intra, shell):
    again = shell("evaluate", intra.json["run"], "--repetitions", "3", "--json", code=0).json
    assert again["repetitions"] == 3 and again["n_queries"] == 16


def test_inter_with_sensors_of_a_region(meg, shell, tmp_path):
    out, _ = meg
    options = ("--protocol", "inter", "--set", "data.channels=meg-occipital-parietal", *QUICK)
    summary = shell(
        *("train", "--dataset", "things-meg", "--data-dir", out, "--subject", "1"),
        *(*options, "--out", tmp_path, "--json"),
        code=0,
    ).json
    assert summary["train_subjects"] == [2] and summary["channels"] == "meg-occipital-parietal"


def test_together_with_needs_things_concepts(meg, call):
    out, _ = meg
    done = call(
        *("train", "--dataset", "things-meg", "--data-dir", out, "--subject", "1"),
        *("--set", "data.together_with=things-eeg", "--dry-run"),
        code=2,
    )
    assert "none of those that things-eeg tests" in done.err


def test_a_layout_that_there_is_not(call, tmp_path):
    options = ("--layout", "fmri", "--out", tmp_path)
    assert "fmri" in call("data", "simulate", "things-sim", *options, code=2).err

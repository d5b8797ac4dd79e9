"""THINGS-MEG on the command line: simulate, check, prepare, train intra and inter, evaluate."""

import json

import pytest
from meg_files import write_images, write_subject

from braindecode_ssr.pipeline import simulate

from .conftest import SMALL

QUICK = ("--epochs", "8", "--batch-size", "32", *SMALL)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The files of two simulated subjects."""
    out = tmp_path_factory.mktemp("meg")
    simulate("things-sim", out, layout="meg", preset="tiny-v1", subjects=(1, 2))
    return out


def test_simulate_leaves_what_is_there_and_says_what_comes_next(out, call):
    options = ("--layout", "meg", "--preset", "tiny-v1", "--subject", "1,2", "--out", out)
    done = call("data", "simulate", "things-sim", *options, code=0)
    assert "wrote 8 recordings of 2 subjects" in done.out
    assert f"ssr-bd train --dataset things-meg --data-dir {out}" in done.out


def test_check_reads_every_subject(out, call):
    done = call("data", "check", "things-meg", "--data-dir", out, code=0)
    told = "4 parts, 12 sessions: 72 training trials of 72 images, 192 test trials of 16 images"
    assert done.out.count(told) == 2 and "34 sensors, 281 samples at 200 Hz" in done.out


def test_check_finds_a_missing_part(out, call, tmp_path):
    for path in (out / "derivatives/preprocessed").glob("*P1-epo*.fif"):
        if not path.name.endswith("-2.fif"):
            (tmp_path / path.name).symlink_to(path)
    done = call("data", "check", "things-meg", "--data-dir", tmp_path, code=1)
    assert "preprocessed_P1-epo-2.fif" in done.out


def test_where_says_what_is_missing_and_where_to_get_it(call, tmp_path):
    done = call("data", "where", "things-meg", "--data-dir", tmp_path, "--json", code=0)
    files = json.loads(done.out)["files"]
    parts = [file for file in files if file["path"].endswith(".fif")]
    assert len(parts) == 16 and all("ds004212" in part["source"] for part in parts)


def test_prepare(out, call):
    done = call(
        "data", "prepare", "things-meg", "--data-dir", out, "--subject", "2", "--json", code=0
    )
    (row,) = json.loads(done.out)
    assert (row["trials"], row["channels"], row["samples"]) == (264, 34, 200)


def trained(call, data, runs, *options):
    """The run folder and the summary of a training that went well, and what was said."""
    options = ("--data-dir", data, "--out", runs, *QUICK, *options)
    done = call("train", "--dataset", "things-meg", *options, code=0)
    (folder,) = runs.glob("things-meg_*")
    return folder, json.loads((folder / "summary.json").read_text()), done.err


def test_intra_trains_and_is_evaluated_as_eeg_is(out, call, tmp_path):
    run, summary, _ = trained(call, out, tmp_path, "--subject", "2", "--epochs", "40")
    assert summary["dataset"] == "things-meg" and summary["n_queries"] == 16
    assert summary["repetitions"] == summary["repetitions_max"] == 12
    assert summary["channels"] == "all" and summary["n_train"] == 72
    assert summary["top5"] > 1.5 * summary["chance_top5"]
    again = call("evaluate", run, "--repetitions", "3", "--json", code=0).json
    assert again["repetitions"] == 3 and again["n_queries"] == 16


@pytest.mark.slow
def test_inter_with_sensors_of_a_region(out, call, tmp_path):
    options = ("--protocol", "inter", "--set", "data.channels=meg-occipital-parietal")
    _, summary, _ = trained(call, out, tmp_path, "--subject", "1", *options)
    assert summary["train_subjects"] == [2]
    assert summary["channels"] == "meg-occipital-parietal"


def test_concepts_that_eeg_tests_leave_training_and_the_run_says_so(call, tmp_path):
    write_subject(tmp_path)
    write_images(tmp_path)  # of the training concepts, EEG tests baton4 and t-shirt
    options = ("--encoder", "pyramid", "--epochs", "1", "--batch-size", "2", "--subject", "1")
    together = ("--set", "data.together_with=things-eeg")
    run, summary, told = trained(call, tmp_path, tmp_path / "runs", *options, *together)
    note = "together with things-eeg: 2 of 3 training concepts (4 of 6 images) are left out"
    assert summary["n_train"] == 2 and note in told
    record = json.loads((run / "run.json").read_text())
    assert record["spec"]["data"]["together_with"] == "things-eeg"
    assert any(text.startswith(note) for text in record["notes"])


def test_together_with_needs_things_concepts(out, call):
    done = call(
        *("train", "--dataset", "things-meg", "--data-dir", out, "--subject", "1"),
        *("--set", "data.together_with=things-eeg", "--dry-run"),
        code=2,
    )
    assert "none of the concepts that things-eeg tests" in done.err


def test_an_unknown_layout(call, tmp_path):
    options = ("--layout", "fmri", "--out", tmp_path)
    assert "fmri" in call("data", "simulate", "things-sim", *options, code=2).err

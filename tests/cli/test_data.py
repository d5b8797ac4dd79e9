"""things-sim written as files, and read again as things-eeg without knowing."""

import json
import os
import pickle

import numpy as np
import pandas as pd
import pytest
from forked import ssr_bd, started

from .conftest import SMALL, TINY


def test_the_files_lie_as_published(written):
    out, report = written
    assert report["subjects"] == [4, 5] and report["recordings"] == 16
    for subject in ("04", "05"):
        for session in range(1, 5):
            for name in ("raw_eeg_training.npy", "raw_eeg_test.npy"):
                assert (out / "Raw_data" / f"sub-{subject}" / f"ses-{session:02d}" / name).is_file()
    lists = np.load(out / "image_set" / "image_metadata.npy", allow_pickle=True).item()
    for split, folder in (("train", "training_images"), ("test", "test_images")):
        pairs = zip(lists[f"{split}_img_concepts"], lists[f"{split}_img_files"], strict=True)
        assert all((out / "image_set" / folder / c / f).is_file() for c, f in pairs)


def test_training_on_the_files_gives_the_queries_of_the_simulation(
    call, written, tiny_run, tmp_path
):
    out, _ = written
    path, _ = tiny_run
    args = ("--subject", 5, "--data-dir", out, "--out", tmp_path, "--json")
    args += ("--set", "train.lr=1e-3")  # of things-sim by default
    done = call("train", "--dataset", "things-eeg", *TINY[4:], *args, code=0)
    assert done.json["dataset"] == "things-eeg" and "ceiling_top1" not in done.json
    found = pd.read_csv(next(tmp_path.glob("*/queries.csv")))
    pd.testing.assert_frame_equal(found, pd.read_csv(path / "queries.csv"))


def test_check_reads_every_file(call, written):
    out, _ = written
    done = call("data", "check", "things-eeg", "--data-dir", out, "--json", code=0)
    states = {file["state"] for file in done.json["files"]}
    assert states == {"found"}
    assert sum("raw EEG" in file["what"] for file in done.json["files"]) == 16


def test_where_says_what_is_missing_and_where_to_get_it(call, tmp_path):
    done = call("data", "where", "things-eeg", "--subjects", 5, "--data-dir", tmp_path, code=0)
    summary = done.out.splitlines()[0]
    assert f"{tmp_path}: 0 of 11 files are here" in summary and "11 missing" in summary
    assert "`ssr-bd data fetch things-eeg --subject N`, 1.74 GB" in summary
    assert "missing" in done.out and "https://" in done.out and "CC BY" in done.out
    call("data", "check", "things-eeg", "--subject", 5, "--data-dir", tmp_path, code=1)


def test_prepare_makes_the_store_that_train_opens(call, written):
    out, _ = written
    rows = call("data", "prepare", "things-eeg", "--subject", 4, "--data-dir", out, "--json").json
    assert rows[0]["channels"] == 63 and rows[0]["samples"] == 250
    store = json.loads((out / rows[0]["store"] / "manifest.json").read_text())
    assert store["units"] == "unitless (whitened)"


def test_inter_subject_with_the_subjects_that_are_here(call, written, tmp_path):
    out, _ = written
    args = ("--protocol", "inter", "--subject", 5, "--data-dir", out, "--out", tmp_path, "--json")
    done = call("train", "--dataset", "things-eeg", "--epochs", 1, *SMALL, *args, code=0)
    assert done.json["train_subjects"] == [4]
    assert "there are no files of 1, 2, 3, 6" in done.err


def test_simulate_refuses_what_it_cannot_do(call, tmp_path):
    args = ("--out", tmp_path / "x", "--preset", "tiny")
    assert "things-sim" in call("data", "simulate", "things-eeg", *args, code=2).error
    assert "1 to 10" in call("data", "simulate", "things-sim", "--subject", 11, *args, code=2).error
    call("data", "simulate", "things-sim", "--out", "/dev/null/x", "--preset", "tiny", code=1)
    assert not (tmp_path / "x").exists()


class Bomb:
    def __reduce__(self):
        return os.system, ("touch /tmp/ssr_bd_was_here",)


@pytest.fixture
def copy(written, tmp_path):
    """A copy of the written dataset, its files linked, in which one can be replaced."""
    import shutil

    out, _ = written
    root = tmp_path / "copy"
    shutil.copytree(out, root, copy_function=os.link, ignore=shutil.ignore_patterns("trials"))

    def replace(name, content):
        path = root / name
        path.unlink()
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            np.save(path, content)
        return root

    replace.root = root
    replace.load = lambda name: np.load(root / name, allow_pickle=True).item()
    return replace


SESSION = "Raw_data/sub-05/ses-02/raw_eeg_training.npy"


def edited(content, **changes):
    return {**content, **changes}


def with_stim(content, code):
    data = content["raw_eeg_data"].copy()
    data[-1, np.flatnonzero(data[-1])[3]] = code
    return edited(content, raw_eeg_data=data)


def with_row(content, row, value):
    data = content["raw_eeg_data"].copy()
    data[row, 100:] = value
    return edited(content, raw_eeg_data=data)


RECORDING_FAULTS = {
    "html": (lambda c: b"<!DOCTYPE html><html>quota exceeded</html>", "HTML"),
    "truncated": (lambda c: pickle.dumps(c)[:5000], "truncated"),
    "empty": (lambda c: b"", "empty"),
    "bomb": (lambda c: edited(c, raw_eeg_data=Bomb()), "system"),
    "missing": (lambda c: None, SESSION),
    "channel count": (lambda c: edited(c, ch_names=c["ch_names"][:-2] + ["stim"]), "64"),
    "unknown code": (lambda c: with_stim(c, 777), "777"),
    "nan": (lambda c: with_row(c, 4, np.nan), "NaN"),
    "constant": (lambda c: with_row(c, slice(5, 6), 0.0), "constant"),
    "no keys": (lambda c: {"data": 1}, "raw_eeg_data"),
}


@pytest.mark.parametrize("fault", RECORDING_FAULTS)
def test_a_broken_recording_is_one_line_and_nothing_is_kept(call, copy, tmp_path, fault):
    change, expected = RECORDING_FAULTS[fault]
    root = copy(SESSION, change(copy.load(SESSION)))
    out = tmp_path / "runs"
    args = ("--dataset", "things-eeg", "--subject", 5, "--data-dir", root, "--out", out)
    done = call("train", *args, "--epochs", 1, code=1)
    assert expected in done.error and "ses-02" in done.error
    assert not out.exists() and not list((root / "ssr").glob("trials/*"))
    assert not os.path.exists("/tmp/ssr_bd_was_here")


def test_a_test_concept_inside_training_is_refused(call, copy):
    name = "image_set/image_metadata.npy"
    lists = copy.load(name)
    lists["test_img_concepts"][0] = "00001_" + lists["train_img_concepts"][0].split("_", 1)[1]
    root = copy(name, lists)
    args = ("--dataset", "things-eeg", "--subject", 5, "--data-dir", root, "--epochs", 1)
    assert "training split" in call("train", *args, code=1).error


def test_a_pickle_that_runs_a_command_is_refused_as_image_list_too(call, copy):
    root = copy("image_set/image_metadata.npy", {"train_img_files": Bomb()})
    args = ("--dataset", "things-eeg", "--subject", 5, "--data-dir", root)
    assert "system" in call("train", *args, code=1).error
    assert not os.path.exists("/tmp/ssr_bd_was_here")


@pytest.fixture
def unprepared(written, tmp_path):
    """The written subjects, their files linked, without trials."""
    import shutil

    out, _ = written
    copied = tmp_path / "copied"
    shutil.copytree(out, copied, copy_function=os.link, ignore=shutil.ignore_patterns("trials"))
    return copied


def test_prepare_several_at_a_time_and_one_that_fails(shell, unprepared):
    broken = unprepared / "Raw_data" / "sub-05" / "ses-03" / "raw_eeg_test.npy"
    broken.unlink()
    broken.write_bytes(b"<html>quota exceeded</html>")
    args = ("data", "prepare", "things-eeg", "--jobs", 2, "--data-dir", unprepared, "--json")
    done = shell(*args, code=1)
    good, bad = done.json
    assert good["subject"] == 4 and good["channels"] == 63
    assert bad["subject"] == 5 and "a web page" in bad["error"] and str(broken) in bad["error"]
    assert "Error: subject 5: " in done.error and "2 subjects in parallel" in done.err
    alone = shell(*args[:3], "--subject", 5, "--data-dir", unprepared, code=1)
    assert "a web page" in alone.error


def test_prepare_is_stopped_by_ctrl_c_and_resumed(unprepared, shell, tmp_path):
    import signal
    import time

    call = ["data", "prepare", "things-eeg", "--subject", "5", "--data-dir", str(unprepared)]
    journals = "ssr/trials/.sub-05_*/unfinished.json"
    for how in (signal.SIGINT, signal.SIGKILL):
        process = started(ssr_bd, *call, folder=tmp_path)
        before = [path.stat().st_mtime_ns for path in unprepared.glob(journals)]
        while process.is_alive():
            now = [path.stat().st_mtime_ns for path in unprepared.glob(journals)]
            if now and now != before:
                os.kill(process.pid, how)
                break
            time.sleep(0.001)
        process.join()
        said = process.err.read_text().strip().splitlines()
        if process.exitcode == 0:  # it was faster than the signal
            return
        if how == signal.SIGINT:
            assert process.exitcode == 130
            assert said[-1].startswith("stopped; sessions that are finished are kept")
            assert len(said) == 2 and "Traceback" not in "".join(said)
        else:
            assert process.exitcode == -9
    done = shell(*call, "--json", code=0)
    assert "resuming after session 1" in done.err
    assert done.json[0]["trials"] > 0
    assert [path.name[0] for path in (unprepared / "ssr" / "trials").iterdir()] == ["s"]


def test_cache_dir_keeps_what_is_made_out_of_the_data_folder(call, tmp_path, monkeypatch):
    monkeypatch.delenv("SSR_CACHE", raising=False)
    data, cache = tmp_path / "data", tmp_path / "cache"
    options = ("--preset", "tiny", "--data-dir", data, "--cache-dir", cache)
    done = call("data", "prepare", "things-sim", *options, "--subject", 1, "--json", code=0)
    assert (
        not data.exists() and str(cache) in done.out and list(cache.glob("data-*/ssr/*/trials/*"))
    )
    assert "SSR_CACHE" not in os.environ

import json

import numpy as np
import pandas as pd
import pytest


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_embeddings_of_a_run_score_as_the_run(call, tiny_run, tmp_path, suffix):
    path, done = tiny_run
    file, out = tmp_path / f"e.{suffix}", tmp_path / "out"
    call("evaluate", path, "--embeddings", file, code=0)
    again = call("score", file, "--json", "--out", out, code=0).json
    found, own = (pd.read_csv(folder / "queries.csv") for folder in (out, path))
    pd.testing.assert_frame_equal(found, own)
    for key in ("top1", "mrr", "n_gallery", "subject", "method", "repetitions", "ceiling_top1"):
        assert again[key] == done.json[key], key
    assert again["preset"] == "tiny"
    rows = call("report", path, out, "--json", code=1)
    assert "2 runs of ssr, subject 5" in rows.error  # the same row of one table


def test_flags_of_a_run_stay_with_its_embeddings(call, tiny_run, tmp_path):
    file, path = tmp_path / "e.npz", tiny_run[0]
    call("evaluate", path, "--gallery", "views", "--embeddings", file, code=0)
    asked = "default,correction=csls,correction=hungarian"
    done = call("score", file, "--evaluation", asked, "--json", code=0).json["evaluations"]
    assert [one["evaluation"] for one in done] == [
        "gallery=views",
        "gallery=views+correction=csls",
        "gallery=views+correction=hungarian",
    ]
    assert done[1]["flags"] == ["altered-gallery", "transductive"]
    same = call("evaluate", path, "--evaluation", "gallery=views+correction=csls", "--json").json
    assert done[1]["top1"] == same["top1"] and done[1]["mrr"] == same["mrr"]
    shown = call("score", file, "--evaluation", asked, code=0).out
    assert "! transductive" in shown and "! altered-gallery" in shown


def test_embeddings_that_cannot_be_written_so(call, tiny_run, tmp_path):
    path = tiny_run[0]
    for more in (("--evaluation", "correction=csls"), ("--repetitions", "1,2")):
        done = call("evaluate", path, "--embeddings", tmp_path / "e.npz", *more, code=2)
        assert "--embeddings" in done.error
    assert ".npz" in call("evaluate", path, "--embeddings", tmp_path / "e.csv", code=2).error


def test_score_prints_a_table_and_refuses_in_one_line(call, tmp_path):
    np.save(tmp_path / "a.npy", np.eye(8))
    done = call("score", tmp_path / "a.npy", code=0)
    assert "100.0 %" in done.out and "no names" in done.err
    assert json.loads(call("score", tmp_path / "a.npy", "--json").out)["chance_top1"] == 1 / 8
    assert "no such file" in call("score", tmp_path / "b.npy", code=1).error


def test_results_of_a_run_become_a_page(call, tiny_run, tmp_path):
    to, site = tmp_path / "results", tmp_path / "site"
    [file] = call("results", "add", tiny_run[0], "--to", to, "--json", code=0).json["files"]
    content = json.loads(open(file).read())
    assert content["top1"] == tiny_run[1].json["top1"] and content["spec"]["method"] == "ssr"
    assert content["versions"]["torch"] and content["data"]
    assert "ssr" in call("leaderboard", to, code=0).out
    call("leaderboard", to, "--format", "html", "--out", site, code=0)
    assert "Leaderboard" in (site / "report.html").read_text()
    (to / "bad.json").write_text("{}")
    assert "refused" in call("leaderboard", to, code=1).err

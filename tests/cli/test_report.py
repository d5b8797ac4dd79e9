"""``ssr-bd report`` as users meet it."""

import io
import json
import re
import shutil

import pandas as pd
import pytest
from random_ranks import query_rows, run_rows, write_tables


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    queries = pd.concat(
        [query_rows(0), query_rows(1, method="nice"), query_rows(2, evaluation="gallery=views")],
        ignore_index=True,
    )
    runs = run_rows(queries)
    runs.loc[runs["evaluation"] == "gallery=views", "flags"] = "altered-gallery"
    return write_tables(tmp_path_factory.mktemp("bench"), queries, runs)


@pytest.fixture(scope="module")
def one_way(bench, tmp_path_factory):
    """The same without the other evaluation: four pictures."""
    tables = (
        pd.read_csv(bench / name, keep_default_na=False) for name in ("queries.csv", "runs.csv")
    )
    default = (table[table["evaluation"] == "default"] for table in tables)
    return write_tables(tmp_path_factory.mktemp("one-way"), *default)


def test_as_a_process(shell, bench):
    done = shell("report", bench, code=0)
    assert "| ssr " in done.out and "†" in done.out and done.err == ""


def test_csv(call, bench):
    table = pd.read_csv(io.StringIO(call("report", bench, "--format", "csv", code=0).out))
    assert table["method"].tolist() == ["ssr", "nice", "ssr"]
    assert table["flags"].fillna("").tolist() == ["", "", "altered-gallery"]


def test_a_run_that_train_made(call, tiny_run):
    path, done = tiny_run
    table = call("report", path, "--json", code=0).json
    [row] = table["summary"]
    assert row["top1"] == done.json["top1"] and row["top5"] == done.json["top5"]
    assert (row["gallery"], row["selection"], row["n_subjects"]) == ("original", "last", 1)
    assert row["evaluation"] == "default" and row["preset"] == "tiny"
    again = call("report", path.parent, "--json", code=0).json
    assert again["summary"] == table["summary"]


def test_files_and_pictures(call, one_way, tmp_path, coarse):
    out = tmp_path / "out"
    done = call("report", one_way, "--out", out, "--format", "latex", "--plots", code=0)
    written = done.out.split()
    assert sorted(written) == sorted(str(path) for path in out.iterdir())
    assert str(out / "report.tex") in written
    assert {path.suffix for path in out.iterdir()} == {".tex", ".png", ".pdf"}


def test_what_runs_decode_from_is_drawn_if_asked(call, tiny_run, tmp_path, coarse):
    pytest.importorskip("captum")
    args = ("report", tiny_run[0], "--interpret", "--device", "cpu", "--format", "html")
    call(*args, "--out", tmp_path, code=0)
    kinds = sorted(file.name.split("_")[0] for file in tmp_path.glob("*.png"))
    assert kinds == ["attribution", "regions", "similarity", "time"]
    assert (tmp_path / "report.html").read_text().count("data:image/png") == 4


def test_html_holds_its_pictures(call, one_way, coarse):
    page = call("report", one_way, "--format", "html", "--plots", code=0).out
    assert page.startswith("<!DOCTYPE html>") and page.count("data:image/png") == 4


def test_json_of_files(call, bench, tmp_path):
    done = call("report", bench, "--json", "--out", tmp_path / "o", code=0)
    assert done.json["files"] == [str(tmp_path / "o" / "report.md")]
    assert json.loads(done.out)["tests"][0]["remark"] == "3 subjects are too few to reach p < 0.05"


def test_against(call, bench):
    done = call("report", bench, "--against", "nice", code=0)
    assert re.search(r"\| nice +\| ssr", done.out)


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        ((), 2, "FOLDERS"),
        (("{tmp}",), 1, "no runs in"),
        (("{tmp}/nowhere",), 1, "no folder"),
        (("{bench}", "--format", "pdf"), 2, "md, csv, latex, html"),
        (("{bench}", "--plots"), 2, "add --out DIR"),
        (("{bench}", "--embed-images"), 2, "add --plots"),
        (("{bench}", "--against", "nise"), 2, "did you mean 'nice'"),
        (("{bench}", "--out", "{bench}/runs.csv"), 1, "cannot write"),
    ],
)
def test_bad_use(call, bench, tmp_path, args, code, expected):
    done = call("report", *(arg.format(tmp=tmp_path, bench=bench) for arg in args), code=code)
    assert expected in done.error and done.out == ""


def test_bad_tables_write_nothing(call, bench, tmp_path):
    folder = shutil.copytree(bench, tmp_path / "bench")
    (folder / "queries.csv").write_text("rank\nx\n")
    done = call("report", folder, "--out", tmp_path / "out", code=1)
    assert "the columns" in done.error and not (tmp_path / "out").exists()

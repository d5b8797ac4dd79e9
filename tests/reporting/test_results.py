import json
import shutil

import pandas as pd
import pytest
from random_ranks import query_rows, run_rows, write_tables

from braindecode_ssr.errors import DataError, MissingDataError
from braindecode_ssr.reporting import QUERY_COLUMNS, read_results, read_table


def test_what_was_written_is_read(read_only_folder, tables):
    found = read_results([read_only_folder])
    queries, runs = tables
    pd.testing.assert_frame_equal(found.queries[list(queries)], queries, check_dtype=False)
    assert found.runs["top1"].to_numpy() == pytest.approx(runs["top1"].to_numpy())
    assert found.runs["flags"].tolist() == runs["flags"].tolist()


def test_no_folder_at_all():
    with pytest.raises(MissingDataError, match="no runs to read"):
        read_results([])


def test_a_folder_that_is_given_twice_counts_once(read_only_folder):
    once, twice = (read_results([read_only_folder] * times) for times in (1, 2))
    pd.testing.assert_frame_equal(once.queries, twice.queries)
    pd.testing.assert_frame_equal(once.runs, twice.runs)


def test_concepts_that_look_like_no_number_stay(folder):
    for name in ("queries.csv", "runs.csv"):
        text = (
            (folder / name).read_text().replace("concept_00", "nan").replace("concept_01", "null")
        )
        (folder / name).write_text(text)
    assert {"nan", "null"} <= set(read_results([folder]).queries["concept"])


def test_empty_numbers_of_runs_are_unknown(folder):
    runs = pd.read_csv(folder / "runs.csv").assign(ceiling_top1="", train_seconds="")
    runs.to_csv(folder / "runs.csv", index=False)
    assert read_results([folder]).runs["ceiling_top1"].isna().all()


def test_two_folders_are_joined(tmp_path):
    parts = [query_rows(i, method=f"m{i}") for i in (0, 1)]
    folders = [
        write_tables(tmp_path / str(i), part, run_rows(part)) for i, part in enumerate(parts)
    ]
    assert set(read_results(folders).queries["method"]) == {"m0", "m1"}


def change_queries(change):
    def spoil(folder):
        change(pd.read_csv(folder / "queries.csv")).to_csv(folder / "queries.csv", index=False)

    return spoil


def change_runs(change):
    def spoil(folder):
        runs = pd.read_csv(folder / "runs.csv", keep_default_na=False)
        change(runs).to_csv(folder / "runs.csv", index=False)

    return spoil


def first_row(**values):
    def change(table):
        table = table.astype(object)
        table.loc[0, list(values)] = list(values.values())
        return table

    return change


def text(name, content):
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (text("queries.csv", b""), "queries.csv is not a CSV table"),
        (text("queries.csv", b"\xff\xfe\x00"), "is not a CSV table"),
        (text("queries.csv", b'a,b\n"1,2\n'), "not a CSV table|the columns"),
        (text("runs.csv", b"a,b\n1,2\n"), "lacks the columns dataset, preset"),
        (change_queries(lambda t: t.head(0)), "queries.csv has no rows"),
        (change_runs(lambda t: t.head(0)), "runs.csv has no rows"),
        (change_queries(lambda t: t.drop(columns="rank")), "lacks the columns rank"),
        (
            change_queries(first_row(rank="third")),
            "the column rank of .*queries.csv is not numeric",
        ),
        (change_queries(first_row(rank=0)), "the rank in row 1 of .*queries.csv is 0"),
        (change_queries(first_row(seed="")), "the seed in row 1 of .*queries.csv is missing"),
        (change_runs(first_row(top1="much")), "the column top1 of .*runs.csv is not numeric"),
        (change_queries(lambda t: t.iloc[:-3]), "20 queries of ssr_sub-6.*17 are in queries.csv"),
        (
            change_queries(lambda t: t[t["method"] != "nice"]),
            "20 queries of nice.*0 are in queries.csv",
        ),
        (
            change_runs(lambda t: t[t["method"] != "nice"]),
            "0 queries of nice.*20 are in queries.csv",
        ),
        (
            change_runs(first_row(fingerprint="v2")),
            "several versions of things-sim subject 1.*'v2'.*'v1'",
        ),
        (change_runs(first_row(preset="small")), "several presets of things-sim.*'small'.*'tiny'"),
        (change_runs(first_row(run="another")), "2 runs of ssr.*another and ssr|20 queries"),
        (
            change_runs(lambda t: t.assign(status="failed", error="no memory")),
            "all 48 runs failed; the first error: no memory",
        ),
    ],
)
def test_bad_tables_are_one_line(folder, spoil, expected):
    spoil(folder)
    with pytest.raises(DataError, match=expected) as caught:
        read_results([folder])
    assert "\n" not in str(caught.value)


def test_a_row_that_is_cut_short(folder):
    path = folder / "queries.csv"
    path.write_text(path.read_text()[:-4])
    with pytest.raises(DataError, match="the last row of .*queries.csv is cut off"):
        read_table(path, QUERY_COLUMNS)


def test_two_runs_of_one_name(tmp_path):
    first = query_rows(0)
    second = query_rows(1).assign(run=lambda t: t["run"] + "_other")
    folders = [
        write_tables(tmp_path / str(i), t, run_rows(t)) for i, t in enumerate((first, second))
    ]
    with pytest.raises(
        DataError, match="2 runs of ssr, subject 1, seed 0: .* and .*_other; they differ"
    ):
        read_results(folders)


def test_results_of_one_name_are_told_apart_or_refused(tmp_path, run_folder):
    """Folders of ``ssr-bd score`` may be called alike; copies of a run count once, and only copies."""
    first, second = (query_rows(0, method=m).assign(run="scored") for m in ("ours", "theirs"))
    folders = [
        write_tables(tmp_path / str(i), t, run_rows(t)) for i, t in enumerate((first, second))
    ]
    found = read_results(folders)
    assert len(found.runs) == 12 and found.queries["method"].value_counts().tolist() == [120, 120]

    other = shutil.copytree(run_folder, tmp_path / "other" / run_folder.name)
    assert len(read_results([run_folder, other]).queries) == 40
    table = pd.read_csv(other / "queries.csv")
    table.assign(rank=20).to_csv(other / "queries.csv", index=False)
    with pytest.raises(DataError, match="several results are called a-run, and their ranks differ"):
        read_results([run_folder, other])


def test_what_failed_in_one_place_may_be_done_in_another(tmp_path):
    queries = query_rows(0, subjects=(1,), seeds=(0, 1))
    runs = run_rows(queries)
    failed = runs.assign(status=["done", "failed"], error=["", "no memory"])
    folders = [
        write_tables(tmp_path / "a", queries[queries["seed"] == 0], failed),
        write_tables(tmp_path / "b", queries, runs),
    ]
    assert read_results(folders).runs["status"].tolist() == ["done", "done"]
    assert read_results(folders[:1]).runs["status"].tolist() == ["done", "failed"]


def test_folders_without_tables(tmp_path):
    with pytest.raises(MissingDataError, match="no runs in"):
        read_results([tmp_path])
    with pytest.raises(MissingDataError, match="no folder"):
        read_results([tmp_path / "nowhere"])


@pytest.fixture
def run_folder(tmp_path):
    """A run with the files that a report reads, and one evaluation inside it."""
    from braindecode_ssr.config import RunSpec

    run = tmp_path / "runs" / "a-run"
    record = {"spec": RunSpec().model_dump(mode="json"), "dataset": {"fingerprint": "v1"}}
    columns = ["subject", "image_id", "concept", "rank", "score", "top_1", "top_2"]
    for place, more in ((run, {}), (run / "evaluation_1", {"evaluation": "gallery=views"})):
        place.mkdir(parents=True)
        table = query_rows(subjects=(1,), seeds=(0,))[columns]
        table.to_csv(place / "queries.csv", index=False)
        flags = ["altered-gallery"] if more else []
        summary = {"top1": 0.4, "n_gallery": 20, "selection": "last", "flags": flags, **more}
        (place / "summary.json").write_text(json.dumps(summary))
    (run / "run.json").write_text(json.dumps(record))
    return run


def test_a_run_folder_and_a_folder_of_runs(run_folder):
    for folder in (run_folder, run_folder.parent):
        found = read_results([folder])
        assert found.runs["evaluation"].tolist() == ["default", "gallery=views"]
        assert found.runs["flags"].tolist() == ["", "altered-gallery"]
        assert len(found.queries) == 40 and set(found.queries["run"]) == {"a-run"}


def test_a_damaged_run_folder(run_folder):
    (run_folder / "run.json").write_text("{")
    with pytest.raises(DataError, match="run.json is damaged"):
        read_results([run_folder])

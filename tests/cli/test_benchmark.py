"""A small grid through the command line, one of whose runs cannot be written."""

import filecmp
import json

import pandas as pd
import pytest

from .conftest import SMALL, TINY

GRID = (*TINY, "--methods", "ssr,contrast,neurobridge", "--subjects", "5", "--seeds", "1")
GRID += ("--evaluations", "default,as-published,repetitions=1", "--jobs", "2")


@pytest.fixture(scope="session")
def grid(shell, sim_dir, tmp_path_factory):
    """A folder in which NeuroBridge's run could not be written, its data and the printed outcome."""
    out = tmp_path_factory.mktemp("grid")
    place = ("--out", out, "--data-dir", sim_dir)
    asked = shell("benchmark", *GRID, *place, "--dry-run", "--json", code=0).json
    broken = next(row["run"] for row in asked["runs"] if row["method"] == "neurobridge")
    assert not list(out.iterdir())
    (out / broken).write_text("no folder")
    return out, place, shell("benchmark", *GRID, *place, code=1)


def test_a_run_that_fails_is_listed_and_leaves_the_others(grid):
    out, _, done = grid
    assert "Traceback" not in done.err
    (line,) = [line for line in done.err.splitlines() if line.startswith("failed: ")]
    assert line.count("neurobridge_sub-05") >= 3 and "cannot write" in line
    runs = pd.read_csv(out / "runs.csv", keep_default_na=False)
    assert len(runs) == 9
    failed = runs[runs["status"] == "failed"]
    assert set(failed["method"]) == {"neurobridge"} and len(failed) == 3
    assert failed["error"].str.contains("cannot write").all()
    assert (runs.loc[runs["status"] == "done", "error"] == "").all()


def test_the_tables_are_those_of_the_contract(grid):
    out, _, _ = grid
    runs, queries = pd.read_csv(out / "runs.csv"), pd.read_csv(out / "queries.csv")
    assert (
        list(runs)[:27]
        == (
            "dataset preset protocol evaluation flags method backbone subject seed run status error top1 "
            "top5 mrr mean_rank median_rank n_queries n_gallery repetitions selection chance_top1 "
            "chance_top5 ceiling_top1 ceiling_top5 train_seconds fingerprint"
        ).split()
    )
    assert (
        list(queries)
        == (
            "dataset preset protocol evaluation method backbone subject seed run image_id concept rank "
            "score top_1 top_2 top_3 top_4 top_5"
        ).split()
    )
    done = runs[runs["status"] == "done"].set_index(["run", "evaluation"])
    for key, ranks in queries.groupby(["run", "evaluation"])["rank"]:
        assert done.loc[key, "top1"] == (ranks == 1).mean()
        assert done.loc[key, "mrr"] == pytest.approx((1 / ranks).mean())
        assert done.loc[key, "n_queries"] == len(ranks) == 16
    assert len(queries) == len(done) * 16
    assert done["repetitions"].groupby("evaluation").unique().map(list).to_dict() == {
        "as-published": [24],
        "default": [24],
        "repetitions=1": [1],
    }
    asked = json.loads((out / "benchmark.json").read_text())
    assert asked["methods"] == ["ssr", "contrast", "neurobridge"] and asked["subjects"] == [5]


def test_a_run_is_that_of_train_to_the_last_digit(grid, tiny_run):
    out, _, _ = grid
    path, _ = tiny_run
    for name in ("model.safetensors", "queries.csv"):
        assert filecmp.cmp(out / path.name / name, path / name, shallow=False), name


def test_the_printed_table(grid):
    _, _, done = grid
    blocks = done.out.split("\n\n")
    assert len(blocks) == 3
    assert "things-sim (tiny), intra-subject, evaluation as-published" in blocks[0]
    assert "16 candidates, 1 trials averaged" in blocks[2]
    for block in blocks:
        assert "published" not in block.partition("\n")[2] and "66.9 / 92.9" not in block
        assert "ceiling" in block and "chance" in block
        (ssr,) = [line for line in block.splitlines() if line.startswith("  ssr ")]
        assert "1 x 1" in ssr and "[" in ssr
        (failed,) = [line for line in block.splitlines() if line.startswith("  neurobridge")]
        assert "1 failed" in failed
    assert "  neurobridge !" in blocks[0] and "  neurobridge !" not in blocks[1]


@pytest.mark.slow
def test_the_same_command_does_what_is_missing_and_nothing_else(grid, call):
    out, place, _ = grid
    broken = next(path for path in out.glob("things-sim_neurobridge*") if path.is_file())
    before = {path: path.stat().st_mtime_ns for path in out.rglob("summary.json")}
    preview = call("benchmark", *GRID, *place, "--dry-run", "--json", code=0).json
    assert (preview["done"], preview["to_do"]) == (2, 1)
    broken.unlink()
    try:
        done = call("benchmark", *GRID, *place, "--json", code=0)
        assert done.json["failed"] == [] and len(done.json["summary"]) == 9
        assert "[1/1] things-sim_neurobridge" in done.err
        assert {path: path.stat().st_mtime_ns for path in before} == before
        again = call("benchmark", *GRID, *place, code=0)
        assert "3 done, 0 to do" in again.err and "[1/" not in again.err
    finally:
        for path in out.glob("things-sim_neurobridge*"):
            path.rename(path.with_name(f"{path.name}.later"))
        broken.write_text("no folder")


def test_a_folder_of_another_version_of_the_dataset(grid, call, runs_here):
    out, place, _ = grid
    record = next(out.glob("things-sim_contrast*")) / "run.json"
    text = record.read_text()
    record.write_text(text.replace("things-sim v2", "things-sim v0"))
    try:
        error = call("benchmark", *GRID, *place, code=1).error
    finally:
        record.write_text(text)
    assert "things-sim v0" in error and "things-sim v2" in error


def test_a_damaged_table_of_a_run_is_made_again(grid, call, runs_here):
    out, place, _ = grid
    table = next(out.glob("things-sim_contrast*")) / "queries.csv"
    text = table.read_text()
    table.write_text("")
    try:
        asked = ("--methods", "ssr,contrast", "--evaluations", "default")
        done = call("benchmark", *GRID, *asked, *place, "--json", code=0).json
        assert table.read_text() == text
    finally:
        table.write_text(text)
    assert done["failed"] == [] and [row["n_failed"] for row in done["summary"]] == [0, 0]


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        (("--methods", "ssr,neurobrigde"), 2, "did you mean 'neurobridge'?"),
        (("--methods", "ssr,,contrast"), 2, "one comma"),
        (("--subjects", "1;2"), 2, "sub-05"),
        (("--subjects", "4-2"), 2, "4-2"),
        (("--subjects", "11"), 2, "1 to 10"),
        (("--seeds", "two"), 2, "--seeds 0,3,7"),
        (("--protocols", "intra,iner"), 2, "did you mean"),
        (("--evaluations", "as-publised"), 2, "did you mean 'as-published'?"),
        (("--evaluations", "repetitions=few"), 2, "repetitions="),
        (("--jobs", "0"), 2, "--jobs"),
        (("--cluster", "tcp:127.0.0.1"), 2, "local, slurm or tcp://host:port"),
        (("--epochs", "0"), 2, "train.epochs"),
        (("--out", "/dev/null/here"), 1, "/dev/null/here"),
        (("--dataset", "things-eeg", "--subjects", "all"), 1, "data where things-eeg"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    call, tmp_path, monkeypatch, args, code, expected
):
    monkeypatch.chdir(tmp_path)
    usual = ("--methods", "ssr", "--preset", "tiny", "--epochs", 1, "--data-dir", tmp_path / "data")
    done = call("benchmark", *usual, *args, code=code)
    assert expected in done.error and done.out == ""
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def on_files(call, data, out, dataset, protocols):
    """The tables of a small grid on files of two subjects."""
    grid = ("--methods", "contrast,ridge-encoding", "--subjects", "all", "--epochs", 1, *SMALL)
    grid += ("--protocols", protocols, "--out", out)
    done = call("benchmark", "--dataset", dataset, "--data-dir", data, *grid, "--json", code=0)
    rows = {(row["method"], row["protocol"]): row for row in done.json["summary"]}
    assert all(row["n_subjects"] == 2 for row in rows.values())
    runs = pd.read_csv(out / "runs.csv", keep_default_na=False)
    assert set(runs["dataset"]) == {dataset} and (runs["status"] == "done").all()
    report = call("report", out, "--format", "csv", code=0)
    assert dataset in report.out and "ridge-encoding" in report.out
    return set(rows)


@pytest.mark.slow
def test_the_same_command_on_files_in_the_published_layout(call, written, tmp_path, runs_here):
    rows = on_files(call, written[0], tmp_path, "things-eeg", "intra")
    assert rows == {("contrast", "intra"), ("ridge-encoding", "intra")}


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "layout"), [("things-eeg", "raw"), ("things-meg", "meg")])
def test_the_same_command_across_subjects(call, tmp_path, dataset, layout):
    from braindecode_ssr.pipeline import simulate

    data = tmp_path / "data"
    simulate("things-sim", data, layout=layout, preset="tiny", subjects=(1, 2))
    assert len(on_files(call, data, tmp_path / "bench", dataset, "intra,inter")) == 4


def test_pooled_subjects_share_a_model_and_ensembles_are_rows(
    call, written, tmp_path, runs_here, monkeypatch
):
    from braindecode_ssr import load_run, pipeline

    train, trained = pipeline.train, []

    def counted(spec, **options):
        trained.append((spec.train.seed, spec.data.subject))
        return train(spec, **options)

    monkeypatch.setattr(pipeline, "train", counted)
    place = ("--data-dir", written[0], "--out", tmp_path, "--epochs", 1, *SMALL, "--json")
    grid = ("benchmark", "--dataset", "things-eeg", *place, "--methods", "contrast")
    grid += ("--set", "data.channels=occipital-17")
    grid += ("--protocols", "pooled", "--seeds", 2, "--ensemble", "seeds")
    preview = call(*grid, "--dry-run", code=0).json["runs"]
    assert [row["seconds"] for row in preview] == [None, None, 0, 0]  # of subjects 4, 4, 5, 5
    done = call(*grid, code=0)
    assert sorted(trained) == [(0, 4), (1, 4)] and done.json["failed"] == []
    rows = {row["method"]: row for row in done.json["summary"]}
    assert rows["contrast"]["n_subjects"] == 2 and rows["contrast"]["n_seeds"] == 2
    both = rows["contrast, ensemble of 2"]
    assert (both["flags"], both["n_subjects"], both["n_seeds"]) == ("ensemble", 2, 1)
    runs = pd.read_csv(tmp_path / "runs.csv", keep_default_na=False)
    names = runs[(runs["subject"] == 5) & (runs["method"] == "contrast")]["run"].tolist()
    own = load_run(tmp_path / names[0])
    alone = train(own.spec, data_dir=written[0], out=tmp_path / "alone")
    assert own.weights.read_bytes() == alone.weights.read_bytes()
    pd.testing.assert_frame_equal(own.queries, alone.queries)
    same = {k: v for k, v in own.summary.items() if k != "train_seconds"}
    assert same == {k: v for k, v in alone.summary.items() if k != "train_seconds"}
    assert set(own.record) == set(alone.record) and own.record["dataset"] == alone.record["dataset"]
    again = call(*grid, code=0)
    assert "ensemble of" not in again.err and len(trained) == 2
    assert again.json["summary"] == done.json["summary"]
    table = own.queries.assign(rank=1)  # as if the run had been replaced
    table.to_csv(own.path / "queries.csv", index=False)
    assert call(*grid, code=0).err.count("ensemble of") == 1
    assert "contrast, ensemble of 2" in call("report", tmp_path, "--format", "csv", code=0).out
    error = call(*grid[:-1], "seedz", code=2).error
    assert "did you mean 'seeds'" in error

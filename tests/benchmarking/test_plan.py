import numpy as np
import pytest
from safetensors.numpy import save_file

from braindecode_ssr.benchmarking.plan import (
    TimeLeft,
    cost_line,
    duration,
    grid_preview,
    plan_benchmark,
)
from braindecode_ssr.benchmarking.run import tables
from braindecode_ssr.benchmarking.workers import Outcome
from braindecode_ssr.errors import DataError, MissingDataError, UsageError
from braindecode_ssr.methods import METHODS
from braindecode_ssr.retrieval.evaluations import named_evaluation

TINY = {"data": {"preset": "tiny"}, "train": {"epochs": 4}}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("things-sim")


@pytest.fixture
def planned(data_dir, tmp_path):
    def plan(methods=("ssr",), subjects=(1,), settings=TINY, **asked):
        return plan_benchmark(
            settings, tmp_path, data_dir, methods=methods, subjects=subjects, **asked
        )

    return plan


def finish(run, seconds=8.0, **record):
    run.path.mkdir(exist_ok=True)
    run.write_json("run.json", record)
    for name in ("history.csv", "queries.csv"):
        (run.path / name).write_text("row\n1\n")
    save_file({"weight": np.zeros(1)}, run.weights)
    run.write_json("summary.json", {"train_seconds": seconds, "epochs": 4})


def test_every_method_and_protocol_is_a_run_and_every_evaluation_a_column(planned):
    evaluations = ("default", "as-published", "repetitions=1")
    axes = {"subjects": (3,), "protocols": (), "seeds": 1, "evaluations": evaluations}
    plan = planned(methods=(), **axes)
    found = [
        (p.spec.data.protocol, p.spec.method, p.spec.data.subject, p.spec.train.seed, c.name)
        for p in plan.runs
        for c in p.evaluations
    ]
    assert len(set(found)) == len(found) == len(list(METHODS)) * 2 * 3
    assert len({p.run.path for p in plan.runs}) == len(plan.runs)
    for p in plan.runs:
        trained = {p.spec.data.subject} if p.spec.data.protocol == "intra" else set(range(1, 11))
        assert set(p.subjects) == trained
        for column in p.evaluations:
            assert column.flags == named_evaluation(column.name, METHODS[p.spec.method]).flags


def test_runs_on_extra_data_are_called_so(planned, data_dir):
    extra = {"dataset": "things-sim", "data_dir": str(data_dir), "preset": "tiny", "seed": 1}
    settings = {**TINY, "data": {"preset": "tiny", "extra": [extra]}}
    plan = planned(settings=settings)
    _, runs = tables(plan, {run.name: "no data" for run in plan.runs}, {})
    assert runs["method"].tolist() == ["ssr-with-things-sim"]


def test_evaluations_share_a_run_unless_they_train_otherwise(planned):
    evaluations = ("default", "repetitions=1", "window=0.1-0.4", "gallery=views")
    first, window = planned(evaluations=evaluations).runs
    assert [c.name for c in first.evaluations] == ["default", "repetitions=1", "gallery=views"]
    assert [first.results(c) == first.run for c in first.evaluations] == [True, False, False]
    assert [c.name for c in window.evaluations] == ["window=0.1-0.4"]
    assert window.spec.trials.start == 0.1


def test_a_run_that_keeps_every_epoch_serves_those_that_need_the_last(planned):
    both = {"evaluations": ("default", "selection=oracle")}
    (shared,) = planned(**both).runs
    assert shared.spec.train.keep == "every"
    (plain,) = planned().runs
    assert plain.spec.train.keep == "final"
    finish(plain.run, dataset={"fingerprint": planned().dataset.source_key(1)})
    assert {p.spec.train.keep for p in planned(**both).runs} == {"final", "every"}


def test_all_subjects_and_each_name_once(planned):
    plan = planned(methods=("SSR", "ssr"), subjects=())
    assert [p.spec.data.subject for p in plan.runs] == list(range(1, 11))
    assert plan.grid.settings["data"]["dataset"] == "things-sim"
    twice = planned(subjects=(1, "01", "sub-01"), evaluations=("default", "default"))
    assert len(tables(twice, {}, {})[1]) == 1


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"methods": ("srs",)}, "did you mean 'ssr'"),
        ({"protocols": ("both",)}, "intra, inter"),
        ({"evaluations": ("defualt",)}, "did you mean 'default'"),
        ({"subjects": (11,)}, "1 to 10"),
        ({"seeds": 0}, "--seeds"),
        ({"settings": {"train": {"epohcs": 3}}}, "did you mean 'train.epochs'"),
        ({"settings": {"train": {"selection": "validation", "validation_concepts": 2}}}, "keep"),
    ],
)
def test_bad_input(planned, asked, expected):
    with pytest.raises(UsageError, match=expected):
        planned(**asked)


def test_another_version_of_the_dataset_is_named_beside_this_one(planned):
    (run,) = planned().runs
    data = {"name": "things-sim", "root": "data", "fingerprint": "things-sim v0"}
    finish(run.run, spec=run.spec.model_dump(mode="json"), dataset=data)
    with pytest.raises(DataError) as error:
        planned(methods=("ssr", "contrast"))
    for part in (run.run.path.name, "'things-sim v0'", "'things-sim v2 ", "--out"):
        assert part in str(error.value)


def test_features_that_a_method_needs(planned, monkeypatch):
    parts = {name: METHODS._parts[name] for name in ("ssr", "contrast")}
    parts |= {"reads": "toy_methods:READS"}
    monkeypatch.setattr(METHODS, "_parts", parts)
    with pytest.raises(MissingDataError) as error:
        planned(methods=("ssr", "reads"))
    for part in ("caption", "which Reads needs", "ssr-bd features import", "--view caption"):
        assert part in str(error.value)
    plan = planned(methods=())
    lacking = [p for p in plan.runs if p.error]
    assert [p.spec.method for p in lacking] == ["reads"]
    assert lacking[0] not in plan.to_do


def test_a_seed_is_done_with_all_methods_before_the_next_one(planned):
    plan = planned(methods=("ssr", "contrast"), seeds=(3, 0), subjects=(1, 2))
    order = [(p.spec.train.seed, p.spec.method, p.spec.data.subject) for p in plan.to_do]
    cells = [("ssr", 1), ("ssr", 2), ("contrast", 1), ("contrast", 2)]
    assert order == [(seed, *cell) for seed in (3, 0) for cell in cells]


def test_cost_is_estimated_from_finished_runs_of_the_same_kind(planned, tmp_path):
    plan = planned(methods=("ssr", "contrast"), seeds=3)
    preview = grid_preview(plan, tmp_path, 2)
    assert preview["seconds"] is None and preview["unknown"] == preview["to_do"] == 6
    line = cost_line(preview, 2)
    assert "time unknown" in line and "the same grid with --epochs 1 measures each" in line
    spec, version = plan.runs[0].spec.model_dump(mode="json"), plan.dataset.source_key(1)
    finish(plan.runs[0].run, spec=spec, dataset={"fingerprint": version})
    preview = grid_preview(planned(methods=("ssr", "contrast"), seeds=3), tmp_path, 2)
    assert (preview["done"], preview["to_do"], preview["unknown"]) == (1, 5, 3)
    assert preview["seconds"] == 8.0  # two more of 8 s, two at a time
    line = cost_line(preview, 2)
    assert "1 done, 5 to do" in line and "about 8 s" in line and "3 of unknown length" in line
    longer = {**TINY, "train": {"epochs": 40}}
    rows = grid_preview(planned(settings=longer), tmp_path, 1)["runs"]
    assert [row["seconds"] for row in rows] == [80.0]


def test_the_time_left_is_that_of_the_kinds_that_have_ended(planned, tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 400))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    runs = planned(methods=("ssr", "contrast"), seeds=3).runs
    left = TimeLeft(runs, tmp_path, 2)
    assert str(left) == "6 of unknown length left"
    ends = [("ssr", 400.0), ("ssr", 800.0), ("contrast", 20.0), ("contrast", 40.0)]
    said = []
    for method, seconds in ends:
        run = next(run for run in runs if run.spec.method == method)
        runs.remove(run)
        left.ended(Outcome(run.run.path.name, seconds))
        said.append(str(left))
    assert said[0] == "about 7 min left, plus 3 of unknown length"  # two of 400 s, two at a time
    assert said[1] == "about 5 min left, plus 3 of unknown length"  # one of 600 s
    assert said[2] == "about 5 min left"  # and two of 20 s
    assert said[3] == "about 5 min left"
    assert [run.spec.method for run in runs] == ["ssr", "contrast"]
    for run in runs:
        left.ended(Outcome(run.run.path.name, error="out of memory"))
    assert str(left) == ""


def test_a_cluster_may_do_more_at_a_time_than_asked(planned, tmp_path, monkeypatch):
    clock = iter((0, 100, 200))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    runs = planned(seeds=9).runs
    left = TimeLeft(runs, tmp_path, 1)
    for run in runs[:4]:
        left.ended(Outcome(run.run.path.name, 100.0))
    assert str(left) == "about 2 min left"  # five of 100 s, four of which were done in 100 s


def test_a_run_that_is_tested_again_only_counts_for_nothing(planned, tmp_path):
    (run,) = planned().runs
    finish(run.run)
    left = TimeLeft([run], tmp_path, 1)
    assert str(left) == ""
    left.ended(Outcome(run.run.path.name, 1.0))
    assert str(left) == ""


def test_durations():
    assert [duration(s) for s in (0, 89, 90, 3600, 12_000)] == [
        "0 s",
        "89 s",
        "2 min",
        "60 min",
        "3 h 20 min",
    ]


def test_the_bar_shows_the_epochs_of_checkpoints(tmp_path):
    from types import SimpleNamespace

    from braindecode_ssr.benchmarking.run import _epochs
    from braindecode_ssr.config import RunSpec
    from braindecode_ssr.runs import Run

    runs = [SimpleNamespace(run=Run(tmp_path / name), spec=RunSpec()) for name in "abc"]
    assert _epochs(runs) == ""
    for name, epochs in (("a", (9, 10)), ("c", (3,))):
        for epoch in epochs:
            (tmp_path / name / "checkpoint" / f"epoch-{epoch:04d}").mkdir(parents=True)
    assert _epochs(runs) == "epoch 10/50, 3/50"

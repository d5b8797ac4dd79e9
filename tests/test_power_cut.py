"""Nothing has its final name before it is on the disk, and a run that a power cut has damaged is repaired."""

import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from test_training import make_data, make_parts

from braindecode_ssr.benchmarking.plan import plan_benchmark
from braindecode_ssr.benchmarking.run import run_plan
from braindecode_ssr.benchmarking.workers import run_task
from braindecode_ssr.config import TrainSpec
from braindecode_ssr.datasets.download import PartialFile
from braindecode_ssr.files import atomic_folder
from braindecode_ssr.pipeline import train
from braindecode_ssr.resolve import run_spec
from braindecode_ssr.runs import Run
from braindecode_ssr.training.retriever import fit

SETTINGS = {
    "data": {"preset": "tiny", "subject": 5},
    "method": "contrast",
    "model": {"width": 64, "n_outputs": 64},
    "train": {"epochs": 3, "keep": "every", "validation_concepts": 4, "ema": 0.9},
}
MEASURED = [  # what a power cut 7 seconds after the end of version 0.1.0 left without bytes
    *("summary.json", "queries.csv", "history.csv", "model.safetensors"),
    *("checkpoint/epoch-0003/criterion.pt", "checkpoint/epoch-0003/spec.json"),
    "checkpoint/epoch-0003/history.json",
]


@contextmanager
def recorded_disk():
    """Which paths were forced to the disk, and which got a name, in order."""
    if sys.platform != "linux":
        pytest.skip("file numbers are looked up in /proc")
    seen = []
    fsync, replace = os.fsync, os.replace

    def synced(number):
        seen.append(("sync", Path(os.readlink(f"/proc/self/fd/{number}"))))
        fsync(number)

    def renamed(source, target):
        source, target = Path(source), Path(target)
        inside = [source, *source.rglob("*")] if source.is_dir() else [source]
        missing = [path for path in inside if ("sync", path) not in seen]
        missing = [] if target.suffix == ".tmp" else missing  # is moved aside, to be removed
        assert not missing, f"{target} gets its name before {missing} are on the disk"
        replace(source, target)
        seen.append(("name", target))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", synced)
        patch.setattr(os, "replace", renamed)
        yield seen


@pytest.fixture
def disk():
    with recorded_disk() as seen:
        yield seen


def check_named(disk, folder):
    """Every file got its name, or that of a folder that holds it, by a rename that was forced out."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for file in files:
        names = [("name", path) for path in (file, *file.parents)]
        places = [disk.index(name) for name in names if name in disk]
        assert places, f"{file} was written under its final name"
        name = disk[min(places)][1]
        assert ("sync", name.parent) in disk[min(places) :], (
            f"the name of {file} was not forced out"
        )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run as it should be, and the folder of its data."""
    data, out = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("out")
    with recorded_disk() as disk:
        run = train(run_spec(SETTINGS), data_dir=data, out=out)
    assert {"trials", "features"} <= {path.name for path in data.glob("ssr/*/*")}
    check_named(disk, run.path)
    check_named(disk, data)
    assert ("sync", out) in disk
    return run, data


def test_a_run_its_trials_and_its_features_are_on_the_disk_before_they_have_names(finished):
    assert finished[0].finished and not finished[0].damage


def test_a_download_is_on_the_disk_before_it_has_its_name(disk, tmp_path):
    part = PartialFile(tmp_path / "file")
    part.begin("url", "", 4)
    part.path.write_bytes(b"data")
    part.publish(tmp_path / "file")
    check_named(disk, tmp_path)


def test_files_merged_into_a_folder_are_on_the_disk_before_they_have_names(disk, tmp_path):
    for name in ("one", "two"):
        with atomic_folder(tmp_path / "folder", merge=True) as folder:
            (folder / "deep").mkdir()
            (folder / "deep" / name).write_text(name)
    check_named(disk, tmp_path)
    assert len(list(tmp_path.rglob("*"))) == 4


def broken(path, how):
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": content[: len(content) // 2]}[how])


def repaired(finished, tmp_path, *broken_files, how="empty"):
    """Break files of a copy of the run; what the same command says and whether it has the same run then."""
    run, data = finished
    copy, said = Run(tmp_path / "out" / run.path.name), []
    shutil.copytree(run.path, copy.path)
    for name in broken_files:
        broken(copy.path / name, how)
    again = train(run_spec(SETTINGS), data_dir=data, out=tmp_path / "out", say=said.append)
    assert again.finished and not again.damage
    files = [run.weights, run.path / "queries.csv", *run.epochs.iterdir()]
    for file in files:
        assert file.read_bytes() == (copy.path / file.relative_to(run.path)).read_bytes(), file
    before, after = ({**one.summary, "train_seconds": 0} for one in (run, again))
    assert before == after
    return " ".join(said)


@pytest.mark.parametrize(
    ("names", "how"),
    [
        (MEASURED, "empty"),
        (["queries.csv"], "cut"),
        (["epochs/epoch-0001.safetensors", "model.safetensors"], "cut"),
    ],
)
def test_the_same_command_repairs_a_damaged_run(finished, tmp_path, names, how):
    said = repaired(finished, tmp_path, *names, how=how)
    assert "damaged" in said and names[0] in said


@pytest.mark.slow
@pytest.mark.parametrize("how", ["empty", "cut"])
def test_every_file_of_a_run_alone(finished, tmp_path, how):
    files = [file for file in finished[0].path.rglob("*") if file.is_file()]
    for number, file in enumerate(files):
        name = file.relative_to(finished[0].path)
        repaired(finished, tmp_path / str(number), name, how=how)
        repaired(finished, tmp_path / f"{number}s", name, "summary.json", how=how)


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_benchmark_repairs_its_runs_and_evaluations(tmp_path, finished, whole):
    settings = {**SETTINGS, "data": {"preset": "tiny"}, "train": {"epochs": 1}}
    grid = {"methods": ("contrast",), "subjects": (5,)}
    ways = {"evaluations": ("default", "repetitions=1")}
    plan, said = plan_benchmark(settings, tmp_path, finished[1], **grid, **ways), []
    (run,) = plan.runs

    def work():
        if whole:
            return run_plan(plan, tmp_path, say=said.append)
        assert not run_task(run.task(plan.dataset, 1)).error

    work()
    (other,) = run.run.path.glob("evaluation_*")
    files = [run.run.path / "summary.json", run.run.path / "queries.csv", other / "queries.csv"]
    before = [file.read_bytes() for file in files]
    for file in (files[0], files[2]):
        broken(file, "empty")
    assert not run.finished
    work()
    assert run.finished and [file.read_bytes() for file in files[1:]] == before[1:]
    if whole:
        assert "summary.json" in " ".join(said) and "queries.csv" in " ".join(said)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Two checkpoints, and the weights that one more epoch ends with."""
    folder = tmp_path_factory.mktemp("begun")
    spec = TrainSpec(epochs=3, batch_size=32, ema=0.9)
    fit(make_data(), *make_parts(), spec, folder / "checkpoint")
    assert len(list((folder / "checkpoint").glob("epoch-*"))) == 2
    whole = fit(make_data(), *make_parts(), spec.model_copy(update={"epochs": 4}), folder / "all")
    return folder / "checkpoint", whole.module_.state_dict()


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("model.pt", "empty"),
        ("optimizer.pt", "cut"),
        ("spec.json", "gone"),
        *(pytest.param("model.pt", how, marks=pytest.mark.slow) for how in ("cut", "gone")),
        pytest.param("criterion.pt", "gone", marks=pytest.mark.slow),
        pytest.param("average.pt", "empty", marks=pytest.mark.slow),
        pytest.param("history.json", "cut", marks=pytest.mark.slow),
    ],
)
def test_the_checkpoint_before_a_damaged_one_is_resumed_from(begun, tmp_path, name, how):
    checkpoints, expected = begun
    shutil.copytree(checkpoints, tmp_path / "checkpoint")
    damaged, said = tmp_path / "checkpoint/epoch-0003" / name, []
    damaged.unlink() if how == "gone" else broken(damaged, how)
    spec = TrainSpec(epochs=4, batch_size=32, ema=0.9)
    parts = make_data(), *make_parts(), spec, tmp_path / "checkpoint"
    net = fit(*parts, resume=True, say=said.append)
    for key, value in net.module_.state_dict().items():
        np.testing.assert_array_equal(value, expected[key])
    assert "epoch-0003" in said[0] and "damaged" in said[0]

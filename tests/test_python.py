"""From Python as in a notebook: the public functions, keywords and callbacks, end to end on tiny data."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

import braindecode_ssr
from braindecode_ssr.errors import UsageError

TINY = {"dataset": "things-sim", "preset": "tiny", "subject": 5, "epochs": 2, "batch_size": 32}
TINY |= {"model.width": 64, "model.n_outputs": 64}

CELL = """
from braindecode_ssr import ThingsEEG, ThingsMEG, ThingsSim, BIDSImages, SSR, SSRLoss, EEGRetriever
from braindecode_ssr import train, evaluate, benchmark, report, load_run, retrieve, score

run = train(dataset="things-sim", preset="tiny", subject=5, backbone="EEGNet", epochs=2, data_dir=data)
_, single = evaluate(run.path, "repetitions=1")
grid = benchmark(dataset="things-sim", preset="tiny", methods=["contrast", "ridge-decoding"], subjects=5,
                 protocols="intra", seeds=[3], epochs=2, jobs=1, out="grid", data_dir=data)
tables = report([run, grid], format="html", out="page")
sim = ThingsSim(data, preset="tiny")
found = retrieve(run.path, sim.recording(5, 5, "test").to_raw(sim.images), images=sim, top=3)
ranked, numbers = score(np.eye(20), images=list("abcdefghijklmnopqrst"))
net = EEGRetriever(SSR, criterion=SSRLoss, module__n_outputs=8, module__sfreq=250, max_epochs=1, verbose=0)
net.fit(x, features)
"""


@pytest.fixture(scope="module")
def cell(tmp_path_factory, sim_dir):
    from contextlib import nullcontext

    from conftest import Here

    from braindecode_ssr.benchmarking.workers import LocalWorkers

    rng = np.random.default_rng(0)
    names = {"data": sim_dir, "np": np, "x": rng.normal(size=(32, 17, 100)).astype("float32")}
    names["features"] = rng.normal(size=(32, 6)).astype("float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("cell"))
        patch.setattr(LocalWorkers, "executor", lambda self, n_tasks: nullcontext(Here()))
        exec(CELL, names)
        yield SimpleNamespace(**names)


def test_subjects_of_a_grid_may_be_an_array(sim_dir, tmp_path):
    grid = {"dataset": "things-sim", "preset": "tiny", "data_dir": sim_dir, "out": tmp_path}
    with pytest.raises(UsageError, match="no subject 99"):
        braindecode_ssr.benchmark(methods="ssr", subjects=np.array([1, 99]), **grid)


def test_the_ten_lines_run_as_one_cell(cell):
    assert cell.run.summary["backbone"] == "EEGNet" and cell.single["repetitions"] == 1
    assert cell.grid.table["method"].tolist() == ["contrast", "ridge-decoding"]
    assert set(cell.grid.runs["seed"]) == {3} and cell.grid.failed == []
    assert set(cell.tables.summary["method"]) == {"ssr", "contrast", "ridge-decoding"}
    assert [file.name for file in cell.tables.files] == ["report.html"]
    assert cell.numbers["top1"] == 1 and cell.net.score(cell.x, cell.features) >= 0
    assert len(cell.found) == 16 and list(cell.found)[:4] == ["image", "n_trials", "rank", "top_1"]
    assert cell.found.attrs["flags"] == ["transductive-whitening"]


def test_results_show_as_tables(cell):
    for made in (cell.grid, cell.tables):
        assert made._repr_html_().count("<table") >= 1 and "ridge-decoding" in made._repr_html_()
        assert "ridge-decoding" in str(made)


def test_a_grid_in_python_is_that_of_the_command_line(cell, capfd):
    import json

    from braindecode_ssr_cli import main

    args = "--dataset things-sim --preset tiny --methods contrast,ridge-decoding --subjects 5 --seeds 3-3"
    with pytest.raises(SystemExit):
        main(["benchmark", *args.split(), "--epochs", "2", "--out", str(cell.grid.path),
              "--data-dir", str(cell.data), "--dry-run", "--json"])  # fmt: skip
    plan = json.loads(capfd.readouterr().out)
    assert {row["state"] for row in plan["runs"]} == {"done"} and len(plan["runs"]) == 2


def test_callbacks_and_tensorboard_see_every_epoch(sim_dir, tmp_path):
    from skorch.callbacks import Callback, EarlyStopping

    class Losses(Callback):
        seen = []

        def on_epoch_end(self, net, **kwargs):
            self.seen.append(net.history[-1, "train_loss"])

    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    place = {"data_dir": sim_dir, "out": tmp_path}
    run = braindecode_ssr.train(**TINY, **place, log="tensorboard", callbacks=[Losses()])
    expected = run.history["train_loss"].tolist()
    assert Losses.seen == expected and "callbacks: Losses" in run.record["notes"]
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    logged = [event.value for event in events.Scalars("Loss/train_loss")]
    assert logged == pytest.approx(expected)
    with pytest.raises(UsageError, match="validation_concepts"):
        braindecode_ssr.train(**TINY, **place, callbacks=[EarlyStopping()])


def test_wandb_and_mlflow_get_the_history(sim_dir, tmp_path, monkeypatch):
    """Stand-ins for both packages, which are not installed here."""
    from importlib.machinery import ModuleSpec

    from braindecode_ssr.training.callbacks import logger

    logged = []
    log = SimpleNamespace(watch=lambda model: None, log=logged.append)
    wandb = SimpleNamespace(init=lambda **options: log, __spec__=ModuleSpec("wandb", None))
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    place = {"data_dir": sim_dir, "out": tmp_path}
    run = braindecode_ssr.train(**TINY, **place, log="wandb")
    assert [row["train_loss"] for row in logged] == run.history["train_loss"].tolist()
    started = SimpleNamespace(info=SimpleNamespace(run_id="7"))
    mlflow = SimpleNamespace(set_experiment=print, start_run=lambda **o: started, log_params=print)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    assert logger("mlflow", tmp_path, "a run", {"train": {"lr": 1}}).run is started


def test_a_log_that_is_not_installed_is_refused_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setattr("braindecode_ssr.pipeline.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install wandb"):
        braindecode_ssr.train(**TINY, out=tmp_path, log="wandb")
    with pytest.raises(UsageError, match="did you mean 'tensorboard'"):
        braindecode_ssr.train(**TINY, out=tmp_path, log="tensorbord")
    assert list(tmp_path.iterdir()) == []

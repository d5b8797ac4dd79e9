"""A dataset whose data are already epoched: one file and one registry line, from arrays to scores."""

import numpy as np
import pytest
from toy_arrays import CHANNELS, write_toy_arrays

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets import DATASETS
from braindecode_ssr.errors import UsageError
from braindecode_ssr.pipeline import train
from braindecode_ssr.resolve import run_spec
from braindecode_ssr.trials.prepare import prepare
from braindecode_ssr_cli import main


@pytest.fixture
def arrays(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS._parts, "toy-arrays", "toy_arrays:ToyArrays")
    root = tmp_path / "data"
    root.mkdir()
    return write_toy_arrays(root)


@pytest.fixture
def data(capfd):
    """Run ``ssr-bd data COMMAND toy-arrays``; what it printed."""

    def run(command, root, code):
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["data", command, "toy-arrays", "--data-dir", str(root)])
        out, err = capfd.readouterr()
        assert (ended.value.code or 0) == code, out + err
        return out + err

    return run


def test_trials_are_stored_as_they_are(arrays):
    store = prepare(arrays, 1, TrialSpec())
    np.testing.assert_array_equal(store.trials, np.load(arrays.root / "sub-01.npy"))
    assert store.ch_names == CHANNELS and store.units == "V"


def test_training_end_to_end(arrays, tmp_path):
    settings = {
        "data": {"dataset": "toy-arrays", "subject": 1},
        "train": {"epochs": 1, "batch_size": 8, "device": "cpu"},
    }
    run = train(run_spec(settings), data_dir=arrays.root, out=tmp_path / "runs")
    assert len(run.queries) == 8


def test_there_are_no_recordings(arrays):
    with pytest.raises(UsageError, match="epochs"):
        next(arrays.recordings(1))


def test_data_commands_name_the_files(arrays, data):
    for command in ("where", "check"):
        output = data(command, arrays.root, 0)
        assert "sub-01.npy" in output and "found" in output and "no files" not in output
    trials = np.load(arrays.root / "sub-01.npy")
    trials[:, 2] = np.nan
    np.save(arrays.root / "sub-01.npy", trials)
    output = data("check", arrays.root, 1)
    assert "broken" in output and "Pz" in output
    (arrays.root / "sub-02.npy").unlink()
    assert "sub-02.npy is missing" in data("check", arrays.root, 1)

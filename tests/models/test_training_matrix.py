"""Every backbone that the table calls working trains one epoch on the simulated experiment.

The fast subset is one of ours, one with adjusted parameters and cut at its embedding, one with positions;
``pytest -m slow tests/models/test_training_matrix.py`` trains the others.
"""

import math
import warnings

import pytest

from braindecode_ssr.models.names import backbone_rows
from braindecode_ssr.pipeline import train
from braindecode_ssr.resolve import run_spec

FAST = ["ATM", "SleepStagerBlanco2020", "DGCNN"]
WORKING = [row["name"] for row in backbone_rows() if row["17x250"] == "yes"]


def one_epoch(name, sim_dir, out):
    settings = {
        "data": {"dataset": "things-sim", "preset": "tiny", "subject": 1},
        "model": {"backbone": name, "width": 64, "n_outputs": 64},
        "train": {"epochs": 1, "batch_size": 32, "device": "cpu"},
    }
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = train(run_spec(settings), data_dir=sim_dir, out=out, say=said.append)
    assert math.isfinite(run.summary["top1"]) and run.summary["backbone"] == name
    assert len(run.history) == 1 and math.isfinite(run.history["train_loss"].iloc[0])
    assert any(line.startswith(f"backbone {name}: ") for line in said)


@pytest.mark.parametrize("name", FAST)
def test_one_epoch_of_each_kind(name, sim_dir, tmp_path):
    assert name in WORKING
    one_epoch(name, sim_dir, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in WORKING if name not in FAST])
def test_one_epoch(name, sim_dir, tmp_path):
    one_epoch(name, sim_dir, tmp_path)


def test_at_least_48_of_braindecodes_models_work():
    rows = [row for row in backbone_rows() if row["origin"] == "braindecode"]
    assert len(rows) >= 65
    assert sum(row["17x250"] == "yes" for row in rows) >= 48

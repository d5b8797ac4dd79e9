"""What is tested does not reach training, by what it does; test_architecture.py reads imports and words."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from braindecode_ssr.config import build
from braindecode_ssr.pipeline import train
from braindecode_ssr.trials.store import AveragedTrials, TrialStore


def fingerprints(folder):
    """A hash of every file of weights of a run."""
    files = [folder / "model.safetensors", *sorted((folder / "epochs").glob("*"))]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("solver", ["gradient", "ridge-decoding"])
def test_other_test_trials_change_the_ranks_and_no_weight(solver, sim_dir, tmp_path, monkeypatch):
    closed = solver != "gradient"
    choice = (
        {} if closed else {"keep": "every", "selection": "validation", "validation_concepts": 6}
    )
    settings = {
        "method": solver if closed else "contrast",
        "data": {"dataset": "things-sim", "preset": "tiny", "subject": 1},
        "model": {"backbone": "linear"} if closed else {"width": 64, "n_outputs": 64},
        "train": {"epochs": 3, "batch_size": 32, "device": "cpu", "solver": solver, **choice},
        "evaluation": {"selection": "trained" if closed else "oracle"},
    }
    honest = train(build(settings), data_dir=sim_dir, out=tmp_path / "honest")
    average = TrialStore.average

    def noise(self, split, **options):
        found = average(self, split, **options)
        if split != "test":
            return found
        x = np.random.default_rng(0).normal(size=found.x.shape).astype("float32")
        return AveragedTrials(x, found.table)

    monkeypatch.setattr(TrialStore, "average", noise)
    other = train(build(settings), data_dir=sim_dir, out=tmp_path / "other")
    assert not other.queries["score"].equals(honest.queries["score"])
    assert fingerprints(Path(other.path)) == fingerprints(Path(honest.path))
    assert len(fingerprints(Path(other.path))) == (1 if closed else 4)

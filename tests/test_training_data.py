import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from test_training import make_data, run, weights

from braindecode_ssr.config import DataSpec, build, merge
from braindecode_ssr.datasets import open_dataset
from braindecode_ssr.errors import DataError, LeakageError
from braindecode_ssr.images.features import image_features
from braindecode_ssr.pipeline import train
from braindecode_ssr.resolve import resolve
from braindecode_ssr.training.data import TrainingSet, training_data
from braindecode_ssr.trials.averages import TrialFile, TrialRows

SETTINGS = {
    "data": {"dataset": "things-sim", "preset": "tiny", "subject": 1, "protocol": "inter"},
    "model": {"n_outputs": 32, "width": 32},
    "train": {"epochs": 2, "batch_size": 64, "device": "cpu", "smoothing": 0.5},
}


def spec_of(**changes):
    return build(merge(SETTINGS, {"train": changes}))


@pytest.fixture
def folder(sim_dir, few_people):
    return sim_dir


@pytest.fixture(scope="module")
def both_sets(sim_dir, few_people):
    """The training set of the same spec in memory and on disk."""
    sets = []
    for memory in (1.0, 0.0):
        dataset = open_dataset(DataSpec(**SETTINGS["data"]), sim_dir)
        spec, _ = resolve(spec_of(memory=memory), dataset)
        features = image_features(dataset, spec.images.encoder, spec.images.views)
        features.complete(dataset, device="cpu", progress=False)
        sets.append(training_data(spec, dataset, features)[0])
    return sets


def test_what_takes_more_than_the_memory_stays_on_disk(both_sets):
    held, lazy = both_sets
    assert isinstance(held.x, torch.Tensor) and isinstance(lazy.x, TrialRows)
    assert torch.equal(held.x, lazy.x[:])
    assert torch.equal(held.image, lazy.image) and held.table.equals(lazy.table)
    assert held.n_bytes == lazy.n_bytes
    assert held.table["subject"].nunique() > 1


def test_a_run_from_disk_ends_with_the_same_weights_and_ranks(folder, both_sets, tmp_path):
    choices = {"validation_concepts": 4, "selection": "validation"}
    options = {"data_dir": folder, "out": tmp_path}
    few = {"data": {"channels": "occipital-17"}, "model": {"backbone": "EEGProject"}}
    held = train(build(merge(spec_of(**choices).model_dump(), few)), **options)
    files = {name: (held.path / name).read_bytes() for name in ("model.safetensors", "queries.csv")}
    history = pd.read_csv(held.path / "history.csv").drop(columns="dur")
    shutil.rmtree(held.path)
    lazy = train(build(merge(spec_of(**choices, memory=0).model_dump(), few)), **options)
    assert lazy.path == held.path
    assert json.loads((lazy.path / "run.json").read_text())["spec"]["train"]["memory"] == 0
    assert {name: (lazy.path / name).read_bytes() for name in files} == files
    pd.testing.assert_frame_equal(
        pd.read_csv(lazy.path / "history.csv").drop(columns="dur"), history
    )


@pytest.mark.parametrize("what", ["the same image file", "equal features"])
def test_a_test_image_under_another_name_does_not_train(folder, both_sets, monkeypatch, what):
    dataset = open_dataset(DataSpec(**SETTINGS["data"]), folder)
    spec, _ = resolve(spec_of(), dataset)
    features = image_features(dataset, spec.images.encoder, spec.images.views)
    ids = {
        split: dataset.images["image_id"][dataset.images["split"] == split].iloc[3]
        for split in ("train", "test")
    }
    if what == "equal features":
        original = features.original

        def copied(wanted):
            twin = [ids["test"] if one == ids["train"] else one for one in wanted]
            return original(twin)

        monkeypatch.setattr(type(features), "original", lambda self, wanted: copied(wanted))
    else:
        monkeypatch.setattr(dataset, "image_hashes", lambda: dict.fromkeys(ids.values(), "0123"))
    with pytest.raises(LeakageError) as error:
        training_data(spec, dataset, features)
    assert all(part in str(error.value) for part in (what, *ids.values()))


def on_disk(data, folder):
    folder.mkdir(exist_ok=True)
    np.save(folder / "x.npy", data.x.numpy())
    x = TrialRows([TrialFile.open(folder / "x.npy")])
    return TrainingSet(x, data.image, data.original, data.view, data.table)


def test_a_run_from_disk_resumes_where_it_was_cut_off(tmp_path):
    data = on_disk(make_data(), tmp_path / "data")
    options = {"train": {"validation_concepts": 4}}
    run(tmp_path / "parts", epochs=2, data=data, **options)
    resumed = run(tmp_path / "parts", epochs=4, data=data, resume=True, **options)
    whole = run(tmp_path / "whole", epochs=4, **options)
    assert torch.equal(weights(resumed), weights(whole))
    assert resumed.history[:, "valid_top5"] == whole.history[:, "valid_top5"]


def test_a_file_that_changes_while_it_is_trained_on_ends_the_run(tmp_path):
    data = on_disk(make_data(), tmp_path / "data")
    run(tmp_path / "run", epochs=1, data=data)
    np.save(tmp_path / "data" / "x.npy", np.zeros(3))
    with pytest.raises(DataError, match="changed during training.*same command"):
        run(tmp_path / "run", epochs=2, data=data, resume=True)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["epoch-0001"]

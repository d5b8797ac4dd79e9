"""A backbone of one's own in a run: as a class, as a model, and as a file."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from braindecode_ssr.datasets import open_dataset
from braindecode_ssr.errors import LeakageError, UsageError
from braindecode_ssr.pipeline import evaluate, train
from braindecode_ssr.resolve import run_spec
from braindecode_ssr.training.retriever import is_pretrained

SETTINGS = {
    "data": {"dataset": "things-sim", "preset": "tiny", "subject": 1},
    "model": {"width": 64, "n_outputs": 64},
    "train": {"epochs": 1, "batch_size": 32, "device": "cpu"},
}
FILE = """
from safetensors.torch import load_file
from torch import nn


class Net(nn.Module):
    def __init__(self, n_outputs, n_chans, n_times, width=8, start=None):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(n_chans * n_times, width), nn.ELU())
        self.final_layer = nn.Linear(width, n_outputs)
        if start:
            self.layers.load_state_dict(load_file(start))

    def forward(self, x):
        return self.final_layer(self.layers(x))
"""


@pytest.fixture
def net(tmp_path, monkeypatch):
    """The folder of ``net.py``, which is the current one, and its class, which cannot be imported."""
    (tmp_path / "net.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "nowhere"}
    exec(FILE, space)
    return tmp_path, space["Net"]


def again(run, **options):
    _, numbers = evaluate(run.path, device="cpu", **options)
    return numbers["mrr"] == run.summary["mrr"]


def test_a_class(net, sim_dir):
    folder, cls = net
    run = train(run_spec(SETTINGS), backbone=cls, data_dir=sim_dir, out=folder / "runs")
    assert run.summary["backbone"] == "nowhere.Net" and run.summary["flags"] == []
    assert again(run, backbone=cls)
    with pytest.raises(UsageError, match="nowhere.Net.*pass the class itself"):
        evaluate(run.path, device="cpu")


def test_its_parameters_and_not_those_of_the_method(net, sim_dir, few_people):
    folder, cls = net
    own = {"method": "neurobridge", "data": {"protocol": "inter"}, "train": {"batch_size": 256}}
    spec = run_spec(SETTINGS, own, {"model": {"backbone_params": {"width": 5}}})
    assert "weight_init" in spec.model.backbone_params
    run = train(spec, backbone=cls, data_dir=sim_dir, out=folder / "runs")
    assert load_file(run.weights)["backbone.final_layer.weight"].shape == (64, 5)


def test_a_model_is_left_as_it_was_and_two_of_them_are_two_runs(net, sim_dir):
    folder, cls = net
    models = [cls(64, 17, 250) for _ in range(2)]
    before = models[0].final_layer.weight.detach().clone()
    one, other = (
        train(run_spec(SETTINGS), backbone=model, data_dir=sim_dir, out=folder / "runs")
        for model in models
    )
    assert one.path != other.path and one.summary["backbone"].startswith("nowhere.Net@")
    assert torch.equal(models[0].final_layer.weight, before)
    assert one.summary["flags"] == [
        "pretrained-elsewhere"
    ]  # nobody knows where its weights are from
    assert not torch.equal(load_file(one.weights)["backbone.final_layer.weight"], before)
    said = []
    train(
        run_spec(SETTINGS),
        backbone=models[0],
        data_dir=sim_dir,
        out=folder / "runs",
        say=said.append,
    )
    assert "finished already" in said[-1]
    assert again(one, backbone=models[1])  # its weights come from the run
    with pytest.raises(UsageError, match="pass a class or model .* again"):
        evaluate(one.path, device="cpu")


def test_a_file_is_recorded_by_its_absolute_path(net, sim_dir, monkeypatch):
    folder, _ = net
    run = train(run_spec(SETTINGS), backbone="net.py:Net", data_dir=sim_dir, out=folder / "runs")
    assert run.summary["backbone"] == f"{folder / 'net.py'}:Net"
    monkeypatch.chdir("/")
    with pytest.raises(UsageError, match="trust"):
        evaluate(run.path, device="cpu")
    assert again(run, trust=True) and again(run, trust=run.summary["backbone"])
    spec = run_spec(SETTINGS, {"model": {"backbone": f"{folder / 'net.py'}:Net"}})
    with pytest.raises(UsageError, match="trust"):
        train(spec, data_dir=sim_dir, out=folder / "other")
    assert not (folder / "other").exists()


def test_weights_that_a_backbone_loads_by_its_own_parameters(net, sim_dir):
    folder, cls = net
    save_file(cls(64, 17, 250).layers.state_dict(), folder / "start.safetensors")
    spec = run_spec(
        SETTINGS, {"model": {"backbone_params": {"start": str(folder / "start.safetensors")}}}
    )
    options = {"backbone": cls, "data_dir": sim_dir, "out": folder / "runs"}
    run = train(spec, **options)
    assert run.summary["flags"] == run.record["flags"] == ["pretrained-elsewhere"]
    _, numbers = evaluate(run.path, "repetitions=1", device="cpu", backbone=cls)
    assert numbers["flags"] == ["pretrained-elsewhere"]


def test_concepts_that_pretraining_has_seen(sim_dir, tmp_path):
    def flagged(known, pretrained="some/weights"):
        model = run_spec({"model": {"pretrained": pretrained, "pretrained_concepts": known}}).model
        return is_pretrained(model, torch.nn.Identity(), None)

    assert flagged("unknown") and not flagged("unknown", None)
    assert not flagged("disjoint") and not flagged(["aardvark"])
    images = open_dataset(run_spec(SETTINGS).data, sim_dir).images
    tested = images.loc[images["split"] != "train", "concept"].iloc[0]
    spec = run_spec(SETTINGS, {"model": {"pretrained_concepts": [tested.upper()]}})
    with pytest.raises(LeakageError, match=tested):
        train(spec, data_dir=sim_dir, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()

"""A backbone of one's own in a run: as a class, as a model, and as a file."""

import pytest
import torch
from safetensors.torch import load_file

from braindecode_ssr.errors import UsageError
from braindecode_ssr.pipeline import evaluate, train
from braindecode_ssr.resolve import run_spec

SETTINGS = {
    "data": {"dataset": "things-sim", "preset": "tiny", "subject": 1},
    "train": {"epochs": 1, "batch_size": 32, "device": "cpu"},
}
FILE = """
from torch import nn


class Net(nn.Module):
    def __init__(self, n_outputs, n_chans, n_times, width=8):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(n_chans * n_times, width), nn.ELU())
        self.final_layer = nn.Linear(width, n_outputs)

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
    assert run.summary["backbone"] == "nowhere.Net"
    assert again(run, backbone=cls)
    with pytest.raises(UsageError, match="nowhere.Net.*pass the class itself"):
        evaluate(run.path, device="cpu")


def test_its_parameters_and_not_those_of_the_method(net, sim_dir):
    folder, cls = net
    own = {"method": "neurobridge", "data": {"protocol": "inter"}}
    spec = run_spec(SETTINGS, own, {"model": {"backbone_params": {"width": 5}}})
    assert "weight_init" in spec.model.backbone_params
    run = train(spec, backbone=cls, data_dir=sim_dir, out=folder / "runs")
    assert load_file(run.weights)["backbone.final_layer.weight"].shape == (1024, 5)


def test_a_model_is_left_as_it_was_and_two_of_them_are_two_runs(net, sim_dir):
    folder, cls = net
    models = [cls(1024, 17, 250) for _ in range(2)]
    before = models[0].final_layer.weight.detach().clone()
    one, other = (
        train(run_spec(SETTINGS), backbone=model, data_dir=sim_dir, out=folder / "runs")
        for model in models
    )
    assert one.path != other.path and one.summary["backbone"].startswith("nowhere.Net@")
    assert torch.equal(models[0].final_layer.weight, before)
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

import copy

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from braindecode_ssr import train
from braindecode_ssr.calibrate import finetune
from braindecode_ssr.errors import UsageError
from braindecode_ssr.inference.trained import load_run
from braindecode_ssr.models import SSR
from braindecode_ssr.models.modules import count_parameters
from braindecode_ssr.models.tuning import LowRank, merged_state, tune
from braindecode_ssr.sharing.export import export, push

C, T = 4, 12


class Net(nn.Module):
    """Attention, a perceptron, dropout, batch norm and a last layer."""

    def __init__(self, n_outputs, n_chans, n_times):
        super().__init__()
        self.attention = nn.MultiheadAttention(n_times, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(n_times, 8), nn.BatchNorm1d(n_chans), nn.Dropout(0.5))
        self.final_layer = nn.Linear(8 * n_chans, n_outputs)

    def forward(self, x):
        return self.final_layer(self.mlp(self.attention(x, x, x)[0]).flatten(1))


def build(**params):
    torch.manual_seed(0)
    shape = {"n_outputs": 5, "n_chans": C, "n_times": T, "n_features": 6, "width": 7}
    return SSR(**{**shape, "backbone": Net, "feature_point": "head", **params})


def step(model, n=3):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(n):
        optimizer.zero_grad()
        (model.train()(torch.randn(6, C, T)) - 1).square().mean().backward()
        optimizer.step()
    return model.eval()


def test_lora_is_the_formula_and_starts_from_the_model():
    weight = torch.randn(3, 4)
    layer = LowRank(weight, 2, 6.0)
    assert torch.equal(layer(weight), weight)
    nn.init.normal_(layer.B)
    wanted = weight.clone()
    for i in range(3):
        for j in range(4):
            wanted[i, j] += 6.0 / 2 * sum(layer.B[i, r] * layer.A[r, j] for r in range(2))
    torch.testing.assert_close(layer(weight), wanted.detach())
    x = torch.randn(3, C, T)
    assert torch.equal(tune(build().eval(), "lora")(x), build().eval()(x))


def test_lora_trains_low_rank_changes_of_linear_and_attention_layers_and_the_head():
    before = build()
    model = step(tune(build(), "lora", rank=2, alpha=4.0))
    changed = merged_state(model)
    assert changed.keys() == before.state_dict().keys()
    ranks = {}
    for name in ("attention.in_proj_weight", "attention.out_proj.weight", "mlp.0.weight"):
        difference = changed[f"backbone.{name}"] - before.state_dict()[f"backbone.{name}"]
        ranks[name] = int(torch.linalg.matrix_rank(difference, rtol=1e-4))
    assert set(ranks.values()) == {2}
    for name in ("attention.in_proj_bias", "mlp.0.bias", "mlp.1.weight"):
        assert torch.equal(changed[f"backbone.{name}"], before.state_dict()[f"backbone.{name}"])
    for name in ("backbone.final_layer.weight", "final_layer.weight"):
        assert not torch.equal(changed[name], before.state_dict()[name])
    head = 7 * (8 * C + 1)
    adapters = 2 * (T + 3 * T) + 2 * (T + T) + 2 * (T + 8)
    both_projectors = 5 * (7 + 1) + 5 * (6 + 1)
    assert count_parameters(model)["trained"] == head + adapters + both_projectors


def test_merged_it_is_the_same_model_without_adapters():
    model = step(tune(build(), "lora"))
    x, again = torch.randn(3, C, T), build()
    again.load_state_dict(merged_state(model))
    wanted = model(x)
    assert any(isinstance(part, LowRank) for part in model.modules())  # left as it was
    assert torch.equal(again.eval()(x), wanted)


def test_frozen_trains_the_last_layer_and_the_projectors_alone():
    before = build().state_dict()
    model = step(tune(build(), "frozen"))
    same = {name for name, value in model.state_dict().items() if torch.equal(value, before[name])}
    idle = {name for name in before if name.startswith(("image_head.", "final_layer."))}
    assert {name for name in before if ".attention." in name or ".mlp." in name} <= same
    assert "backbone.final_layer.weight" not in same and not same & {"final_layer.weight"}
    assert idle - same  # the image projector takes no part here
    mlp = model.train().backbone.mlp
    x = torch.randn(2, C, T)
    assert torch.equal(mlp(x), mlp(x))  # no dropout


def test_frozen_parts_get_no_adapters():
    model = tune(build().freeze("backbone.attention"), "lora")
    assert sum(isinstance(part, LowRank) for part in model.modules()) == 1
    with pytest.raises(UsageError, match="no linear layer.*backbone frozen"):
        tune(build().freeze("backbone"), "lora")
    with pytest.raises(UsageError, match="EEGNet has no linear layer"):
        tune(build(backbone="EEGNet", n_times=100), "lora")
    with pytest.raises(UsageError, match="lora"):
        tune(build(), "lorra")
    with pytest.raises(UsageError, match="EEGProject is nothing but a last layer"):
        tune(build(backbone="EEGProject"), "frozen")


RECIPE = {
    **{"dataset": "things-sim", "preset": "tiny", "subject": 5, "epochs": 2, "backbone": "TimmViT"},
    **{"model.backbone_params": {"depth": 1}, "model.tuning": "lora", "model.lora_rank": 2},
    **{"model.width": 64, "model.n_outputs": 64},
}


@pytest.fixture(scope="module")
def lora_run(sim_dir, tmp_path_factory):
    said = []
    out = tmp_path_factory.mktemp("lora")
    options = {"train.keep": "every", "train.ema": 0.9, "data_dir": sim_dir, "out": out}
    return train(**RECIPE, **options, say=said.append), said


def test_a_run_says_and_stores_what_was_trained(lora_run):
    run, said = lora_run
    counted = run.record["parameters"]
    assert 0 < counted["trained"] < counted["total"]
    assert any(f"{counted['trained']:,} of {counted['total']:,}" in line for line in said)
    assert run.record["backbone"]["channels"]["matched"]["Oz"] == "occipital"
    assert any("occipital 8" in line for line in said)
    assert "pretrained-elsewhere" not in run.summary["flags"]  # timm's random weights


def test_files_of_a_run_hold_a_plain_model(lora_run):
    run, _ = lora_run
    files = [run.weights, *sorted(run.epochs.glob("*.safetensors"))]
    assert len(files) == 3
    for file in files:
        assert not [name for name in load_file(file) if "parametrizations" in name]
    x = torch.randn(2, 17, 250)
    assert torch.equal(load_run(run.path).model(x), run.model(x))


@pytest.mark.parametrize("form", ["embeddings", "torchscript", "torch-export"])
def test_a_run_is_exported(lora_run, tmp_path, form):
    run, _ = lora_run
    assert export(run.path, form, tmp_path)["difference"] <= 1e-4


def test_a_run_is_pushed_and_loads_in_braindecode(lora_run, tmp_path):
    run, _ = lora_run
    place = push(run.path, "lab/lora", to=tmp_path)
    x = torch.randn(2, 17, 250)
    for model in (load_run(place).model, SSR.from_pretrained(place).eval()):
        assert torch.equal(model(x), run.model(x))


def test_an_interrupted_run_goes_on_to_the_same_weights(lora_run, sim_dir, tmp_path, monkeypatch):
    from braindecode_ssr import pipeline

    def die(*args):
        raise KeyboardInterrupt

    options = {"data_dir": sim_dir, "out": tmp_path, "train.keep": "every", "train.ema": 0.9}
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "write_model", die)
        with pytest.raises(KeyboardInterrupt):
            train(**RECIPE, **options)
    again, said = None, []
    again = train(**RECIPE, **options, say=said.append)
    assert "resuming from epoch 2" in said
    ours, wanted = load_file(again.weights), load_file(lora_run[0].weights)
    assert all(torch.equal(ours[name], wanted[name]) for name in wanted)


def test_finetuning_adapts_the_run_again(lora_run, tmp_path):
    run, _ = lora_run
    tuned = finetune(run, subject=2, trials=40, epochs=1, out=tmp_path)
    before, after = load_file(run.weights), load_file(tuned.weights)
    block = "backbone.vit.blocks.0."
    name = f"{block}attn.qkv.weight"
    assert int(torch.linalg.matrix_rank((after[name] - before[name]).double(), rtol=1e-3)) <= 2
    assert not torch.equal(after[name], before[name])
    assert torch.equal(after[f"{block}norm1.weight"], before[f"{block}norm1.weight"])


def test_nothing_left_to_train(sim_dir, tmp_path):
    options = {"data_dir": sim_dir, "out": tmp_path, "model.tuning": "frozen"}
    parts = ["backbone", "final_layer", "image_head"]
    with pytest.raises(UsageError, match="nothing of the model is trained"):
        train(**{**RECIPE, **options, "model.freeze": parts})


def test_copies_are_independent():
    model = tune(build(), "lora")
    other = copy.deepcopy(model)
    step(other)
    assert torch.equal(merged_state(model)["backbone.mlp.0.weight"], build().backbone.mlp[0].weight)

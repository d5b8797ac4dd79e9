import pytest
import torch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.models import SSR
from braindecode_ssr.models.modules import parameters_of, rate_groups

C, T = 4, 100


def build():
    torch.manual_seed(0)
    return SSR(n_outputs=5, n_chans=C, n_times=T, backbone="TSConv", width=8, n_features=6)


def test_a_part_by_name():
    model = build()
    assert set(parameters_of(model, "final_layer")) == {"final_layer.weight", "final_layer.bias"}
    assert list(parameters_of(model, "image_head.bias")) == ["image_head.bias"]
    assert all(n.startswith("backbone.mix.") for n in parameters_of(model, "backbone.mix"))


@pytest.mark.parametrize(
    "part, near", [("backbon", "backbone"), ("backbone.mixed", "backbone.mix")]
)
def test_a_part_that_is_not_there(part, near):
    for use in (build().freeze, lambda name: rate_groups(build(), {name: 1e-3})):
        with pytest.raises(UsageError, match=f"part of the model.*did you mean '{near}'"):
            use(part)


def test_frozen_parts_stay_as_they_are_statistics_included():
    model = build().freeze("backbone.temporal", "image_head")
    before = {name: part.clone() for name, part in model.state_dict().items()}
    trained = [part for part in model.parameters() if part.requires_grad]
    optimizer = torch.optim.AdamW(trained, 0.1)
    model.train()
    assert not model.backbone.temporal.training and model.backbone.spatial.training
    model(torch.randn(8, C, T)).square().sum().backward()
    optimizer.step()
    now = model.state_dict()
    kept = {name for name, part in now.items() if torch.equal(part, before[name])}
    frozen = {n for n in now if n.startswith(("backbone.temporal.", "image_head."))}
    assert frozen <= kept
    moved = set(now) - kept
    assert {"backbone.spatial.0.weight", "backbone.spatial.1.running_mean"} <= moved


def test_a_frozen_model_is_as_it_was_after_saving_and_loading(tmp_path):
    model = build().freeze("backbone").eval()
    model.save_pretrained(tmp_path)
    x = torch.randn(2, C, T)
    assert torch.equal(SSR.from_pretrained(tmp_path).eval()(x), model(x))


def test_rates_of_parts_and_of_their_parts():
    from skorch import NeuralNet

    rates = {"backbone": 1e-5, "backbone.mix": 3e-3}
    model = build()
    net = NeuralNet(
        model,
        criterion=torch.nn.MSELoss,
        optimizer=torch.optim.AdamW,
        optimizer__param_groups=rate_groups(model, rates),
        lr=1e-4,
    ).initialize()
    rate = {id(p): group["lr"] for group in net.optimizer_.param_groups for p in group["params"]}
    for name, parameter in net.module_.named_parameters():
        part = next((part for part in sorted(rates)[::-1] if name.startswith(f"{part}.")), None)
        assert rate[id(parameter)] == rates.get(part, 1e-4), name

import copy
import inspect
import json
import pickle
import warnings
from types import MethodType

import pytest
import torch
from braindecode import EEGRegressor
from braindecode.models import EEGNet
from braindecode.models.config import make_model_config

from braindecode_ssr.errors import UsageError
from braindecode_ssr.losses import SSRLoss
from braindecode_ssr.models import SSR, EEGProject, TSConv

C, T, E, D = 5, 100, 8, 6
SMALL = {"n_outputs": E, "n_chans": C, "n_times": T, "width": 16, "n_features": D}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SSR(**SMALL).eval()


@pytest.fixture
def x():
    return torch.randn(3, C, T, generator=torch.Generator().manual_seed(1))


def test_parameter_counts_as_published():
    with torch.device("meta"):
        intra = SSR(n_outputs=512, n_chans=17, n_times=250)
        inter = SSR(n_outputs=512, n_chans=63, n_times=250, backbone="TSConv")
    assert sum(parameter.numel() for parameter in intra.parameters()) == 6_454_272
    assert sum(parameter.numel() for parameter in inter.parameters()) == 3_680_512


def test_the_two_projectors(model, x):
    features = model(x, return_features=True)["features"]
    assert features.shape == (3, 16)
    torch.testing.assert_close(features, model.backbone(x))
    weight, bias = model.final_layer.weight, model.final_layer.bias
    torch.testing.assert_close(model(x), features @ weight.T + bias)
    assert model.image_head(torch.randn(7, D)).shape == (7, E)
    assert isinstance(model.image_head, torch.nn.Linear)


def test_other_brain_projectors(x):
    torch.manual_seed(0)
    two = SSR(**SMALL, projector="perceptron").eval()
    first, _, second = two.final_layer
    hidden = two.backbone(x) @ first.weight.T + first.bias
    hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    torch.testing.assert_close(two(x), hidden @ second.weight.T + second.bias)
    two.reset_head(3)
    assert two(x).shape == (3, 3)
    bare = SSR(**{**SMALL, "n_outputs": 16}, projector="none").eval()
    torch.testing.assert_close(bare(x), bare.backbone(x))
    with pytest.raises(UsageError, match="width 16 .* space of 8.*n_outputs to 16"):
        SSR(**SMALL, projector="none")
    with pytest.raises(UsageError, match="projector .*'lineal'.*did you mean 'linear'"):
        SSR(**SMALL, projector="lineal")
    with pytest.raises(UsageError, match="neither in hyperbolic space nor with n_subjects"):
        SSR(**SMALL, projector="perceptron", space="hyperbolic")


def chs_info(n):
    return [{"ch_name": f"C{number}", "kind": "eeg"} for number in range(n)]


@pytest.mark.parametrize(
    "signal",
    [
        {"n_chans": C, "n_times": T},
        {"chs_info": chs_info(C), "n_times": T},
        {"n_chans": C, "input_window_seconds": 0.5, "sfreq": 200},
        {"chs_info": chs_info(C), "n_chans": C, "n_times": T, "sfreq": 200},
        {"n_chans": C, "n_times": T, "sfreq": 200, "input_window_seconds": 0.5},
    ],
)
@pytest.mark.parametrize("backbone", ["EEGProject", "TSConv", "EEGNet"])
def test_every_admissible_combination_of_signal_parameters(signal, backbone, x):
    model = SSR(n_outputs=E, width=16, n_features=D, backbone=backbone, **signal)
    assert model.eval()(x).shape == (3, E)
    assert "SSR" in str(model)


@pytest.mark.parametrize("wrong", [{"n_chans": C}, {"n_times": T}, {"n_chans": C, "sfreq": 200}])
def test_signal_parameters_that_are_missing(wrong):
    with pytest.raises(ValueError, match="could not be inferred"):
        SSR(n_outputs=E, **wrong)


@pytest.mark.parametrize("model_class", [SSR, EEGProject, TSConv])
def test_what_braindecode_asks_of_a_model(model_class):
    parameters = inspect.signature(model_class.__init__).parameters
    assert issubclass(parameters["activation"].default, torch.nn.Module)
    assert "drop_prob" in parameters
    model = model_class(n_outputs=4, n_chans=C, n_times=T)
    assert "final_layer" in [name for name, _ in model.named_children()][-2:]
    assert (
        "Parameters" in model_class.__doc__
        and "n_outputs" in inspect.signature(model_class).parameters
    )
    model.train()
    assert model(torch.randn(1, C, T)).shape == (1, 4)
    assert all(part.training for part in model.modules())


def test_activation_and_dropout_before_the_projector(x):
    model = SSR(**SMALL, activation=torch.nn.ReLU, drop_prob=0.5)
    assert [type(part) for part in model.neck] == [torch.nn.ReLU, torch.nn.Dropout]
    assert model.neck[1].p == 0.5
    assert (model.eval()(x, return_features=True)["features"] >= 0).all()


def test_a_new_head_keeps_all_records_in_step(model, x):
    backbone = copy.deepcopy(model.backbone.state_dict())
    model.reset_head(3)
    assert model(x).shape == (3, 3) and model.image_head(torch.randn(2, D)).shape == (2, 3)
    assert model.n_outputs == 3 == model.get_config()["n_outputs"]
    assert all(
        torch.equal(backbone[name], part) for name, part in model.backbone.state_dict().items()
    )
    with pytest.raises(ValueError, match="positive"):
        model.reset_head(0)


@pytest.mark.parametrize("backbone", ["TSConv", EEGNet])
def test_configuration_round_trip(backbone, x):
    params = {"drop_prob": 0.2, "activation": "torch.nn.ReLU"}
    model = SSR(**SMALL, sfreq=200, backbone=backbone, backbone_params=params).eval()
    config = json.loads(json.dumps(model.get_config()))
    again = SSR.from_config(config).eval()
    again.load_state_dict(model.state_dict())
    assert type(again.backbone) is type(model.backbone)
    assert torch.equal(again(x), model(x)) and again.get_config() == config


def test_saving_and_loading(model, x, tmp_path):
    model.save_pretrained(tmp_path)
    again = SSR.from_pretrained(tmp_path).eval()
    assert torch.equal(again(x), model(x))
    other = SSR.from_pretrained(tmp_path, n_outputs=3).eval()
    assert other(x).shape == (3, 3) and other.image_head(torch.randn(2, D)).shape == (2, 3)
    torch.testing.assert_close(other.backbone(x), model.backbone(x))
    card = (tmp_path / "README.md").read_text()
    assert "bsd-3-clause" in card and "braindecode.org" not in card


def test_loading_is_strict(model, tmp_path):
    from safetensors.torch import load_file, save_file

    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["image_head.bias"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match="image_head.bias"):
        SSR.from_pretrained(tmp_path)
    assert SSR.from_pretrained(tmp_path, strict=False).n_outputs == E


def test_an_instance_as_backbone_trains_but_has_no_configuration(x, tmp_path):
    model = SSR(**SMALL, backbone=EEGProject(n_outputs=16, n_chans=C, n_times=T))
    assert model(x).shape == (3, E)
    for save in (model.get_config, lambda: model.save_pretrained(tmp_path)):
        with pytest.raises(UsageError, match="instance of EEGProject.*backbone_params"):
            save()


@pytest.mark.parametrize("backbone", ["EEGProject", "TSConv"])
def test_script_export_pickle_and_copies(backbone, x):
    model = SSR(**SMALL, backbone=backbone).eval()
    wanted = model(x)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        scripted = torch.jit.script(model)
    torch.testing.assert_close(scripted(x), wanted)
    batch = torch.export.Dim("batch", min=2)
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: batch}, None)[:1])
    torch.testing.assert_close(exported.module()(x[:2]), wanted[:2])
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(x), wanted)
        assert other.get_config() == model.get_config()


def test_forward_needs_nothing_but_its_parts(model, x):
    """braindecode's test of TorchScript: public methods and parts on a plain module."""
    plain = torch.nn.Module()
    for name, part in model.named_children():
        plain.add_module(name, part)
    for name, value in vars(model).items():
        if name != "_modules":
            setattr(plain, name, value)
    for name, method in inspect.getmembers(SSR, inspect.isfunction):
        if not name.startswith("_"):
            setattr(plain, name, MethodType(method, plain))
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        scripted = torch.jit.script(plain.eval())
    torch.testing.assert_close(scripted(x), model(x))


def test_compiles(model, x):
    torch.compiler.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.slow
def test_compiles_with_inductor(model, x):
    torch.testing.assert_close(torch.compile(model, fullgraph=True)(x), model(x), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "backbone",
    ["EEGProject", "TSConv", "EEGNet", "ShallowFBCSPNet", "Deep4Net", "EEGConformer", "ATCNet"],
)
def test_backbones_train_a_step(backbone):
    torch.manual_seed(0)
    model = SSR(n_outputs=E, n_chans=17, n_times=250, backbone=backbone, width=32, n_features=D)
    loss = SSRLoss(E)
    before = {name: part.detach().clone() for name, part in model.named_parameters()}
    optimizer = torch.optim.AdamW([*model.parameters(), *loss.parameters()], 1e-2)
    original = torch.randn(4, D)
    view = model.image_head(original + 0.1)
    total = loss(model(torch.randn(4, 17, 250)), model.image_head(original), view)["loss"]
    total.backward()
    optimizer.step()
    assert torch.isfinite(total)
    assert all(part.grad is not None for part in model.parameters())
    moved = [not torch.equal(before[name], part) for name, part in model.named_parameters()]
    assert sum(moved) > 0.9 * len(moved)


@pytest.mark.parametrize("module", ["SSR", SSR])
def test_in_a_braindecode_regressor(module, x):
    net = EEGRegressor(
        module,
        module__n_outputs=E,
        module__width=16,
        module__n_features=D,
        max_epochs=1,
        batch_size=2,
        train_split=None,
        verbose=0,
    )
    net.fit(x.numpy(), torch.randn(3, E).numpy())
    assert type(net.module_) is SSR and net.predict(x.numpy()).shape == (3, E)


def test_in_a_pydantic_configuration():
    config = make_model_config(SSR, ["n_chans", "n_outputs", "n_times"])
    written = config(**SMALL, backbone="TSConv").model_dump(mode="json")
    made = config.model_validate(written).create_instance()
    assert type(made) is SSR and type(made.backbone) is TSConv


def test_subjects_reach_a_backbone_that_takes_them(x):
    params = {"subject_dim": 2, "n_subjects": 3, "depth": 1, "hidden_dim": 8}
    model = SSR(**SMALL, sfreq=200, backbone="BrainModule", backbone_params=params).eval()
    one, other = (model(x, subject_index=torch.tensor(who)) for who in ([0, 1, 2], [0, 2, 2]))
    torch.testing.assert_close(one[[0, 2]], other[[0, 2]])
    assert not torch.allclose(one[1], other[1])
    torch.testing.assert_close(model(x), model(x, subject_index=torch.zeros(3, dtype=torch.long)))


def test_subjects_for_a_backbone_that_ignores_them(model, x):
    with pytest.raises(UsageError, match="EEGProject.*leave subject_index out"):
        model(x, subject_index=torch.zeros(3, dtype=torch.long))


def test_documentation_names_the_right_module():
    assert "from braindecode_ssr.models import SSR" in SSR.__doc__
    assert "from braindecode.models import" not in SSR.__doc__

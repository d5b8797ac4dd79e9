"""What every encoder of ours has to be able to do, whatever it is made of."""

import copy
import json
import pickle
import warnings

import pytest
import torch

from braindecode_ssr.models import BACKBONES, SSR
from braindecode_ssr.models.backbone import takes_subjects

C, T = 4, 100
NAMES = BACKBONES.names()
FEW = ("ATM", "EEGProject", "TSConv")  # one of each family
WITH_SUBJECTS = ["ATM", "NeuralMCRL", "CognitionCapturer"]


def build(name, **params):
    torch.manual_seed(0)
    return BACKBONES[name](**{"n_outputs": 6, "n_chans": C, "n_times": T, "sfreq": 100.0, **params})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_chans, n_times", [(17, 250), (63, 250), (271, 201)])
def test_takes_the_available_trials(name, n_chans, n_times):
    with torch.device("meta"):
        model = build(name, n_outputs=16, n_chans=n_chans, n_times=n_times)
        assert model(torch.empty(2, n_chans, n_times)).shape == (2, 16)


@pytest.mark.parametrize("name", NAMES)
def test_batch_of_one_in_training_and_gradients_everywhere(name):
    model = build(name).train()
    model(torch.randn(1, C, T)).square().sum().backward()
    idle = {key for key, part in model.named_parameters() if part.grad is None}
    assert all(key.endswith(".subjects.weight") for key in idle)  # no subject was named


@pytest.mark.parametrize("name", NAMES)
def test_activation_dropout_and_last_layer(name):
    model = build(name, activation=torch.nn.SiLU, drop_prob=0.77)
    parts = list(model.modules())
    assert any(isinstance(part, torch.nn.SiLU) for part in parts)
    assert any(isinstance(part, torch.nn.Dropout) and part.p == 0.77 for part in parts)
    assert "final_layer" in [key for key, _ in model.named_children()][-2:]
    assert not [key for key in type(model).__dict__ if key == "softmax"]


@pytest.mark.parametrize("name", NAMES)
def test_configuration_head_features_and_copies(name, tmp_path):
    model, x = build(name, drop_prob=0.2).eval(), torch.randn(3, C, T)
    again = type(model).from_config(json.loads(json.dumps(model.get_config()))).eval()
    again.load_state_dict(model.state_dict())
    assert again.get_config() == model.get_config() and again.get_config()["drop_prob"] == 0.2
    copies = [again, copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    model.save_pretrained(tmp_path)
    copies.append(type(model).from_pretrained(tmp_path, strict=True).eval())
    assert all(torch.equal(one(x), model(x)) for one in copies)
    assert model(x, return_features=True)["features"].shape[0] == 3
    model.reset_head(9)
    assert model.eval()(x).shape == (3, 9) and model.get_config()["n_outputs"] == 9


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in FEW else pytest.mark.slow) for n in NAMES],
)
def test_script_and_export_inside_ssr(name):
    torch.manual_seed(0)
    signal = {"n_chans": C, "n_times": T, "sfreq": 100.0}
    model = SSR(n_outputs=5, backbone=name, width=16, n_features=7, **signal).eval()
    x = torch.randn(3, C, T)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        scripted = torch.jit.script(model)
    torch.testing.assert_close(scripted(x), model(x))
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))


@pytest.mark.parametrize("name", NAMES)
def test_subjects_where_there_are_parts_for_them(name):
    model, x = build(name).eval(), torch.randn(2, C, T)
    if name in WITH_SUBJECTS or takes_subjects(model):
        one, other = (model(x, subject_index=torch.tensor(pair)) for pair in ([0, 1], [0, 2]))
        torch.testing.assert_close(one[0], other[0])
        assert not torch.allclose(one[1], other[1])


def test_documentation_names_the_right_module():
    for name in NAMES:
        assert BACKBONES[name].__name__ == name
        assert "from braindecode.models import" not in BACKBONES[name].__doc__

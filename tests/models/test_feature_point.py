import copy

import pytest
import torch
from braindecode.models import EEGNet, ShallowFBCSPNet
from torch import nn

from braindecode_ssr.models.backbone import cut_head, encode_zeros, is_one_vector

C, T = 4, 200


class TwoMaps(nn.Module):
    """A head inside a part, then a view; and a map of the same shape that is not the last."""

    def __init__(self):
        super().__init__()
        self.before = nn.Linear(C * T, 6)
        self.final = nn.Sequential(nn.ReLU(), nn.Linear(6, 6))

    def forward(self, x):
        return self.final(self.before(x.flatten(1))).view(len(x), 6)


class Prototypes(nn.Module):
    """Ends with a product that no map makes."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(C * T, 5)
        self.prototypes = nn.Parameter(torch.randn(5, 3))

    def forward(self, x):
        return self.map(x.flatten(1)) @ self.prototypes


def test_the_last_map_is_taken_out():
    model = TwoMaps()
    x = torch.randn(3, C, T)
    wanted = model.before(x.flatten(1)).relu()
    assert cut_head(model, C, T, 7) == 0 and type(model.final[1]) is nn.Linear
    assert cut_head(model, C, T) == 6
    torch.testing.assert_close(model(x), wanted)
    assert type(model.final[1]) is nn.Flatten and type(model.before) is nn.Linear


@pytest.mark.parametrize("model_class", [EEGNet, ShallowFBCSPNet])
def test_head_of_a_braindecode_model(model_class):
    torch.manual_seed(0)
    model = model_class(n_outputs=7, n_chans=C, n_times=T).eval()
    whole, x, entered = copy.deepcopy(model), torch.randn(3, C, T), []
    whole.final_layer.register_forward_pre_hook(lambda part, args: entered.append(args[0]))
    whole(x)
    width = cut_head(model, C, T)
    assert model(x).shape == (3, width)
    torch.testing.assert_close(model(x), entered[0].flatten(1))


def test_what_ends_otherwise_stays_as_it_is():
    model = Prototypes()
    before = {name: part.clone() for name, part in model.state_dict().items()}
    assert cut_head(model, C, T) == 0
    assert type(model.map) is nn.Linear
    assert all(torch.equal(before[name], part) for name, part in model.state_dict().items())


def test_looking_leaves_modes_random_state_and_statistics_alone():
    model = ShallowFBCSPNet(n_outputs=7, n_chans=C, n_times=T)
    model.bnorm.eval()
    state, before = torch.get_rng_state(), copy.deepcopy(model.state_dict())
    assert is_one_vector(encode_zeros(model, C, T)) and cut_head(model, C, T, 10_000) == 0
    assert model.training and not model.bnorm.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], part) for name, part in model.state_dict().items())
    assert not any(part._forward_hooks for part in model.modules())


@pytest.mark.parametrize(
    "output", [torch.zeros(2, 3, 1), torch.zeros(1, 3), {"features": torch.zeros(2, 3)}, None]
)
def test_not_one_vector_per_trial(output):
    assert not is_one_vector(output)

import json

import pytest
import torch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.models import SSR
from braindecode_ssr.models.modules import TangentMap

SMALL = {"n_outputs": 64, "n_chans": 3, "n_times": 50, "n_features": 6, "width": 64}


def test_it_is_a_linear_map_times_a_number():
    layer, x = TangentMap(5, 3), torch.randn(4, 5)
    with torch.no_grad():
        layer.log_length.fill_(-1.0)
    expected = (x @ layer.weight.T + layer.bias) / torch.e
    torch.testing.assert_close(layer(x), expected)


def test_brain_vectors_start_short_in_hyperbolic_space_only():
    """Of a layer norm of 64 numbers, as a plain linear map makes them: 8 / sqrt(3), and an eighth of it."""
    torch.manual_seed(0)
    x = torch.randn(256, 3, 50)
    flat, bent = SSR(**SMALL), SSR(**SMALL, space="hyperbolic")
    assert flat(x).norm(dim=1).mean().item() == pytest.approx(8 / 3**0.5, rel=0.1)
    assert bent(x).norm(dim=1).mean().item() == pytest.approx(1 / 3**0.5, rel=0.1)
    assert type(flat.final_layer) is torch.nn.Linear


def test_the_space_is_part_of_the_configuration():
    model = SSR(**SMALL, space="hyperbolic")
    again = SSR.from_config(json.loads(json.dumps(model.get_config())))
    assert again.space == "hyperbolic" and SSR(**SMALL).space == "euclidean"
    again.load_state_dict(model.state_dict())
    again.reset_head(16)
    assert isinstance(again.final_layer, TangentMap)
    assert again.final_layer.log_length.exp().item() == pytest.approx(1 / 4)
    assert again(torch.randn(2, 3, 50)).shape == (2, 16)


def test_an_unknown_space():
    with pytest.raises(UsageError, match="space.*'hyperbolc'; did you mean 'hyperbolic'"):
        SSR(**SMALL, space="hyperbolc")


def test_it_can_be_scripted():
    model = SSR(**SMALL, space="hyperbolic").eval()
    x = torch.randn(2, 3, 50)
    torch.testing.assert_close(torch.jit.script(model)(x), model(x))

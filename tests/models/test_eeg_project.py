import pytest
import torch

from braindecode_ssr.models import EEGProject


def n_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    "n_chans, n_times, published",
    [(17, 250, 5_404_672), (63, 250, 17_180_672), (271, 201, 56_830_976)],
)
def test_parameter_counts_as_published(n_chans, n_times, published):
    with torch.device("meta"):
        model = EEGProject(n_outputs=1024, n_chans=n_chans, n_times=n_times)
    assert n_parameters(model) == published


def test_forward_equals_a_plain_derivation():
    torch.manual_seed(0)
    model = EEGProject(n_outputs=6, n_chans=3, n_times=5).eval()
    x = torch.randn(4, 3, 5)
    weights = dict(model.named_parameters())
    first = x.reshape(4, 15) @ weights["final_layer.linear.weight"].T
    first = first + weights["final_layer.linear.bias"]
    gelu = first * 0.5 * (1 + torch.erf(first / 2**0.5))
    second = gelu @ weights["final_layer.residual.1.weight"].T
    total = first + second + weights["final_layer.residual.1.bias"]
    centred = total - total.mean(1, keepdim=True)
    wanted = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(model(x), wanted, rtol=1e-4, atol=1e-5)


def test_drop_prob_and_activation_are_used():
    model = EEGProject(n_outputs=6, n_chans=3, n_times=5, activation=torch.nn.ReLU, drop_prob=0.9)
    kinds = [type(module) for module in model.modules()]
    assert torch.nn.ReLU in kinds and torch.nn.GELU not in kinds
    assert model.final_layer.residual[2].p == 0.9
    x = torch.randn(50, 3, 5)
    assert not torch.equal(model.train()(x), model(x))
    assert torch.equal(model.eval()(x), model(x))


def test_features_and_a_new_head():
    model = EEGProject(n_outputs=6, n_chans=3, n_times=5)
    x = torch.randn(2, 3, 5)
    assert torch.equal(model(x, return_features=True)["features"], x.flatten(1))
    model.reset_head(4)
    assert model.n_outputs == 4 == model.get_config()["n_outputs"]
    assert model(x).shape == (2, 4)

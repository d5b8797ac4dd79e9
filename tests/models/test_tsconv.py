import copy

import pytest
import torch
from torch.nn import functional as F

from braindecode_ssr.errors import UsageError
from braindecode_ssr.models import TSConv
from braindecode_ssr.models.nice import plain_layers


@pytest.mark.parametrize(
    "n_chans, n_times, n_outputs, published",
    [
        (63, 250, 1024, 2_630_912),
        (63, 250, 768, 1_802_496),
        (17, 250, 1024, 2_557_312),
        (271, 200, 1024, 2_554_112),
    ],
)
def test_parameter_counts_as_published(n_chans, n_times, n_outputs, published):
    with torch.device("meta"):
        model = TSConv(n_outputs=n_outputs, n_chans=n_chans, n_times=n_times)
    assert sum(parameter.numel() for parameter in model.parameters()) == published


def test_flattened_width_as_published():
    model = TSConv(n_outputs=8, n_chans=63, n_times=250)
    assert model.n_features == 1440
    features = model(torch.randn(2, 63, 250), return_features=True)["features"]
    assert features.shape == (2, 1440)


def test_forward_equals_a_plain_derivation():
    torch.manual_seed(0)
    model = TSConv(n_outputs=6, n_chans=3, n_times=90, n_filters=4).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    x, p = torch.randn(2, 3, 90), {**dict(model.named_parameters()), **dict(model.named_buffers())}

    def norm(y, name):
        mean, variance = p[f"{name}.running_mean"], p[f"{name}.running_var"]
        y = (y - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        return F.elu(y * p[f"{name}.weight"][:, None, None] + p[f"{name}.bias"][:, None, None])

    windows = x.unfold(2, 25, 1)  # b c w k
    y = torch.einsum("bcwk,fk->bfcw", windows, p["temporal.1.weight"][:, 0, 0])
    y = y + p["temporal.1.bias"][:, None, None]
    y = norm(y.unfold(3, 51, 5).mean(-1), "temporal.3")
    y = torch.einsum("bfcw,gfc->bgw", y, p["spatial.0.weight"][..., 0])[:, :, None]
    y = norm(y + p["spatial.0.bias"][:, None, None], "spatial.1")[:, :, 0]
    y = torch.einsum("bfw,gf->bwg", y, p["mix.0.weight"][..., 0, 0]) + p["mix.0.bias"]
    torch.testing.assert_close(model(x), model.final_layer(y.flatten(1)), rtol=1e-4, atol=1e-5)


def test_starting_weights():
    torch.manual_seed(0)
    published = TSConv(n_outputs=256, n_chans=63, n_times=250)
    for name in (
        "temporal.1",
        "spatial.0",
        "mix.0",
        "final_layer.linear",
        "final_layer.residual.1",
    ):
        module = published.get_submodule(name)
        assert module.weight.std().item() == pytest.approx(0.02, rel=0.1), name
        assert module.bias.abs().sum() > 0, name
    gain = published.get_submodule("spatial.1").weight
    assert gain.mean().item() == pytest.approx(1, abs=0.02) and 0.01 < gain.std().item() < 0.03
    assert torch.equal(published.final_layer.norm.weight, torch.ones(256))
    plain = TSConv(n_outputs=256, n_chans=63, n_times=250, weight_init="torch")
    assert plain.temporal[1].weight.std() > 0.1
    published.reset_head(128)
    assert published.final_layer.linear.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_drop_prob_activation_and_a_new_head():
    model = TSConv(n_outputs=6, n_chans=3, n_times=90, activation=torch.nn.SiLU, drop_prob=0.1)
    drops = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    assert drops == [0.1, 0.1]
    assert sum(isinstance(module, torch.nn.SiLU) for module in model.modules()) == 2
    model.reset_head(4)
    assert model(torch.randn(1, 3, 90)).shape == (1, 4)


def test_trials_that_are_too_short_and_unknown_starting_weights():
    assert TSConv(n_outputs=6, n_chans=3, n_times=75).n_features == 40
    with pytest.raises(UsageError, match="TSConv.*at least 75 samples.* 74"):
        TSConv(n_outputs=6, n_chans=3, n_times=74)
    with pytest.raises(UsageError, match="weight_init"):
        TSConv(n_outputs=6, n_chans=3, n_times=90, weight_init="xavier")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", [torch.nn.ELU, torch.nn.SiLU])
def test_the_fast_form_equals_the_published_layers(activation, training):
    """In double precision: output, gradients, and the running statistics of a step."""
    torch.manual_seed(0)
    sizes = {"n_chans": 5, "n_filters": 4, "kernel_length": 9, "pool_length": 21, "pool_stride": 4}
    model = TSConv(n_outputs=6, n_times=90, **sizes, activation=activation)
    plain = plain_layers(**sizes, activation=activation)
    model, plain = model.double().apply(without_drop_out), plain.double().apply(without_drop_out)
    parts = torch.nn.ModuleList([model.temporal, model.spatial, model.mix])
    with torch.no_grad():
        for ours in (*model.spatial.buffers(), *model.temporal.buffers()):
            ours.add_(torch.rand(ours.shape)) if ours.is_floating_point() else None
        for ours, theirs in zip(state(parts), state(plain), strict=True):
            theirs.copy_(ours)
    model.train(training), plain.train(training)
    x = torch.randn(7, 5, 90, dtype=torch.double)
    ours, theirs = model.encode(x), plain(x)
    torch.testing.assert_close(ours, theirs)
    for y in (ours, theirs):
        y.square().sum().backward()
    for mine, other in zip(parts.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-6, atol=1e-9)
    for mine, other in zip(parts.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine, other)


def state(module):
    return [*module.parameters(), *module.buffers()]


def test_a_level_that_all_trials_share_costs_no_digits():
    torch.manual_seed(0)
    model = TSConv(n_outputs=6, n_chans=5, n_times=90, n_filters=4).apply(without_drop_out)
    x = torch.randn(7, 5, 90) + 3000.0
    with torch.no_grad():
        plainly = copy.deepcopy(model).double()
        expected = plainly.final_layer(
            plainly.mix(plainly.spatial(torch.nn.Sequential(*plainly.temporal)(x.double())))
        )
        torch.testing.assert_close(model(x), expected.float(), rtol=1e-2, atol=1e-2)
    for mine, other in zip(model.buffers(), plainly.buffers(), strict=True):
        torch.testing.assert_close(mine.double(), other.double(), rtol=1e-4, atol=1e-4)


def test_a_projector_trained_on_features_filter_by_filter_fits_as_the_docstring_says():
    torch.manual_seed(0)
    model = TSConv(n_outputs=6, n_chans=3, n_times=90, n_filters=4).eval()
    x, w = torch.randn(2, 3, 90), torch.randn(6, model.n_features)
    by_filter = model.mix[0](model.spatial(model.temporal(x))).flatten(1)
    moved = w.unflatten(1, (4, -1)).transpose(1, 2).flatten(1)
    torch.testing.assert_close(by_filter @ w.T, model.encode(x) @ moved.T)
    assert "w.unflatten(1, (n_filters, -1)).transpose(1, 2).flatten(1)" in TSConv.__doc__


def test_another_layer_instead_of_batch_norm_is_used_as_it_is():
    model = TSConv(n_outputs=6, n_chans=3, n_times=90, n_filters=4)
    model.temporal[3] = torch.nn.InstanceNorm2d(4)
    x = torch.randn(2, 3, 90)
    plainly = torch.nn.Sequential(*model.temporal)(x)
    torch.testing.assert_close(model.temporal(x), plainly)


def without_drop_out(module):
    if isinstance(module, torch.nn.Dropout):
        module.p = 0.0

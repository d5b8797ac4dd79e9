import plain_encoders as plain
import pytest
import torch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.models import SSR, LayerMixerHead
from braindecode_ssr.models.ssr import build_image_head


@pytest.mark.parametrize("widths", [(4, 4, 4), (4, 2, 4), (3,)])
def test_forward_equals_a_plain_derivation(widths):
    torch.manual_seed(0)
    head = LayerMixerHead(widths, 5, width=6)
    torch.nn.init.normal_(head.logits)
    p, features = plain.weights(head), torch.randn(7, sum(widths))
    share = plain.softmax(p["logits"])
    wanted, start = torch.zeros(7, 5), 0
    for k, width in enumerate(widths):
        first = 0 if len(set(widths)) == 1 else k
        hidden = plain.affine(p, f"first.{first}", features[:, start : start + width])
        wanted += share[k] * plain.affine(p, f"maps.{k}", hidden)
        start += width
    torch.testing.assert_close(head(features), wanted)
    torch.testing.assert_close(head(features[None, :]), wanted[None])


def test_the_mixture_starts_as_published():
    """Notes on methods, 5.3: layers 20, 24, 28, 32 and 36 about 28."""
    found = LayerMixerHead((8,) * 5, 4).layer_weights()
    wanted = torch.tensor([0.067, 0.183, 0.498, 0.183, 0.067])
    torch.testing.assert_close(found, wanted, atol=5e-4, rtol=0)
    start = -(torch.tensor([20, 24, 28, 32, 36.0]) - 28).abs() / 4
    torch.testing.assert_close(found, start.softmax(0))


def test_it_may_start_elsewhere():
    off = LayerMixerHead((8, 8, 8), 4, centre=0, strength=2).logits
    assert off.tolist() == [0, -2, -4]
    torch.testing.assert_close(
        LayerMixerHead((8, 8), 4, strength=0).layer_weights(), torch.full((2,), 0.5)
    )
    torch.testing.assert_close(LayerMixerHead((8, 8), 4).layer_weights(), torch.full((2,), 0.5))
    assert LayerMixerHead((8,), 4).layer_weights().tolist() == [1]


@pytest.mark.parametrize("params", [{"centre": 3}, {"centre": -1}, {"strength": -1}])
def test_an_invalid_start(params):
    (name, value), *_ = params.items()
    with pytest.raises(UsageError, match=f"{name} {value}.*image_head_params"):
        build_image_head("layer-mixer", (8, 8, 8), 4, params)


def test_features_of_another_width_are_refused():
    with pytest.raises(UsageError, match="width 9.*width 8"):
        LayerMixerHead((4, 2, 3), 5)(torch.randn(2, 8))


def test_a_mixture_learns_which_layer_counts():
    """With maps that change nothing, embeddings that are the last layer draw the weight to it."""
    torch.manual_seed(0)
    features, head = torch.randn(32, 3, 4), LayerMixerHead((4, 4, 4), 4, width=4)
    for to in (*head.first, *head.maps):
        torch.nn.init.eye_(to.weight)
        torch.nn.init.zeros_(to.bias)
    assert head.layer_weights().argmax() == 1
    for _ in range(30):
        error = (head(features.flatten(1)) - features[:, 2]).square().mean()
        (gradient,) = torch.autograd.grad(error, head.logits)
        head.logits.data -= 3 * gradient
    assert head.layer_weights()[2] > 0.8


def test_in_a_model():
    params = {"image_head": "layer-mixer", "image_head_params": {"centre": 1}}
    model = SSR(n_outputs=4, n_chans=3, n_times=50, n_features=6, feature_widths=[3, 3], **params)
    again = SSR.from_config(model.get_config())
    assert again.image_head.logits.tolist() == [-1, 0]

import plain_encoders as plain
import pytest
import torch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.models import VED


@pytest.mark.parametrize("weights", ["absolute", "signed"])
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_forward_equals_a_plain_derivation(weights, norm):
    torch.manual_seed(0)
    sizes = {"n_outputs": 6, "n_chans": 3, "n_times": 8, "n_filters": 4, "n_hidden": 5}
    model = VED(**sizes, spatial_weights=weights, spatial_norm=norm).eval()
    p, x = plain.weights(model), torch.randn(2, 3, 8)
    assert (p["spatial.weight"] < 0).any()
    sums = torch.zeros(2, 4, 8)
    for filter_, row in enumerate(p["spatial.weight"].tolist()):
        for channel, weight in enumerate(row):
            sums[:, filter_] += (abs(weight) if weights == "absolute" else weight) * x[:, channel]
    if norm == "batch":
        sums = plain.batch_norm(p, "norm", sums[:, :, None])[:, :, 0]
    hidden = plain.elu(plain.affine(p, "temporal.0", sums))
    hidden = plain.elu(plain.affine(p, "temporal.3", hidden))
    wanted = plain.affine(p, "final_layer", torch.cat([hidden[:, k] for k in range(4)], 1))
    torch.testing.assert_close(model(x), wanted, rtol=1e-4, atol=1e-5)


def test_a_channel_never_counts_against_another():
    model = VED(n_outputs=6, n_chans=3, n_times=100)
    x = torch.randn(2, 3, 100)
    louder = x + torch.tensor([0.0, 2.0, 0.0])[:, None]
    assert (model.spatial(louder) >= model.spatial(x)).all()


def test_weights_of_either_sign_learn():
    model = VED(n_outputs=6, n_chans=3, n_times=100)
    before = model.spatial.weight.detach().clone()
    model(torch.randn(4, 3, 100)).square().sum().backward()
    torch.optim.SGD(model.parameters(), 1e-3).step()
    for side in (before < 0, before > 0):
        assert side.any() and (model.spatial.weight[side] != before[side]).all()


def test_dropout_is_where_it_was_published():
    model = VED(n_outputs=6, n_chans=3, n_times=100)
    kinds = [type(part).__name__ for part in model.temporal]
    assert kinds == ["Linear", "ELU", "Dropout"] * 2
    assert (model.temporal[2].p, model.temporal[5].p) == (0.25, 0.65)


def test_what_the_parts_count():
    with torch.device("meta"):
        eeg = VED(n_outputs=1024, n_chans=63, n_times=250)
        meg = VED(
            n_outputs=1024,
            n_chans=271,
            n_times=200,
            n_filters=50,
            n_hidden=150,
            spatial_weights="signed",
            spatial_norm="none",
        )
    perceptron = (250 + 1) * 200 + (200 + 1) * 200
    assert count(eeg) == 25 * 63 + 2 * 25 + perceptron + (5000 + 1) * 1024
    assert count(meg) == 50 * 271 + (200 + 1) * 150 + (150 + 1) * 150 + (7500 + 1) * 1024


def count(model):
    return sum(part.numel() for part in model.parameters())


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (
            {"spatial_weights": "positive"},
            "spatial_weights .*'absolute', 'signed', not 'positive'",
        ),
        ({"spatial_norm": "layer"}, "spatial_norm .*'batch', 'none', not 'layer'"),
    ],
)
def test_an_invalid_choice(choice, said):
    with pytest.raises(UsageError, match=said):
        VED(n_outputs=6, n_chans=3, n_times=100, **choice)

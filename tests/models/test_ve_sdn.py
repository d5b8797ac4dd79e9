import plain_encoders as plain
import pytest
import torch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.models import VESDN


def test_parameter_counts_as_published():
    with torch.device("meta"):
        model = VESDN(n_outputs=1024, n_chans=63, n_times=250)
    count = sum(part.numel() for part in model.parameters())
    assert count == pytest.approx(0.496e6, abs=500)


def pooled(y, n_windows=64):
    """Means over windows that overlap where samples do not divide."""
    n = y.shape[-1]
    edges = [(i * n // n_windows, -(-(i + 1) * n // n_windows)) for i in range(n_windows)]
    return torch.stack([y[..., start:stop].mean(-1) for start, stop in edges], dim=-1)


@pytest.mark.parametrize("n_outputs", [1024, 6])
def test_forward_equals_a_plain_derivation(n_outputs):
    torch.manual_seed(0)
    model = VESDN(n_outputs=n_outputs, n_chans=3, n_times=90).eval()
    p, x = plain.weights(model), torch.randn(2, 3, 90)
    y = plain.transformer_layer(p, "attend", x + p["place.weight"])
    y = pooled(plain.convolve_time(p, "temporal.1", y))
    y = plain.elu(plain.batch_norm(p, "temporal.3", y))
    y = plain.convolve_space(p, "spatial.0", y)
    y = plain.mix(p, "mix.0", plain.elu(plain.batch_norm(p, "spatial.1", y)))
    wanted = y if n_outputs == 1024 else plain.affine(p, "final_layer", y)
    torch.testing.assert_close(model(x), wanted, rtol=1e-3, atol=1e-5)


def test_short_trials_and_starting_weights():
    torch.manual_seed(0)
    model = VESDN(n_outputs=1024, n_chans=9, n_times=100)
    for weight in (model.spatial[0].weight, model.attend.linear1.weight, model.place.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)
    with pytest.raises(UsageError, match="at least 25 samples for VESDN; found 24 samples"):
        VESDN(n_outputs=8, n_chans=3, n_times=24)

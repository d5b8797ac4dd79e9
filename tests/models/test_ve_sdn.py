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
    assert not model.place.weight.any()  # as in the public code
    for weight in (model.spatial[0].weight, model.attend.linear1.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)
    with pytest.raises(UsageError, match="VESDN.*at least 25 samples.* 24"):
        VESDN(n_outputs=8, n_chans=3, n_times=24)


@pytest.mark.parametrize("n_times", [88, 60, 250])
def test_training_equals_filtering_first(n_times):
    """Values, gradients and running statistics of the order that is written down everywhere."""
    torch.manual_seed(0)
    ours = VESDN(n_outputs=8, n_chans=3, n_times=n_times).temporal
    pool = torch.nn.AdaptiveAvgPool2d((3, 64))
    conv, norm = torch.nn.Conv2d(1, 40, (1, 25)), torch.nn.BatchNorm2d(40)
    conv.load_state_dict(ours[1].state_dict()), norm.load_state_dict(ours[3].state_dict())
    x, x_plain = (torch.randn(4, 3, n_times).requires_grad_() for _ in range(2))
    x_plain.data.copy_(x.data)
    found, wanted = ours(x), torch.nn.functional.elu(norm(pool(conv(x_plain[:, None])))).mT
    direction = torch.randn_like(wanted)
    (found * direction).sum().backward()
    (wanted * direction).sum().backward()
    close = {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(found, wanted, **close)
    torch.testing.assert_close(x.grad, x_plain.grad, **close)
    torch.testing.assert_close(ours[1].weight.grad, conv.weight.grad, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(ours[3].weight.grad, norm.weight.grad, **close)
    torch.testing.assert_close(ours[3].running_var, norm.running_var, **close)

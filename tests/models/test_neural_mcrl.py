import cmath
import math

import plain_encoders as plain
import pytest
import torch

from braindecode_ssr.models import NeuralMCRL
from braindecode_ssr.models.transformers import BandAttention


def slow_bands(layer, signal):
    """One channel, with a discrete Fourier transform written out."""
    n, n_bands = len(signal), layer.n_bands
    spectrum = [
        sum(value * cmath.exp(-2j * math.pi * f * t / n) for t, value in enumerate(signal.tolist()))
        / math.sqrt(n)
        for f in range(n // 2 + 1)
    ]
    band = [f * n_bands // len(spectrum) for f in range(len(spectrum))]
    power = torch.tensor(
        [
            sum(abs(spectrum[f]) ** 2 for f in range(len(spectrum)) if band[f] == k) / band.count(k)
            for k in range(n_bands)
        ]
    )
    weight = n_bands * plain.softmax(layer.score.weight @ (1 + power).log() + layer.score.bias)
    weighted = torch.tensor(spectrum) * weight[band]
    return torch.fft.irfft(weighted, n=n, norm="ortho")


@pytest.mark.parametrize("n_times", [40, 41])
def test_bands_equal_a_written_out_transform(n_times):
    torch.manual_seed(0)
    layer, x = BandAttention(n_times, 5), torch.randn(2, 3, n_times)
    wanted = torch.stack([torch.stack([slow_bands(layer, c) for c in trial]) for trial in x])
    torch.testing.assert_close(layer(x), wanted, rtol=1e-4, atol=1e-4)


def test_equal_weights_change_nothing():
    layer, x = BandAttention(40, 5), torch.randn(2, 3, 40)
    torch.nn.init.zeros_(layer.score.weight)
    torch.nn.init.zeros_(layer.score.bias)
    torch.testing.assert_close(layer(x), x)


@pytest.mark.parametrize("subject", [None, [2, 0]])
def test_forward_equals_a_plain_derivation(subject):
    torch.manual_seed(0)
    model = NeuralMCRL(n_outputs=6, n_chans=3, n_times=90, n_subjects=3).eval()
    p, x = plain.weights(model), torch.randn(2, 3, 90)
    matrix = p["front.subject.weight"][[0, 0] if subject is None else subject]
    mixed = torch.einsum("bij,bjt->bit", matrix, x)
    attended = plain.itransformer(p, "front.transformer", mixed)
    bands = torch.stack(
        [torch.stack([slow_bands(model.front.bands, c) for c in trial]) for trial in attended]
    )
    wanted = plain.tsconv(p, plain.layer_norm(p, "front.norm", bands))
    index = None if subject is None else torch.tensor(subject)
    torch.testing.assert_close(model(x, subject_index=index), wanted, rtol=1e-3, atol=1e-3)


def test_noise_is_on_the_features_in_training_only():
    noise = NeuralMCRL(n_outputs=6, n_chans=3, n_times=90, noise=0.5).mix[-1]
    x = torch.zeros(100, 100)
    assert noise.train()(x).std().item() == pytest.approx(0.5, rel=0.05)
    assert torch.equal(noise.eval()(x), x)

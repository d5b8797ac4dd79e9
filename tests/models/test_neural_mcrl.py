import cmath
import math

import plain_encoders as plain
import pytest
import torch

from braindecode_ssr.models import NeuralMCRL
from braindecode_ssr.models.transformers import BandAttention

BANDS = ((0.5, 4), (4, 8), (8, 13), (13, 30), (30, 45))
SIZES = {"n_outputs": 6, "n_chans": 3, "n_times": 90, "sfreq": 100.0, "n_subjects": 3}
PUBLIC = [[-0.072197, -0.741513, -1.128407, 0.162459], [-0.122273, -0.768979, -1.231870, 0.223710]]


def perceptron(p, name, x):
    return plain.affine(p, f"{name}.2", plain.gelu(plain.affine(p, f"{name}.0", x)))


def slow_bands(p, name, trial, sfreq):
    """One trial (c, t), with a discrete Fourier transform written out."""
    n = trial.shape[1]
    spectrum = torch.tensor(
        [
            [
                sum(v * cmath.exp(-2j * math.pi * f * t / n) for t, v in enumerate(row))
                for f in range(n // 2 + 1)
            ]
            for row in trial.tolist()
        ],
        dtype=torch.complex128,
    )
    inside = [
        [low <= f * sfreq / n <= high for f in range(spectrum.shape[1])] for low, high in BANDS
    ]
    power = torch.stack([spectrum[:, band].abs().square().sum(1) for band in inside], 1)
    channel = 1 / (1 + (-perceptron(p, f"{name}.of_channels", power.mean(1))).exp())
    weight = plain.softmax(perceptron(p, f"{name}.of_bands", power.mean(0)))
    kept = sum(w * torch.tensor(band) * spectrum for w, band in zip(weight, inside, strict=True))
    signal = torch.fft.irfft(channel[:, None] * kept, n=n)
    gate = 1 / (1 + (-p[f"{name}.gate"]).exp())
    return gate * plain.layer_norm(p, f"{name}.norm", signal) + (1 - gate) * trial


@pytest.mark.parametrize("n_times", [50, 51])
def test_bands_equal_a_written_out_transform(n_times):
    torch.manual_seed(0)
    layer = BandAttention(3, n_times, 100.0).double()
    torch.nn.init.constant_(layer.gate, 0.4)
    p, x = plain.weights(layer), 0.1 * torch.randn(2, 3, n_times).double()
    p = {f"bands.{key}": value for key, value in p.items()}
    wanted = torch.stack([slow_bands(p, "bands", trial, 100.0) for trial in x])
    torch.testing.assert_close(layer(x), wanted)


def test_frequencies_beyond_the_bands_are_removed():
    layer = BandAttention(1, 100, 100.0)
    torch.nn.init.constant_(layer.gate, 50.0)  # nothing of the input passes by
    time = torch.arange(100) / 100
    inside, outside = ((2 * math.pi * f * time).sin() for f in (10, 47))
    both, alone = layer((inside + outside)[None, None]), layer(inside[None, None])
    torch.testing.assert_close(both, alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("tokens", ["channels", "first"])
@pytest.mark.parametrize("subject", [None, [2, 0]])
def test_forward_equals_a_plain_derivation(subject, tokens):
    torch.manual_seed(0)
    model = NeuralMCRL(**SIZES, tokens=tokens).double().eval()
    torch.nn.init.normal_(model.front.subject.weight)
    torch.nn.init.normal_(model.front.norm.weight)
    p, x = plain.weights(model), 0.1 * torch.randn(2, 3, 90).double()
    matrix = p["front.subject.weight"][[0, 0] if subject is None else subject]
    token = p["front.attend.unknown"].repeat(2, 1)
    if subject is not None:
        token = p["front.attend.subjects.weight"][subject]
    mixed = torch.einsum("bij,bjt->bit", matrix, x)
    attended = plain.itransformer(p, "front.attend.transformer", mixed, 4, token[:, None])
    attended = attended[:, [0, 1, 2] if tokens == "channels" else [3, 0, 1]]
    bands = torch.stack([slow_bands(p, "front.weigh", trial, 100.0) for trial in attended])
    centred = bands - bands.mean((1, 2), keepdim=True)
    normed = centred / (centred.square().mean((1, 2), keepdim=True) + 1e-5).sqrt()
    normed = normed * p["front.norm.weight"] + p["front.norm.bias"]
    p |= {key.replace("final_layer.0", "final_layer"): value for key, value in p.items()}
    index = None if subject is None else torch.tensor(subject)
    output = model(x, subject_index=index)
    torch.testing.assert_close(output, plain.tsconv(p, normed))


def test_the_output_of_the_public_code():
    """Neural-MCRL e30bca3, EEGToVisual/NeuralMCRL.py, run with the same weights and trials."""
    model = NeuralMCRL(n_outputs=1024, n_chans=63, n_times=250, sfreq=250, tokens="first").eval()
    x = plain.made_up(model, (2, 63, 250))
    with torch.no_grad():
        output = model(x, subject_index=torch.tensor([3, 8]))
    torch.testing.assert_close(
        output[:, [0, 1, 500, 1023]], torch.tensor(PUBLIC), rtol=0, atol=1e-4
    )


def test_parameters_and_start_of_the_public_code():
    """3,156,728 without the parts that are never called; of these two masks, hours and scale are unused."""
    model = NeuralMCRL(n_outputs=1024, n_chans=63, n_times=250, sfreq=250)
    count = sum(part.numel() for part in model.parameters())
    assert count == 3_156_728 - 250 - 250 - 1000 - 1
    start = torch.eye(63).expand(10, 63, 63) / math.sqrt(63)
    torch.testing.assert_close(model.front.subject.weight.detach(), start)
    assert model.front.weigh.gate.item() == 0.0


def test_noise_is_on_the_output_in_training_only():
    noise = NeuralMCRL(**SIZES, noise=0.5).final_layer[-1]
    x = torch.zeros(100, 100)
    assert noise.train()(x).std().item() == pytest.approx(0.5, rel=0.05)
    assert torch.equal(noise.eval()(x), x)

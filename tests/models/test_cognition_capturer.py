import math

import plain_encoders as plain
import pytest
import torch

from braindecode_ssr.models import CognitionCapturer
from braindecode_ssr.models.transformers import TimeTransformer, sinusoids


@pytest.mark.parametrize("width", [4, 5])
def test_positions(width):
    table = sinusoids(7, width)
    assert table.shape == (7, width)
    for position in range(7):
        for i in range(width):
            angle = position / 10000 ** (2 * (i // 2) / width)
            wanted = math.cos(angle) if i % 2 else math.sin(angle)
            assert table[position, i].item() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("subject", [None, [2, 0]])
def test_forward_equals_a_plain_derivation(subject):
    torch.manual_seed(0)
    model = CognitionCapturer(n_outputs=6, n_chans=3, n_times=90, n_subjects=3).eval()
    torch.nn.init.normal_(model.front.bias)
    p, x = plain.weights(model), torch.randn(2, 3, 90)
    sample = plain.transformer_layer(p, "front.layer", x.permute(0, 2, 1) + sinusoids(90, 3))
    chosen = [0, 0] if subject is None else subject
    matrix, bias = p["front.subject.weight"][chosen], p["front.bias"][chosen]
    mapped = torch.einsum("bij,bjc->bci", matrix, sample) + bias[:, None]
    index = None if subject is None else torch.tensor(subject)
    output = model(x, subject_index=index)
    torch.testing.assert_close(output, plain.tsconv(p, mapped), rtol=1e-3, atol=1e-4)


def test_shape_of_the_transformer_as_published():
    with torch.device("meta"):
        front = CognitionCapturer(n_outputs=1024, n_chans=63, n_times=250).front
    attention = front.layer.self_attn
    assert (attention.embed_dim, attention.num_heads) == (63, 1)
    assert front.subject.weight.shape == (10, 250, 250)


def test_a_large_batch_is_trained_as_its_parts_are(monkeypatch):
    """Same values and gradients, with drop-out too, as the parts one after the other."""
    monkeypatch.setattr(TimeTransformer, "large", TimeTransformer.at_once)
    torch.manual_seed(0)
    front = TimeTransformer(n_chans=3, n_times=20, n_subjects=2, n_hidden=8, drop_prob=0.1)
    x = torch.randn(2 * TimeTransformer.at_once + 3, 3, 20, requires_grad=True)
    subject = torch.arange(len(x)) % 2
    results = []
    for parts in (
        [slice(None)],
        [slice(i, i + TimeTransformer.at_once) for i in range(0, len(x), TimeTransformer.at_once)],
    ):
        torch.manual_seed(1)
        output = torch.cat([front(x[part], subject[part]) for part in parts])
        grads = torch.autograd.grad(output.square().sum(), [x, *front.parameters()])
        results.append((output, *grads))
    for whole, in_parts in zip(*results, strict=True):
        torch.testing.assert_close(whole, in_parts, rtol=1e-4, atol=1e-5)

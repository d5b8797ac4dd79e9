import plain_encoders as plain
import pytest
import torch

from braindecode_ssr.models import ATM


def test_parameter_counts_as_published():
    with torch.device("meta"):
        model = ATM(n_outputs=1024, n_chans=63, n_times=250)
    count = sum(part.numel() for part in model.parameters())
    attention = sum(part.numel() for part in model.front.transformer.parameters())
    assert attention == pytest.approx(0.44e6, abs=0.005e6)
    assert count == pytest.approx(3.1e6, abs=0.05e6)


@pytest.mark.parametrize("subject", [None, [2, 0]])
def test_forward_equals_a_plain_derivation(subject):
    torch.manual_seed(0)
    model = ATM(n_outputs=6, n_chans=3, n_times=90, n_subjects=3).eval()
    p, x = plain.weights(model), torch.randn(2, 3, 90)
    token = p["front.unknown"].repeat(2, 1)
    if subject is not None:
        token = p["front.subjects.weight"][subject]
    attended = plain.itransformer(p, "front.transformer", x, 4, token[:, None])
    index = None if subject is None else torch.tensor(subject)
    output = model(x, subject_index=index)
    torch.testing.assert_close(output, plain.tsconv(p, attended), rtol=1e-4, atol=1e-4)


def test_its_own_parameters_are_used():
    params = {"n_heads": 3, "n_hidden": 20, "attention_drop_prob": 0.7}
    layer = ATM(n_outputs=6, n_chans=3, n_times=90, **params).front.transformer
    assert layer.attention.n_heads == 3 and layer.hidden[0].out_features == 20
    assert (layer.drop.p, layer.attention.drop_prob, layer.hidden[2].p) == (0.7, 0.7, 0.7)

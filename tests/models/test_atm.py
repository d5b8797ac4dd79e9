import plain_encoders as plain
import pytest
import torch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.models import ATM

PUBLIC = [[0.690177, -0.804239, -1.640799, -1.121742], [0.920213, -0.729383, -1.598581, -1.010804]]


def test_parameter_counts_as_published():
    with torch.device("meta"):
        model = ATM(n_outputs=1024, n_chans=63, n_times=250)
    count = sum(part.numel() for part in model.parameters())
    attention = sum(part.numel() for part in model.front.transformer.parameters())
    assert attention == pytest.approx(0.44e6, abs=0.005e6)
    assert count == pytest.approx(3.1e6, abs=0.05e6)


def test_the_output_of_the_public_code():
    """EEG_Image_decode 22c84ad, Retrieval/ATMS_retrieval.py, run with the same weights and trials."""
    model = ATM(n_outputs=1024, n_chans=63, n_times=250, tokens="first").eval()
    x = plain.made_up(model, (2, 63, 250))
    with torch.no_grad():
        output = model(x, subject_index=torch.tensor([3, 8]))
    torch.testing.assert_close(
        output[:, [0, 1, 500, 1023]], torch.tensor(PUBLIC), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("tokens", ["channels", "first"])
@pytest.mark.parametrize("subject", [None, [2, 0]])
def test_forward_equals_a_plain_derivation(subject, tokens):
    torch.manual_seed(0)
    model = ATM(n_outputs=6, n_chans=3, n_times=90, n_subjects=3, tokens=tokens).eval()
    p, x = plain.weights(model), torch.randn(2, 3, 90)
    token = p["front.unknown"].repeat(2, 1)
    if subject is not None:
        token = p["front.subjects.weight"][subject]
    attended = plain.itransformer(p, "front.transformer", x, 4, token[:, None])  # token comes last
    kept = [0, 1, 2] if tokens == "channels" else [3, 0, 1]
    index = None if subject is None else torch.tensor(subject)
    output = model(x, subject_index=index)
    torch.testing.assert_close(output, plain.tsconv(p, attended[:, kept]), rtol=1e-4, atol=1e-4)


def test_an_unknown_choice_of_tokens():
    with pytest.raises(UsageError, match="tokens.*'last'"):
        ATM(n_outputs=6, n_chans=3, n_times=90, tokens="last")


def test_its_own_parameters_are_used():
    params = {"n_heads": 3, "n_hidden": 20, "attention_drop_prob": 0.7}
    layer = ATM(n_outputs=6, n_chans=3, n_times=90, **params).front.transformer
    assert layer.attention.n_heads == 3 and layer.hidden[0].out_features == 20
    assert (layer.drop.p, layer.attention.drop_prob, layer.hidden[2].p) == (0.7, 0.7, 0.7)

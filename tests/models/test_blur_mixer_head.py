import math

import plain_encoders as plain
import pytest
import torch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.models import BlurMixerHead
from braindecode_ssr.models.image_heads import mix


def mixed_by_hand(vectors, defaults, scores):
    """Number by number, image by image."""
    images = []
    for rows in vectors.tolist():
        rows = rows + defaults.tolist()
        image = []
        for j in range(len(rows[0])):
            weights = [math.exp(score[j]) for score in scores.tolist()]
            total = sum(weight * row[j] for weight, row in zip(weights, rows, strict=True))
            image.append(total / sum(weights))
        images.append(image)
    return torch.tensor(images)


def head_of(n_vectors=3, width=4, n_outputs=5, **params):
    """A head whose default features are not 0 any more."""
    torch.manual_seed(0)
    head = BlurMixerHead((width,) * n_vectors, n_outputs, n_hidden=6, **params).eval()
    with torch.no_grad():
        head.defaults.normal_()
    return head


@pytest.mark.parametrize("n_vectors", [1, 3, 12])
@pytest.mark.parametrize("n_defaults", [0, 1, 4])
def test_forward_equals_a_plain_derivation(n_vectors, n_defaults):
    head = head_of(n_vectors, n_defaults=n_defaults)
    p, features = plain.weights(head), torch.randn(7, 4 * n_vectors)
    vectors = torch.stack([features[:, 4 * k : 4 * k + 4] for k in range(n_vectors)], 1)
    y = mixed_by_hand(vectors, p["defaults"], p["scores"])
    y = plain.affine(p, "adapter.3", plain.elu(plain.affine(p, "adapter.0", y)))
    wanted = plain.affine(p, "to_shared", y)
    torch.testing.assert_close(head(features), wanted, rtol=1e-4, atol=1e-5)


def test_the_numbers_of_the_public_code():
    """VisualEEGDecoding 4544817, models/Encoder.py, run with the same weights on vectors of unit length."""
    head = BlurMixerHead((16,) * 3, 8, length="unit").eval()
    features = plain.made_up(head, (2, 48))
    head.to_shared = torch.nn.Identity()
    wanted = [
        [0.329000, -0.230618, -0.204284, -0.063454],
        [0.274223, -0.199941, -0.159243, -0.059614],
    ]
    found = head(features)[:, [0, 1, 7, 15]]
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=0, atol=1e-5)


def test_a_mixture_lies_between_what_is_mixed():
    vectors, defaults, scores = torch.randn(9, 3, 4), torch.randn(2, 4), 3 * torch.randn(5, 4)
    every = torch.cat([vectors, defaults.expand(9, 2, 4)], 1)
    y = mix(vectors, defaults, scores)
    assert (every.amin(1) <= y).all() and (y <= every.amax(1)).all()


def test_each_number_is_mixed_by_itself():
    vectors, defaults = torch.randn(2, 3, 4), torch.randn(1, 4)
    scores = torch.full((4, 4), -100.0)
    scores[[2, 0, 3, 1], [0, 1, 2, 3]] = 100.0
    wanted = torch.stack([vectors[:, 2, 0], vectors[:, 0, 1], vectors[:, 1, 3]], 1)
    y = mix(vectors, defaults, scores)
    torch.testing.assert_close(y[:, [0, 1, 3]], wanted)
    torch.testing.assert_close(y[:, 2], defaults[0, 2].expand(2))


def test_it_starts_as_published():
    torch.manual_seed(0)
    head = BlurMixerHead((1024,) * 12, 512)
    assert head.defaults.shape == (4, 1024) and not head.defaults.any()
    assert head.scores.shape == (16, 1024)
    assert 0 <= head.scores.min() < 0.01 and 0.99 < head.scores.max() < 1
    assert [type(part).__name__ for part in head.adapter] == ["Linear", "ELU", "Dropout", "Linear"]
    assert head.adapter[2].p == 0.85
    bottleneck = (1024 + 1) * 768 + (768 + 1) * 1024
    wanted = (12 + 4) * 1024 + 4 * 1024 + bottleneck + (1024 + 1) * 512
    assert sum(part.numel() for part in head.parameters()) == wanted


def test_all_of_it_learns():
    head = head_of().train()
    head(torch.randn(32, 12)).square().sum().backward()
    assert all(part.grad.abs().sum() > 0 for part in head.parameters())


@pytest.mark.parametrize("shape", [(12,), (2, 12), (2, 3, 12)])
def test_any_number_of_axes_before_the_features(shape):
    head, features = head_of(), torch.randn(shape)
    torch.testing.assert_close(head(features).flatten(), head(features.view(-1, 12)).flatten())
    assert head(features).shape == (*shape[:-1], 5)


@pytest.mark.parametrize(("widths", "found"), [((4, 4, 2), "widths 4, 4, 2"), ((), r"\(none\)")])
def test_vectors_of_other_widths_cannot_be_mixed(widths, found):
    with pytest.raises(UsageError, match=f"{found}.*--encoder") as refused:
        BlurMixerHead(widths, 5)
    assert "\n" not in str(refused.value)


def test_features_of_another_width_are_refused():
    with pytest.raises(UsageError, match="width 12.*width 8"):
        head_of()(torch.randn(2, 8))


def test_it_can_be_scripted():
    head, features = head_of(), torch.randn(2, 12)
    torch.testing.assert_close(torch.jit.script(head)(features), head(features))

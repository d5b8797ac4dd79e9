import plain_encoders as plain
import pytest
import torch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.models import ExpertsHead

WIDTHS = (4, 3)


def by_hand(head, features):
    """Mean and variance from each vector, (k, b, e)."""
    p, found, start = plain.weights(head), [], 0
    for k, width in enumerate(head.widths):
        x = features[:, start : start + width]
        x = x / ((x**2).sum(1, keepdim=True) / width) ** 0.5
        for layer in (0, 2):
            x = plain.affine(p, f"encoders.{k}.{layer}", x).clamp_min(0)
        log_variance = plain.affine(p, f"log_variances.{k}", x)
        found.append((plain.affine(p, f"means.{k}", x), log_variance.exp()))
        start += width
    return found


def test_forward_equals_a_plain_derivation():
    torch.manual_seed(0)
    head, features = ExpertsHead(WIDTHS, 5, hidden=6), torch.randn(7, 7)
    (a, variance_a), (b, variance_b) = by_hand(head, features)
    wanted = (a / variance_a + b / variance_b) / (1 / variance_a + 1 / variance_b)
    torch.testing.assert_close(head(features), wanted)
    mean, log_variance = head.posteriors(features).unbind(2)
    torch.testing.assert_close(mean, torch.stack([a, b], 1))
    torch.testing.assert_close(log_variance.exp(), torch.stack([variance_a, variance_b], 1))


def test_one_vector_alone_gives_its_mean():
    torch.manual_seed(0)
    head, features = ExpertsHead((4,), 5), torch.randn(2, 3, 4)
    torch.testing.assert_close(head(features), head.posteriors(features)[..., 0, 0, :])
    assert head.posteriors(features).shape == (2, 3, 1, 2, 5)


def test_the_length_of_a_vector_does_not_matter_and_zeros_are_no_reason_to_fail():
    head, features = ExpertsHead(WIDTHS, 5), torch.randn(4, 7)
    torch.testing.assert_close(head(features), head(0.01 * features), rtol=1e-4, atol=1e-5)
    assert torch.isfinite(head(0 * features)).all()


def test_features_of_another_width_are_refused():
    with pytest.raises(UsageError, match="width 7.*width 8"):
        ExpertsHead(WIDTHS, 5)(torch.randn(2, 8))


def test_it_counts_two_hidden_layers_of_256():
    with torch.device("meta"):
        head = ExpertsHead((100, 512), 32)
    each = 256 * 256 + 256 + 2 * (256 * 32 + 32)
    wanted = (100 + 512) * 256 + 2 * 256 + 2 * each
    assert sum(part.numel() for part in head.parameters()) == wanted

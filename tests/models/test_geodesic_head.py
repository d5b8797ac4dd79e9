import math

import plain_encoders as plain
import pytest
import torch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.models import GeodesicHead
from braindecode_ssr.models.ssr import build_image_head

C = 0.07


def lift(u):
    """All coordinates of the point of a tangent vector."""
    length = math.sqrt(C) * u.norm(dim=-1, keepdim=True)
    return torch.cat([length.cosh() / math.sqrt(C), length.sinh() / length * u], -1)


def between(p, q, share):
    """On the circle of hyperbolic angle between two points, by Lorentz products."""
    signs = torch.ones(p.shape[-1], dtype=p.dtype)
    signs[0] = -1
    angle = torch.acosh(-C * (p * q * signs).sum(-1, keepdim=True))
    return (((1 - share) * angle).sinh() * p + (share * angle).sinh() * q) / angle.sinh()


def drop(point):
    """The tangent vector of a point: its distance from the origin along its direction."""
    space = point[..., 1:]
    far = torch.acosh(math.sqrt(C) * point[..., :1]) / math.sqrt(C)
    return far * space / space.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("widths", [(4, 4), (4,)])
def test_forward_equals_a_plain_derivation(widths):
    torch.manual_seed(0)
    head = GeodesicHead(widths, 5).double()
    p, features = plain.weights(head), 3 * torch.randn(7, sum(widths), dtype=torch.float64)
    semantic, perceptual = features[:, :4], features[:, -4:]
    share = 1 / (1 + (-plain.affine(p, "share", semantic)).exp())
    unit = semantic / semantic.square().sum(1, keepdim=True).sqrt()
    ends = lift(plain.affine(p, "semantic", unit)), lift(plain.affine(p, "perceptual", perceptual))
    torch.testing.assert_close(head(features), drop(between(*ends, share)))


def test_it_goes_from_the_semantic_to_the_perceptual_vector():
    head, features = GeodesicHead((4, 4), 5), torch.randn(3, 8)
    torch.nn.init.zeros_(head.share.weight)
    semantic, perceptual = torch.nn.functional.normalize(features[:, :4]), features[:, 4:]
    for bias, end in ((-50.0, head.semantic(semantic)), (50.0, head.perceptual(perceptual))):
        torch.nn.init.constant_(head.share.bias, bias)
        torch.testing.assert_close(head(features), end, rtol=1e-4, atol=1e-5)


def test_every_parameter_is_trained():
    head = GeodesicHead((4, 4), 5)
    head(torch.randn(3, 8)).square().sum().backward()
    assert all(part.grad.abs().sum() > 0 for part in head.parameters())


def test_a_blank_feature_is_fine():
    head = GeodesicHead((4, 4), 5)
    found = head(torch.zeros(2, 8))
    found.sum().backward()
    assert found.isfinite().all()
    assert all(part.grad.isfinite().all() for part in head.parameters())


@pytest.mark.parametrize("widths", [(4, 4, 4), (4, 3)])
def test_other_features_are_refused(widths):
    with pytest.raises(UsageError, match=f"semantic and a perceptual.*{len(widths)} of widths 4, "):
        build_image_head("geodesic", widths, 5)


def test_features_of_another_width_are_refused():
    with pytest.raises(UsageError, match="width 8.*width 4"):
        GeodesicHead((4, 4), 5)(torch.randn(2, 4))


def test_it_counts_what_hyfi_has():
    with torch.device("meta"):
        head = GeodesicHead((1024, 1024), 1024)
    assert sum(part.numel() for part in head.parameters()) == 2 * 1025 * 1024 + 1025

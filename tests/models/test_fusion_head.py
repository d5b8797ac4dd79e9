import plain_encoders as plain
import pytest
import torch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.models import FusionHead

WIDTHS = (4, 2, 3)


@pytest.mark.parametrize("n_blocks", [0, 1, 2])
def test_forward_equals_a_plain_derivation(n_blocks):
    torch.manual_seed(0)
    head = FusionHead(WIDTHS, 5, n_blocks=n_blocks).eval()
    p, features = plain.weights(head), torch.randn(7, sum(WIDTHS))
    starts = (0, 4, 6)
    y = sum(
        plain.affine(p, f"maps.{k}", features[:, start : start + width])
        for k, (start, width) in enumerate(zip(starts, WIDTHS, strict=True))
    )
    for block in range(n_blocks):
        hidden = plain.gelu(plain.affine(p, f"blocks.{block}.layers.0", y))
        y = y + plain.affine(p, f"blocks.{block}.layers.3", hidden)
        y = plain.layer_norm(p, f"blocks.{block}.norm", y, 1e-6)
    torch.testing.assert_close(head(features), y)


def test_features_of_another_width_are_refused():
    with pytest.raises(UsageError, match="width 9.*width 8"):
        FusionHead(WIDTHS, 5)(torch.randn(2, 8))

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
    torch.testing.assert_close(head(features), plain.layer_norm(p, "norm", y))


def test_features_of_another_width_are_refused():
    with pytest.raises(UsageError, match="width 9.*width 8"):
        FusionHead(WIDTHS, 5)(torch.randn(2, 8))


def test_it_counts_what_brain_hive_has():
    with torch.device("meta"):
        head = FusionHead((1024, 512, 1024), 1024)
    maps = (1024 + 512 + 1024 + 3) * 1024
    assert sum(part.numel() for part in head.parameters()) == maps + 2 * 1024**2 + 1024 + 2 * 1024

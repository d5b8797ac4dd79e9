import plain_encoders as plain
import pytest
import torch

from braindecode_ssr.models import BrainMLP


@pytest.mark.parametrize("n_blocks", [1, 2])
def test_forward_equals_a_plain_derivation(n_blocks):
    torch.manual_seed(0)
    model = BrainMLP(n_outputs=6, n_chans=3, n_times=5, n_blocks=n_blocks).eval()
    p, x = plain.weights(model), torch.randn(4, 3, 5)
    y = plain.affine(p, "linear", x.reshape(4, 15))
    for block in range(n_blocks):
        hidden = plain.gelu(plain.affine(p, f"blocks.{block}.layers.0", y))
        y = y + plain.affine(p, f"blocks.{block}.layers.3", hidden)
    wanted = plain.layer_norm(p, "final_layer", y)
    torch.testing.assert_close(model(x), wanted, rtol=1e-4, atol=1e-5)


def test_what_the_parts_count():
    with torch.device("meta"):
        model = BrainMLP(n_outputs=1024, n_chans=17, n_times=250)
    linear, block, norm = 4250 * 1024 + 1024, 2 * 1024**2 + 1024, 2 * 1024
    assert sum(part.numel() for part in model.parameters()) == linear + block + norm
    assert model.blocks[0].layers[0].bias is None

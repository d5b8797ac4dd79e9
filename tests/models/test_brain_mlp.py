import plain_encoders as plain
import pytest
import torch

from braindecode_ssr.models import SSR, BrainMLP, FusionHead
from braindecode_ssr.models.modules import rate_groups

BRAIN = [[1.362307, -0.414974, -1.442073, -1.439745], [1.077325, -0.675175, -0.709624, -0.240361]]
IMAGE = [[-0.456711, 1.322039, 1.124912, 0.901186], [0.217208, 0.197765, -0.429306, 0.782977]]
WIDTHS = (1024, 512, 1024)


@pytest.mark.parametrize("n_blocks", [1, 2])
def test_forward_equals_a_plain_derivation(n_blocks):
    torch.manual_seed(0)
    model = BrainMLP(n_outputs=6, n_chans=3, n_times=5, n_blocks=n_blocks).eval()
    p, x = plain.weights(model), torch.randn(4, 3, 5)
    y = plain.affine(p, "linear", x.reshape(4, 15))
    for block in range(n_blocks):
        hidden = plain.gelu(plain.affine(p, f"final_layer.{block}.layers.0", y))
        y = y + plain.affine(p, f"final_layer.{block}.layers.3", hidden)
        y = plain.layer_norm(p, f"final_layer.{block}.norm", y, 1e-6)
    torch.testing.assert_close(model(x), y, rtol=1e-4, atol=1e-5)


def test_the_numbers_of_the_public_code():
    """Brain-HIVE f06db69, main/models_brain.py and main/layers.py, run with the same weights and inputs."""
    model = BrainMLP(n_outputs=1024, n_chans=17, n_times=250).eval()
    head = FusionHead(WIDTHS, 1024).eval()
    assert sum(part.numel() for part in model.parameters()) == 6_452_224
    assert sum(part.numel() for part in head.parameters()) == 4_723_712
    with torch.no_grad():
        brain = model(plain.made_up(model, (2, 17, 250)))
        image = head(plain.made_up(head, (2, sum(WIDTHS))))
    for found, wanted in ((brain, BRAIN), (image, IMAGE)):
        found = found[:, [0, 1, 500, 1023]]
        torch.testing.assert_close(found, torch.tensor(wanted), rtol=0, atol=1e-4)


def test_weight_decay_and_projector_are_those_of_the_public_code():
    """Brain-HIVE f06db69, with transformers 4.57.3: Trainer.get_decay_parameter_names, and no map behind."""
    shape = {"n_outputs": 1024, "n_chans": 17, "n_times": 250, "projector": "none"}
    widths = {"n_features": sum(WIDTHS), "feature_widths": WIDTHS, "image_head": "fusion"}
    model = SSR(backbone="BrainMLP", **shape, **widths)
    groups = rate_groups(model, {"image_head": 1e-3}, "matrices")
    sizes = {name: part.numel() for name, part in model.named_parameters()}
    free = [name for name, group in groups if group.get("weight_decay") == 0]
    assert sum(map(sizes.__getitem__, free)) == 8_192
    assert sum(sizes.values()) - 8_192 == 11_167_744  # and the scale, which decays there and here
    assert all(("lr" in group) == name.startswith("image_head") for name, group in groups)
    assert rate_groups(model, {}) == []

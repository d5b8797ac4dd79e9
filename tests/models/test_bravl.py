import plain_encoders as plain
import torch

from braindecode_ssr.methods import METHODS
from braindecode_ssr.models import SSR, BraVL


def test_forward_equals_a_plain_derivation():
    torch.manual_seed(0)
    model = BraVL(n_outputs=6, n_chans=3, n_times=5, hidden=7, factor=2.5).eval()
    p, x = plain.weights(model), torch.randn(4, 3, 5)
    y = 2.5 * x.reshape(4, 15)
    for layer in ("layers.0", "layers.2"):
        y = plain.affine(p, layer, y).clamp_min(0)
    torch.testing.assert_close(model(x), plain.affine(p, "final_layer", y))


def test_inside_ssr_the_brain_projector_is_its_last_map():
    model = SSR(n_outputs=32, n_chans=17, n_times=33, backbone="BraVL")
    assert (model.feature_point, model.backbone_width) == ("embedding", 256)
    encoder = [*model.backbone.parameters(), *model.final_layer.parameters()]
    assert sum(p.numel() for p in encoder) == 561 * 256 + 256 + 256 * 256 + 256 + 256 * 32 + 32


def test_the_method_has_the_published_layers():
    """17 x 33 samples, 100 components of CORnet-S, 512 numbers of CLIP; the brain's variance is apart."""
    hidden, latent = 256 * 256 + 256, 256 * 32 + 32
    brain = 561 * 256 + 256 + hidden + latent
    images = (100 + 512) * 256 + 2 * 256 + 2 * hidden + 4 * latent
    assert METHODS["bravl"].parameters["things-eeg"]["intra"] == brain + images

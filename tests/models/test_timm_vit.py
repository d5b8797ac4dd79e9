import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from braindecode_ssr.datasets.base import eeg_info
from braindecode_ssr.errors import DataError, UsageError
from braindecode_ssr.models import SSR, TimmViT
from braindecode_ssr.models.pretrained import load_pretrained
from braindecode_ssr.models.timm_vit import by_region
from braindecode_ssr.preprocessing.channels import THINGS_EEG_63

ARCH = "vit_tiny_patch16_224"


def build(n_chans=4, n_times=48, **params):
    torch.manual_seed(0)
    return TimmViT(6, n_chans, n_times=n_times, sfreq=100.0, **{"depth": 1, **params}).eval()


def stretched(row, size):
    """Linear interpolation at the centers of ``size`` equal parts."""
    places = (np.arange(size) + 0.5) * len(row) / size - 0.5
    return np.interp(places, np.arange(len(row)), row)


def test_the_image_is_interpolated_over_electrodes_and_samples():
    model, trial = build(), np.random.default_rng(0).normal(size=(4, 48)).astype("float32")
    seen = []
    model.vit.register_forward_pre_hook(lambda part, args: seen.append(args[0]))
    model(torch.from_numpy(trial)[None])
    wide = np.array([stretched(row, 48) for row in trial])
    wanted = np.array([stretched(column, 16) for column in wide.T]).T
    np.testing.assert_allclose(seen[0][0, 0], wanted, atol=1e-5)


def test_regions_from_front_to_back_and_left_to_right():
    info = eeg_info(THINGS_EEG_63, 100.0)
    names = {r: [THINGS_EEG_63[i] for i in part] for r, part in by_region(info["chs"]).items()}
    assert list(names) == ["frontal", "central", "temporal", "parietal", "occipital"]
    assert names["frontal"][0] == "F7" and names["frontal"][-1] == "F8"
    assert set(names["central"]) == set("FC5 FC3 FC1 FCz FC2 FC4 FC6 C5 C3 C1 Cz C2 C4 C6".split())
    assert set(names["temporal"]) == set("FT9 FT7 FT8 FT10 T7 T8 TP9 TP7 TP8 TP10".split())
    assert names["occipital"][3:5] in (["Oz", "POz"], ["POz", "Oz"])
    meg = [{"ch_name": name} for name in ("MRO11-1609", "MLC22", "MZF01", "STI")]
    assert by_region(meg) == {"frontal": [2], "central": [1], "occipital": [0], "other": [3]}
    model = TimmViT(6, 63, info["chs"], n_times=250, depth=1)
    assert model.vit.patch_embed.grid_size == (5, 16)


def test_a_gray_image_is_encoded_as_by_the_model_of_images(tmp_path):
    """One grid of patches in both, so that the position embeddings are as they were."""
    torch.manual_seed(3)
    of_images = timm.create_model(ARCH, depth=2, img_size=48, num_classes=3).eval()
    save_file(of_images.state_dict(), tmp_path / "model.safetensors")
    ssr = SSR(n_outputs=5, n_chans=48, n_times=48, n_features=6, width=192, sfreq=100.0,
              backbone="TimmViT", backbone_params={"depth": 1}).eval()  # fmt: skip
    assert load_pretrained(ssr.backbone, str(tmp_path)) == []  # the last layer is cut
    of_images.blocks = of_images.blocks[:1]
    image = torch.randn(2, 1, 48, 48)
    tokens = of_images.forward_head(of_images.forward_features(image.expand(-1, 3, -1, -1)), True)
    torch.testing.assert_close(ssr.backbone.vit(image), tokens)


def test_weights_for_another_grid_are_interpolated_and_others_refused(tmp_path):
    given = timm.create_model(ARCH, depth=1, num_classes=0).state_dict()
    save_file(given, tmp_path / "model.safetensors")
    model = build(20)
    assert load_pretrained(model, str(tmp_path)) == ["final_layer.weight", "final_layer.bias"]
    assert torch.equal(model.vit.pos_embed[:, 0], given["pos_embed"][:, 0])
    assert model.vit.pos_embed.shape == (1, 1 + 3, 192)
    assert torch.equal(model.vit.blocks[0].attn.qkv.weight, given["blocks.0.attn.qkv.weight"])
    with pytest.raises(DataError, match="blocks.1"):
        load_pretrained(build(depth=2), str(tmp_path))
    model.save_pretrained(tmp_path / "ours")
    again = build(20)
    assert load_pretrained(again, str(tmp_path / "ours")) == []
    assert torch.equal(again.vit.pos_embed, model.vit.pos_embed)


def test_only_vision_transformers_with_a_class_token():
    for arch in (
        "resnet18",
        "no_such_model",
        "vit_tiny_patch16_reg4_gap_224",
        "vit_small_patch32_224",
    ):
        with pytest.raises(UsageError, match="vit_base_patch16_224"):
            build(arch=arch)

"""timm encoders with untrained weights, against hooks on timm's own models; trained ones need the network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from braindecode_ssr.errors import DataError, MissingDataError, UsageError
from braindecode_ssr.images.encoders import build_encoder, canonical_name, reads_text

VIT = "test_vit"  # 6 blocks of width 64, patches of 16, images of 160: timm's own model for tests
DINO = "timm:vit_giant_patch14_dinov2.lvd142m"


def timm_model(name: str = VIT, **options: int) -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=0, **options).eval().requires_grad_(False)


def picture() -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(encoder, image: Image.Image) -> torch.Tensor:
    resized = torch.from_numpy(np.array(encoder.resize(image))).permute(2, 0, 1)
    return encoder.encode(resized[None])


def evaluated(model: torch.nn.Module, size: int | None = None) -> torch.Tensor:
    """What the evaluation transform of timm makes of the picture."""
    config = resolve_model_data_config(model)
    if size:
        config["input_size"] = (3, size, size)
    return create_transform(**config, is_training=False)(picture())[None]


@pytest.mark.parametrize(("name", "size"), [(VIT, None), (VIT, 32), ("test_resnet", 64)])
def test_output_is_that_of_timm_with_its_evaluation_transform(name: str, size: int | None) -> None:
    encoder = build_encoder(f"timm:{name}.random" + (f":{size}" if size else ""))
    model = timm_model(name, **({"img_size": size} if size and name == VIT else {}))
    expected = model(evaluated(model, size))
    torch.testing.assert_close(encoded(encoder, picture()), expected, atol=1e-5, rtol=1e-5)
    assert (encoder.size, encoder.dim) == (size or 160, expected.shape[1])


@pytest.mark.parametrize(
    ("layer", "block", "pooling"),
    [
        ("@block2", 2, "mean"),
        ("@block0", 0, "cls"),
        ("@0.6667", 3, "tokens"),
        ("@0.5", 2, "cls"),
        ("@1", 5, "mean"),
        ("", 5, "mean"),
        ("", 5, "cls"),
        ("", 5, "tokens"),
    ],
)
def test_blocks_and_poolings(layer: str, block: int, pooling: str) -> None:
    encoder = build_encoder(f"timm:{VIT}.random{layer}:{pooling}:32")
    model, seen = timm_model(img_size=32), []
    module = model.blocks[block] if layer else model.norm
    module.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model(evaluated(model, 32))
    tokens = seen[0][0].numpy()  # the class token, then 4 patches
    assert tokens.shape == (5, 64)
    expected = {"mean": tokens[1:].mean(0), "cls": tokens[0], "tokens": tokens.mean(0)}[pooling]
    np.testing.assert_allclose(encoded(encoder, picture())[0], expected, atol=1e-5)


def test_register_tokens_are_no_patches() -> None:
    encoder = build_encoder("timm:test_vit2.random@block3:32")
    model, seen = timm_model("test_vit2", img_size=32), []
    assert model.num_prefix_tokens == 1
    model.blocks[3].register_forward_hook(lambda module, inputs, output: seen.append(output))
    model(evaluated(model, 32))
    np.testing.assert_allclose(
        encoded(encoder, picture())[0], seen[0][0, 1:].numpy().mean(0), atol=1e-5
    )
    with pytest.raises(UsageError, match="no class token"):
        build_encoder("timm:test_vit2.random@block3:cls:32")


def test_stages_of_a_network_without_blocks() -> None:
    encoder = build_encoder("timm:test_resnet.random@block3:64")
    model, seen = timm_model("test_resnet"), []
    model.layer3.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model(evaluated(model, 64))
    np.testing.assert_allclose(
        encoded(encoder, picture())[0], seen[0][0].numpy().mean((1, 2)), atol=1e-5
    )


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("dinov2-giant", DINO),
        ("DINOv2_giant@0.66670:tokens:518", f"{DINO}@0.6667:tokens:518"),
        ("dinov2-giant@block6", f"{DINO}@block6:mean"),
        ("dinov2-giant:cls", f"{DINO}:cls"),
        ("TIMM:hf-hub:org/repo@block6:cls", "timm:hf-hub:org/repo@block6:cls"),
        ("timm:local-dir:/a/b:224", "timm:local-dir:/a/b:224"),
    ],
)
def test_names(written: str, full: str) -> None:
    assert canonical_name(written) == full == canonical_name(full)
    assert not reads_text(written)


def test_random_weights_are_always_the_same_and_what_differs_is_in_the_fingerprint() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    names = [f"timm:{VIT}.random{rest}:32" for rest in ("", "", ":cls", ":mean", "@block1")]
    made = [build_encoder(name).fingerprint for name in names]
    assert torch.equal(torch.get_rng_state(), before)
    assert made[0] == made[1] and len(set(made)) == 4
    assert made[4] == build_encoder(f"timm:{VIT}.random@.34:mean:32").fingerprint


def folder_of(model: torch.nn.Module, folder: Path) -> str:
    config = {"architecture": VIT, "num_classes": 0, "model_args": {"img_size": 32}}
    config["pretrained_cfg"] = {"input_size": [3, 32, 32], "mean": [0.4] * 3, "std": [0.2] * 3}
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return f"timm:local-dir:{folder}"


def test_a_folder_brings_its_own_weights_and_others_do_not_fit(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = timm.create_model(VIT, num_classes=0, img_size=32).eval().requires_grad_(False)
    encoder = build_encoder(folder_of(model, tmp_path))
    described = encoder.description()["preprocess"]
    assert (encoder.size, described["mean"], described["std"]) == (32, [0.4] * 3, [0.2] * 3)
    pixels = create_transform(32, mean=(0.4,) * 3, std=(0.2,) * 3, interpolation="bicubic")
    expected = model(pixels(picture())[None])
    torch.testing.assert_close(encoded(encoder, picture()), expected, atol=1e-5, rtol=1e-5)
    assert encoder.fingerprint != build_encoder(f"timm:{VIT}.random:32").fingerprint
    with pytest.raises(DataError, match="do not fit"):
        build_encoder(folder_of(timm_model("test_vit2", img_size=32), tmp_path))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vit_smal_patch14_dinov2.lvd142m", "did you mean 'vit_small_patch14_dinov2'"),
        ("vit_small_patch14_dinov2", "write timm:vit_small_patch14_dinov2.lvd142m"),
        ("vit_small_patch14_dinov2.lvd142", "did you mean 'lvd142m'"),
        (f"{VIT}.random@block6:32", "block0 to block5"),
        (f"{VIT}.random@0.1:32", "no block at 0.1"),
        (f"{VIT}.random@layer3", "@block6"),
        (f"{VIT}.random:first", ":cls"),
        (f"{VIT}.random:40", ":32"),
        ("test_resnet.random@block3:cls", ":mean"),
    ],
)
def test_wrong_names(name: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        build_encoder(f"timm:{name}")
    assert words in str(error.value)


def test_weights_out_of_reach_or_in_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unreachable() -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("braindecode_ssr.images.pretrained.reach_hub", unreachable)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *args: None)
    with pytest.raises(MissingDataError) as error:
        build_encoder("dinov2-small@block6:518")
    text = str(error.value)
    assert "HF_HUB_OFFLINE=1" in text and str(tmp_path) in text and "\n" not in text
    assert "import --encoder timm:vit_small_patch14_dinov2.lvd142m@block6:mean:518 " in text

    torch.manual_seed(4)
    model = timm.create_model(VIT).eval()  # with the classifier, as weights on the hub
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    stored = {"pytorch_model.bin": str(tmp_path / "pytorch_model.bin")}
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda _, file: stored.get(file))
    encoder = build_encoder(f"timm:{VIT}.r160_in1k")
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(evaluated(model)), pre_logits=True)
    torch.testing.assert_close(encoded(encoder, picture()), expected, atol=1e-5, rtol=1e-5)

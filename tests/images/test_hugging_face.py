"""Vision models of transformers with untrained weights in a folder, against the models themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from braindecode_ssr.errors import MissingDataError, UsageError
from braindecode_ssr.images.encoders import build_encoder, canonical_name, is_encoder, reads_text

transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
PROCESSOR = {"size": {"shortest_edge": 40}, "crop_size": {"height": 28, "width": 28}}


def saved(folder: Path, kind: str = "Dinov2", **config: object) -> torch.nn.Module:
    torch.manual_seed(0)
    settings = {**SIZES, "image_size": 28, "patch_size": 14, **config}
    if kind == "Dinov2":
        settings.setdefault("mlp_ratio", 2)
    model = getattr(transformers, f"{kind}Model")(
        getattr(transformers, f"{kind}Config")(**settings)
    )
    model.save_pretrained(folder)
    transformers.BitImageProcessor(
        **PROCESSOR, image_mean=[0.4] * 3, image_std=[0.3] * 3
    ).save_pretrained(folder)
    return model.eval()


def pixels(images: torch.Tensor) -> torch.Tensor:
    return (images.float() / 255 - 0.4) / 0.3


IMAGES = torch.randint(
    0, 256, (3, 3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
)


@pytest.mark.parametrize(
    ("rest", "block", "pooling"),
    [
        ("@block0", 0, "mean"),
        ("@0.6667:tokens", 1, "tokens"),
        ("@1:cls", 2, "cls"),
        (":mean", None, "mean"),
    ],
)
def test_layers_and_poolings_are_those_of_the_model(tmp_path, rest, block, pooling):
    model, encoder = saved(tmp_path), build_encoder(f"hf:{tmp_path}{rest}")
    seen: list[torch.Tensor] = []
    if block is not None:
        model.encoder.layer[block].register_forward_hook(
            lambda module, inputs, output: seen.append(
                output[0] if isinstance(output, tuple) else output
            )
        )
    with torch.no_grad():
        last = model(pixels(IMAGES)).last_hidden_state
    tokens = seen[0] if seen else last
    assert tokens.shape == (3, 5, 32)  # the class token, then 4 patches
    wanted = {"mean": tokens[:, 1:].mean(1), "cls": tokens[:, 0], "tokens": tokens.mean(1)}[pooling]
    torch.testing.assert_close(encoder.encode(IMAGES), wanted, atol=1e-5, rtol=1e-5)


def test_the_output_of_its_own_and_the_resizing_of_its_processor(tmp_path):
    model, encoder = saved(tmp_path), build_encoder(f"hf:{tmp_path}")
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (90, 60, 3), dtype=np.uint8))
    resized = encoder.resize(picture)
    assert (encoder.size, encoder.dim, resized.size) == (28, 32, (28, 28))
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    ready = processor(picture, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        wanted = model(ready).pooler_output
    found = encoder.encode(torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None])
    torch.testing.assert_close(found, wanted, atol=0.02, rtol=0.02)  # both round to grey levels
    large = build_encoder(f"hf:{tmp_path}@block1:56")
    assert large.resize(picture).size == (56, 56) and large.encode(IMAGES[:, :, :28]).shape == (
        3,
        32,
    )


def test_the_image_tower_of_a_model_of_images_and_text(tmp_path):
    vision = {**SIZES, "image_size": 28, "patch_size": 14, "intermediate_size": 64}
    text = {**SIZES, "intermediate_size": 64, "vocab_size": 50}
    config = transformers.CLIPConfig(vision_config=vision, text_config=text)
    torch.manual_seed(0)
    model = transformers.CLIPModel(config).eval()
    model.save_pretrained(tmp_path)
    transformers.BitImageProcessor(
        **PROCESSOR, image_mean=[0.4] * 3, image_std=[0.3] * 3
    ).save_pretrained(tmp_path)
    with torch.no_grad():
        wanted = model.vision_model(pixels(IMAGES)).pooler_output
    found = build_encoder(f"hf:{tmp_path}").encode(IMAGES)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_maps_of_a_network_without_tokens(tmp_path):
    sizes = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1], "num_stages": 4}
    torch.manual_seed(0)
    model = transformers.ConvNextModel(transformers.ConvNextConfig(**sizes)).eval()
    model.save_pretrained(tmp_path)
    transformers.BitImageProcessor(
        size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}
    ).save_pretrained(tmp_path)
    assert build_encoder(f"hf:{tmp_path}@block1:mean").dim == 12
    assert build_encoder(f"hf:{tmp_path}").dim == 20


def test_its_last_blocks_can_be_trained(tmp_path):
    from braindecode_ssr.models.image_encoder import TunedEncoder

    saved(tmp_path)
    tuned = TunedEncoder(build_encoder(f"hf:{tmp_path}@block1:cls"), 2, 4.0, 1)
    assert len(tuned.changes) == 6  # query, key, value, output and both maps of block 1
    torch.nn.init.normal_(tuned.changes[0].B)
    tuned(IMAGES).square().sum().backward()
    assert all(change.B.grad is not None for change in tuned.changes)


def test_names_and_fingerprints(tmp_path):
    assert canonical_name("HF:org/repo@0.66670") == "hf:org/repo@0.6667:mean"
    assert is_encoder("hf:org/repo") and not reads_text("hf:org/repo")
    saved(tmp_path)
    prints = {
        build_encoder(f"hf:{tmp_path}{rest}").fingerprint for rest in ("", "", ":cls", "@block1")
    }
    assert len(prints) == 3


def test_what_is_refused(tmp_path, monkeypatch):
    saved(tmp_path)
    with pytest.raises(UsageError, match="block0 to block2"):
        build_encoder(f"hf:{tmp_path}@block3")
    (tmp_path / "config.json").write_text('{"model_type": "intern_vit_of_its_own"}')
    with pytest.raises(UsageError, match="cannot build the encoder"):
        build_encoder(f"hf:{tmp_path}")

    def unreachable():
        raise OSError("Name or service not known")

    monkeypatch.setattr("braindecode_ssr.images.pretrained.reach_hub", unreachable)
    with pytest.raises(MissingDataError, match="import --encoder hf:org/repo "):
        build_encoder("hf:org/repo")


def test_without_transformers_it_names_the_extra():
    code = """
import sys
sys.modules["transformers"] = None
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "transformers" else found(name)
from braindecode_ssr.images.encoders import build_encoder
try:
    build_encoder("hf:org/repo")
except Exception as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "braindecode-ssr[hf]"' in done.stdout

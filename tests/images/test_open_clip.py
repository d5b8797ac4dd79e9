"""open_clip encoders on small untrained models of its own kinds; trained weights need the network."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torch import nn

from braindecode_ssr.errors import DataError, MissingDataError, UsageError
from braindecode_ssr.images.encoders import build_encoder
from braindecode_ssr.images.features import extract
from braindecode_ssr.images.pretrained import OpenCLIP, open_clip_name, pooled, weights_hash
from braindecode_ssr.images.store import FeatureStore

from .conftest import DrawnDataset

TEXT = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
VIT = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
SIGLIP = {
    "image_size": 160,
    "timm_model_name": "test_vit3",
    "timm_pool": "map",
    "timm_proj": "linear",
}
MODELS = {
    "tiny-vit": VIT,
    "tiny-rn": RESNET,
    "tiny-map": SIGLIP,
}  # the last of timm's, as SigLIP is
WORDS = {**TEXT, "context_length": 77, "vocab_size": 49408}  # those of open_clip's own tokenizer


@pytest.fixture(scope="module", autouse=True)
def _tiny_models(tmp_path_factory: pytest.TempPathFactory):
    """open_clip learns models small enough for tests."""
    folder = tmp_path_factory.mktemp("configs")
    for name, vision in MODELS.items():
        config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": TEXT}
        (folder / f"{name}.json").write_text(json.dumps(config))
        (folder / f"{name}-reads.json").write_text(json.dumps({**config, "text_cfg": WORDS}))
    open_clip.add_model_config(folder)


def pictures(n: int, size: int) -> torch.Tensor:
    return torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (n, 3, size, size), dtype=np.uint8)
    )


@pytest.mark.parametrize("model", MODELS)
def test_output_is_that_of_open_clip_with_its_evaluation_transform(model: str) -> None:
    encoder = build_encoder(f"{model}/random")
    torch.manual_seed(0)
    reference, train_transform, transform = open_clip.create_model_and_transforms(model)
    pixels = np.random.default_rng(1).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    expected = reference.eval().encode_image(transform(image)[None])
    resized = torch.from_numpy(np.array(encoder.resize(image))).permute(2, 0, 1)
    torch.testing.assert_close(encoder.encode(resized[None]), expected.detach(), atol=1e-5, rtol=0)
    assert (encoder.dim, encoder.size) == (24, MODELS[model]["image_size"])
    assert str(train_transform) != str(transform)


def test_random_weights_are_always_the_same_and_leave_the_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, other = build_encoder("tiny-vit/random"), build_encoder("open-clip:tiny-vit/random")
    assert torch.equal(torch.get_rng_state(), before)
    images = pictures(3, 32)
    assert torch.equal(one.encode(images), other.encode(images))
    assert one.fingerprint == other.fingerprint
    assert one.name == "open-clip:tiny-vit/random"


@pytest.mark.parametrize(
    ("name", "dim"),
    [
        ("tiny-vit/random@transformer.resblocks.0", 32),
        ("tiny-vit/random@resblocks.1", 32),
        ("tiny-vit/random@conv1", 32),
        ("tiny-rn/random@layer3", 128),
        ("tiny-rn/random@attnpool", 24),
    ],
)
def test_layers_inside(name: str, dim: int) -> None:
    encoder = build_encoder(name)
    images = pictures(3, encoder.size)
    features = encoder.encode(images)
    assert features.shape == (3, dim) == (3, encoder.dim)
    assert encoder.name == f"open-clip:{name}"
    assert encoder.fingerprint != build_encoder(name.partition("@")[0]).fingerprint
    alone = torch.cat([encoder.encode(images[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(features, alone, atol=1e-4, rtol=1e-4)


def test_a_layer_is_averaged_over_all_tokens() -> None:
    encoder = build_encoder("tiny-vit/random@resblocks.0")
    seen = {}
    visual = encoder._model.visual
    block = visual.transformer.resblocks[0]
    block.register_forward_hook(lambda m, i, output: seen.setdefault("tokens", output))
    features = encoder.encode(pictures(2, 32))
    assert seen["tokens"].shape == (2, 17, 32)
    torch.testing.assert_close(features, seen["tokens"].mean(1))


def test_pooling_by_form() -> None:
    maps = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    expected = maps.flatten(2).mean(2)
    torch.testing.assert_close(pooled(maps, 2), expected)
    torch.testing.assert_close(pooled(maps.permute(0, 2, 3, 1), 2), expected)
    torch.testing.assert_close(pooled(maps.flatten(2).transpose(1, 2), 2), expected)
    torch.testing.assert_close(pooled(expected, 2), expected)
    for wrong in (maps[:1], maps[None], expected[0]):
        with pytest.raises(UsageError, match="choose another layer"):
            pooled(wrong, 2)


def checkpoint(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    model = open_clip.create_model("tiny-vit")
    path = folder / f"weights-{seed}.pt"
    torch.save(model.state_dict(), path)
    return path


def test_other_weights_of_the_same_model_have_another_fingerprint(tmp_path: Path) -> None:
    one, other = (build_encoder(f"tiny-vit/{checkpoint(tmp_path, seed)}") for seed in (1, 2))
    assert one.description()["weights_sha256"] != other.description()["weights_sha256"]
    images = pictures(2, 32)
    assert not torch.allclose(one.encode(images), other.encode(images))
    torch.manual_seed(1)
    reference = open_clip.create_model("tiny-vit")
    assert one.description()["weights_sha256"] == weights_hash(reference.visual)


def test_a_local_folder_brings_its_own_weights_and_preprocessing(tmp_path: Path) -> None:
    config = {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT}
    preprocess = {"mean": [0.5] * 3, "std": [0.25] * 3, "resize_mode": "squash"}
    whole = {"model_cfg": config, "preprocess_cfg": preprocess}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(whole))
    checkpoint(tmp_path, 3).rename(tmp_path / "open_clip_pytorch_model.bin")
    encoder = build_encoder(f"open-clip:local-dir:{tmp_path}@resblocks.0")
    assert encoder.asked.layer == "resblocks.0"
    described = encoder.description()["preprocess"]
    assert (described["mean"], described["resize_mode"]) == ([0.5] * 3, "squash")
    assert encoder.resize(Image.new("RGB", (90, 40))).size == (32, 32)


def test_a_checkpoint_that_does_not_fit(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 1)
    with pytest.raises(DataError, match="the weights of tiny-rn.* do not fit the model") as error:
        build_encoder(f"tiny-rn/{path}")
    assert "\n" not in str(error.value)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError):
        build_encoder(f"tiny-vit/{path}")
    with pytest.raises(MissingDataError):
        build_encoder(f"open-clip:local-dir:{tmp_path / 'nowhere'}")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("RN51/openai", "did you mean 'RN50'"),
        ("RN50/openia", "did you mean 'openai'"),
        ("open-clip:RN50", "write RN50/openai"),
        ("open-clip:tiny-vit", "write tiny-vit/random"),
        ("tiny-rn/random@layer33", "did you mean 'layer3'"),
        ("tiny-vit/random@foo", "transformer.resblocks.0"),
        ("tiny-vit/random@c_fc", "transformer.resblocks.1.mlp.c_fc"),
    ],
)
def test_wrong_names(name: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        build_encoder(name)
    assert words in str(error.value)


def test_a_layer_that_is_not_used_or_gives_no_tensor() -> None:
    encoder = build_encoder("tiny-vit/random")
    encoder._layer = nn.Linear(2, 2)
    with pytest.raises(UsageError, match="not used"):
        encoder.encode(pictures(1, 32))


def test_parts_of_a_name() -> None:
    asked = open_clip_name("RN50/openai@layer3")
    assert (asked.model, asked.tag, asked.layer, asked.text) == (
        "RN50",
        "openai",
        "layer3",
        "RN50/openai@layer3",
    )
    asked = open_clip_name("hf-hub:org/repo@visual")
    assert (asked.model, asked.tag, asked.layer) == ("hf-hub:org/repo", "", "visual")


def test_weights_out_of_reach_say_what_to_do_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    handlers = list(logging.getLogger().handlers)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def unreachable() -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("braindecode_ssr.images.pretrained.reach_hub", unreachable)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *args, **kw: None)
    with pytest.raises(MissingDataError) as error:
        build_encoder("RN50/openai")
    text = str(error.value)
    assert "RN50/openai" in text and "HF_HUB_OFFLINE=1" in text and "\n" not in text
    assert "ssr-bd features import --encoder RN50/openai" in text
    assert logging.getLogger().handlers == handlers


def test_features_go_into_the_store(dataset: DrawnDataset, store: FeatureStore) -> None:
    extract(dataset, "tiny-vit/random", ["original"], store, batch_size=6)
    details = store.manifest("tiny-vit/random", "original")["details"]
    assert details["normalise"] is False and details["layer"] == "output"
    ids = dataset.images["image_id"].tolist()
    assert store.read("open-clip:tiny-vit/random", "original", ids).shape == (17, 24)


SENTENCES = ["This picture is aardvark", "This picture is hot-air balloon", "This picture is bat"]


@pytest.mark.parametrize("model", MODELS)
def test_sentences_are_read_as_open_clip_reads_them(model: str) -> None:
    encoder = build_encoder(f"{model}-reads/random")
    torch.manual_seed(0)
    reference = open_clip.create_model(f"{model}-reads").eval()
    tokens = open_clip.tokenize(SENTENCES)
    expected = reference.encode_text(tokens).detach()
    features = encoder.encode_text(SENTENCES)
    assert features.dtype == torch.float32 and features.shape == (3, encoder.dim) == (3, 24)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=0)
    assert not torch.allclose(features.norm(dim=1), torch.ones(3), atol=0.05)
    alone = torch.cat([encoder.encode_text([sentence]) for sentence in SENTENCES])
    torch.testing.assert_close(features, alone, atol=1e-5, rtol=0)
    assert encoder.encode_text([]).shape == (0, 24)


def test_the_text_tower_has_a_hash_of_its_own() -> None:
    one, other = build_encoder("tiny-vit-reads/random"), build_encoder("tiny-vit-reads/random")
    described = one.text_description()
    assert described == other.text_description()
    assert described["tokenizer"] == "SimpleTokenizer" and described["context_length"] == 77
    other._model.visual.proj.data += 1
    assert weights_hash(other._model, without="visual.") == described["text_weights_sha256"]
    changed = build_encoder("tiny-vit-reads/random")
    changed._model.token_embedding.weight.data[0, 0] += 1
    assert changed.text_description() != described and changed.fingerprint == one.fingerprint


def test_text_and_images_side_by_side(dataset: DrawnDataset, store: FeatureStore) -> None:
    dataset.missing = set(dataset.images["image_id"])
    name = "tiny-vit-reads/random"
    extract(dataset, name, ["text"], store, batch_size=6)
    dataset.missing = set()
    extract(dataset, name, ["original"], store, batch_size=6)
    ids = dataset.images["image_id"].tolist()
    words = [f"This picture is {concept}" for concept in dataset.images["concept"]]
    expected = build_encoder(name).encode_text(words).numpy()
    np.testing.assert_allclose(store.read(name, "text", ids), expected, atol=1e-5)
    assert store.manifest(name, "text")["details"]["tokenizer"] == "SimpleTokenizer"
    assert "tokenizer" not in store.manifest(name, "original")["details"]


def test_a_layer_or_a_model_without_words_reads_nothing() -> None:
    encoder = build_encoder("tiny-vit-reads/random@resblocks.0")
    for ask in (lambda: encoder.encode_text(SENTENCES), encoder.text_description):
        with pytest.raises(UsageError, match="its layer resblocks.0; leave @resblocks.0 out"):
            ask()
    encoder = build_encoder("tiny-vit-reads/random")
    encoder._model = nn.Module()
    with pytest.raises(UsageError, match="a model without a text tower; choose another model"):
        encoder.encode_text(SENTENCES)


def test_a_tokenizer_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str) -> None:
        raise OSError("no such repository\nand more")

    encoder = build_encoder("tiny-vit-reads/random")
    monkeypatch.setattr(open_clip, "get_tokenizer", unreachable)
    with pytest.raises(MissingDataError, match="the tokenizer tiny-vit-reads/random") as error:
        encoder.encode_text(SENTENCES)
    assert "no such repository" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.hub
def test_published_weights() -> None:
    encoder = OpenCLIP("RN50/openai")
    texts = encoder.encode_text(SENTENCES)
    cosines = torch.nn.functional.cosine_similarity(texts[:, None], texts[None], dim=-1)
    assert texts.shape == (3, 1024) and float(cosines.fill_diagonal_(0).max()) < 0.95
    assert encoder.dim == 1024
    cosine = torch.nn.functional.cosine_similarity(*encoder.encode(pictures(2, 224)).split(1))
    assert float(cosine) < 0.999

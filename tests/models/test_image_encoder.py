"""An image encoder that is trained by changes of low rank: the module, the training set, and whole runs."""

import copy
import json

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from braindecode_ssr import config, load_run, train
from braindecode_ssr.datasets import open_dataset
from braindecode_ssr.errors import DataError, UsageError
from braindecode_ssr.images.encoders import build_encoder
from braindecode_ssr.images.features import Pixels, features_of, read_pixels
from braindecode_ssr.images.views import build_view, image_seed
from braindecode_ssr.models.image_encoder import TunedEncoder, build_tuned
from braindecode_ssr.pipeline import evaluate
from braindecode_ssr.runs import IMAGE_ENCODER

NAME = "timm:test_vit.random@block4:cls:32"  # 6 blocks of width 64; images of 32 pixels
RECIPE = {
    **{"dataset": "things-sim", "preset": "tiny", "subject": 5, "method": "nice", "epochs": 4},
    **{"encoder": NAME, "images.tuning": "lora", "images.lora_rank": 4, "lr": 1e-3},
    **{"batch_size": 32, "model.width": 64, "model.n_outputs": 64},
}


def images(n=5, size=32):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator)


def shaken(tuned):
    """As after training: B is zero at first."""
    torch.manual_seed(2)
    for change in tuned.changes:
        torch.nn.init.normal_(change.B, std=0.1)
    return tuned


@pytest.mark.parametrize(
    ("name", "size", "blocks", "at"),
    [
        (NAME, 32, 2, {"blocks.3", "blocks.4"}),  # what comes after the layer does not count
        ("timm:test_vit.random:32", 32, 1, {"blocks.5"}),
        (
            "ViT-S-32-alt/random@resblocks.6",
            224,
            2,
            {"transformer.resblocks.5", "transformer.resblocks.6"},
        ),
    ],
)
def test_changes_are_in_the_last_blocks_that_count(name, size, blocks, at):
    plain = build_encoder(name)
    encoder = copy.deepcopy(plain)
    tuned = TunedEncoder(encoder, 2, 4.0, blocks)
    assert torch.equal(tuned.encode(images(2, size)), plain.encode(images(2, size)))
    changed = {
        ".".join(path.split(".")[: 3 if "resblocks" in path else 2])
        for path, layer in encoder.network.named_modules()
        if hasattr(layer, "parametrizations")
    }
    assert changed == at
    shaken(tuned)
    tuned(images(2, size)).square().sum().backward()
    assert all(change.A.grad.any() for change in tuned.changes)
    named = [key for key, _ in tuned.named_parameters()]
    assert list(tuned.state_dict()) == named and len(named) == 2 * len(tuned.changes)
    assert not any(p.requires_grad for p in plain.network.parameters())


def test_features_are_those_of_the_network_with_changed_matrices():
    tuned = shaken(TunedEncoder(build_encoder("timm:test_vit.random:cls:32"), 3, 6.0, 1))
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=0, img_size=32).eval()
    block, changes = model.blocks[5], list(tuned.changes)
    layers = (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2)
    with torch.no_grad():
        for layer, change in zip(layers, changes, strict=True):
            layer.weight += 6.0 / 3 * change.B @ change.A
        pixels = (images().float() / 255 - tuned.encoder._mean) / tuned.encoder._sd
        wanted = model.forward_features(pixels)[:, 0]
    torch.testing.assert_close(tuned.encode(images()), wanted, atol=1e-5, rtol=1e-5)


def test_many_images_are_encoded_part_by_part_with_the_same_gradients():
    tuned = shaken(TunedEncoder(build_encoder(NAME), 2))
    many, gradients = images(70), []
    for features in (tuned(many), tuned.encoder.features(many)):
        tuned.zero_grad()
        (features**2).sum().backward()
        gradients.append([p.grad.clone() for p in tuned.parameters()])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


def test_the_fingerprint_is_that_of_the_changes_too():
    encoder = build_encoder(NAME)
    before = encoder.fingerprint
    tuned = TunedEncoder(encoder, 2)
    first = tuned.fingerprint
    assert encoder.fingerprint == before != first != shaken(tuned).fingerprint


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("simnet", "simnet has no network"),
        ("timm:test_resnet.random:64", "no blocks with linear"),
    ],
)
def test_encoders_that_cannot_be_trained(name, said):
    with pytest.raises(UsageError, match=said):
        TunedEncoder(build_encoder(name))


def test_pixels_are_those_of_the_images_and_kept_up_to_a_limit(sim_dir):
    dataset = open_dataset(config.DataSpec(preset="tiny"), sim_dir)
    encoder, ids = build_encoder(NAME), dataset.images["image_id"][:5].tolist()
    pixels = Pixels([(dataset, one) for one in ids], encoder, build_view("blur"), 3.5 * 3072 / 1e9)
    for _ in range(2):
        read = pixels.read([4, 0, 4, 2, 1, 3])
        wanted = [read_pixels(dataset, encoder, ids[row]).numpy() for row in (4, 0, 4, 2, 1, 3)]
        np.testing.assert_array_equal(read, wanted)
        assert len(pixels.kept) == 3
    blurred = build_view("blur")(
        torch.from_numpy(read[:2]), seed=[image_seed(ids[4]), image_seed(ids[0])]
    )
    assert torch.equal(pixels.altered(torch.from_numpy(read[:2]), [4, 0]), blurred)


@pytest.fixture(scope="module")
def run(sim_dir, tmp_path_factory):
    return train(**RECIPE, data_dir=sim_dir, out=tmp_path_factory.mktemp("image-lora"))


def test_training_lowers_the_loss_and_changes_the_encoder(run):
    loss = run.history["train_loss"]
    assert loss.iloc[-1] < 0.85 * loss.iloc[0]
    changes = load_file(run.path / IMAGE_ENCODER)
    assert len(changes) == 2 * 4 * 4 and all(value.any() for value in changes.values())
    assert not [name for name in load_file(run.weights) if name.startswith("image_encoder")]
    assert run.summary["encoder"] == f"{NAME}, lora" and run.spec.images.views == ("original",)


def test_a_reloaded_run_gives_the_numbers_of_its_own_encoder(run, sim_dir):
    queries, summary = evaluate(run.path)
    np.testing.assert_array_equal(queries["score"], run.queries["score"])
    assert {k: summary[k] for k in ("top1", "mrr")} == {k: run.summary[k] for k in ("top1", "mrr")}
    dataset = open_dataset(run.spec.data, sim_dir)
    ids = dataset.images.loc[dataset.images["split"] == "test", "image_id"].tolist()
    tuned = build_tuned(run.spec.images)
    tuned.load_state_dict(load_file(run.path / IMAGE_ENCODER))
    encoded = tuned.encode(torch.stack([read_pixels(dataset, tuned, one) for one in ids]))
    found = load_run(run.path)
    np.testing.assert_allclose(found._features(dataset, ids, False, print), encoded, atol=1e-5)
    frozen = features_of(run.spec, dataset).original(ids)
    assert np.abs(encoded.numpy() - frozen).max() > 1e-3
    gallery = found.retrieve()
    assert gallery["rank"].tolist() == run.queries["rank"].tolist()


def test_the_same_seed_and_a_resumed_run_give_the_same_weights(run, sim_dir, tmp_path, monkeypatch):
    from braindecode_ssr import pipeline

    def die(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "write_model", die)
        with pytest.raises(KeyboardInterrupt):
            train(**RECIPE, data_dir=sim_dir, out=tmp_path)
    said: list[str] = []
    again = train(**RECIPE, data_dir=sim_dir, out=tmp_path, say=said.append)
    assert "resuming from epoch 4" in said
    for name in (IMAGE_ENCODER, run.weights.name):
        one, two = (load_file(each.path / name) for each in (run, again))
        assert all(torch.equal(one[key], two[key]) for key in one | two)


def test_with_a_view_validation_an_average_and_the_head_none(sim_dir, tmp_path):
    options = {"images.views": ["blur"], "train.validation_concepts": 6, "train.ema": 0.9}
    options |= {"train.selection": "validation", "model.image_head": "none", "epochs": 2}
    options |= {"method": "ssr", "train.lr_of": {"image_encoder": 1e-2}}
    done = train(**{**RECIPE, **options}, data_dir=sim_dir, out=tmp_path)
    assert {"brain_view", "view_original", "valid_mrr"} <= set(done.history)
    queries, _ = evaluate(done.path, "gallery=views+selection=validation")
    assert not np.array_equal(queries["score"], done.queries["score"])
    np.testing.assert_array_equal(evaluate(done.path)[0]["score"], done.queries["score"])


def test_fine_tuning_goes_on_from_the_changes_of_the_run(run, tmp_path):
    from braindecode_ssr.calibrate import finetune

    tuned = finetune(run, subject=2, trials=40, epochs=1, lr=1e-9, out=tmp_path)
    before, after = (load_file(each.path / IMAGE_ENCODER) for each in (run, tuned))
    for name in before:
        torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=1e-6)


def test_missing_or_foreign_weights_are_refused(run, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    record = json.loads((copy / "run.json").read_text())
    record["features"]["original"] = "0" * 64
    (copy / "run.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="other weights"):
        evaluate(copy)
    (copy / IMAGE_ENCODER).unlink()
    with pytest.raises(DataError, match=IMAGE_ENCODER):
        load_run(copy)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"encoder": "simnet"}, "simnet has no network"),
        ({"encoder": f"{NAME}+simnet"}, "2 encoders"),
        ({"method": "ridge-decoding"}, "closed form"),
        ({"images.views": ["blur", "mosaic"]}, "one view of each image"),
        ({"images.views": ["text"]}, "one view of each image"),
        ({"train.keep": "every"}, "keep"),
    ],
)
def test_what_cannot_be_trained_is_refused(sim_dir, tmp_path, options, said):
    with pytest.raises(UsageError, match=said):
        train(**{**RECIPE, **options}, data_dir=sim_dir, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_frozen_is_the_same_run_as_before():
    for settings in ({}, {"tuning": "frozen"}, {"tuning": "frozen", "lora_rank": 8}):
        assert config.RunSpec(images=settings).digest == config.RunSpec().digest
    assert "tuning" not in config.RunSpec()._digested()["images"]
    assert config.RunSpec(images={"tuning": "lora"}).digest != config.RunSpec().digest

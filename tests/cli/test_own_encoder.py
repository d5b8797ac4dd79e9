"""An encoder of one's own whose name differs from the one it was asked for: one canonical name."""

import numpy as np
import pytest
import torch

from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.errors import UsageError
from braindecode_ssr.images.encoders import ENCODERS, ImageEncoder, canonical_name, encoder_name
from braindecode_ssr.images.features import extract, image_features
from braindecode_ssr.images.store import FeatureStore

from .conftest import SMALL

encoded: list[int] = []


class Thumbnail(ImageEncoder):
    """The image itself, 8 x 8 pixels unless the name says otherwise."""

    def __init__(self, argument="", device="cpu"):
        self.size = int(argument or 8)
        self.name, self.dim = f"thumbnail:{self.size}", 3 * self.size**2

    def description(self):
        return {"encoder": self.name}

    def encode(self, images):
        encoded.append(len(images))
        return images.flatten(1).float() - 128


class Named(Thumbnail):
    built = 0

    @classmethod
    def canonical_name(cls, argument):
        return f"named:{argument or 8}"

    def __init__(self, argument="", device="cpu"):
        Named.built += 1
        super().__init__(argument)
        self.name = self.canonical_name(argument)


class Lost(Thumbnail):
    """Its name does not lead back to it."""

    def __init__(self, argument="", device="cpu"):
        super().__init__("8")
        self.name = "somewhere-else"


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    kinds = {"thumbnail": Thumbnail, "named": Named, "lost": Lost}
    parts = {kind: f"{__name__}:{cls.__name__}" for kind, cls in kinds.items()}
    monkeypatch.setattr(ENCODERS, "_foreign", parts)
    encoded.clear()
    canonical_name.cache_clear()
    yield
    canonical_name.cache_clear()


SIM = ("--dataset", "things-sim", "--preset", "tiny")


def test_features_are_extracted_once_and_found_by_training(call, tmp_path):
    place = (*SIM, "--data-dir", tmp_path / "sim", "--encoder", "Thumbnail")
    rows = call("features", "extract", *place, "--view", "original", "--json", code=0).json
    assert rows == [{"encoder": "thumbnail:8", "view": "original", "images": 112}]
    assert sum(encoded) == 112
    call("features", "extract", *place, "--view", "original", code=0)
    assert sum(encoded) == 112, "extracted again"
    train = (*place, "--subject", 1, "--epochs", 1, *SMALL, "--set", 'images.views=["original"]')
    done = call("train", *train, "--out", tmp_path / "run", "--json", code=0)
    assert done.json["encoder"] == "thumbnail:8" and sum(encoded) == 112, "extracted again"
    rows = call("features", "check", *place[:6], "--json", code=0).json
    assert [(row["encoder"], row["problem"]) for row in rows] == [("thumbnail:8", "")]


def test_training_extracts_under_the_canonical_name(call, tmp_path):
    place = (*SIM, "--data-dir", tmp_path / "sim", "--encoder", "thumbnail", "--subject", 1)
    sets = ("--set", 'images.views=["original"]', "--epochs", 1, *SMALL)
    for run in ("one", "two"):
        call("train", *place, *sets, "--out", tmp_path / run, code=0)
        assert sum(encoded) == 112


def test_a_name_is_canonical_and_stays_so():
    assert canonical_name("Thumbnail") == canonical_name("thumbnail:8") == "thumbnail:8"
    assert encoder_name("thumbnail+thumbnail:16") == "thumbnail:8+thumbnail:16"


def test_an_encoder_that_gives_its_name_need_not_be_built():
    assert canonical_name("named") == "named:8" and Named.built == 0


def test_a_name_that_does_not_lead_back_is_refused():
    with pytest.raises(UsageError, match="'somewhere-else'.*`name`"):
        canonical_name("lost")


def negative(images, *, seed):
    return 255 - images


def test_encoders_and_views_are_taken_as_objects(tmp_path):
    dataset = ThingsSim(tmp_path, "tiny")
    features = image_features(dataset, Thumbnail("4"), [negative])
    features.complete(dataset, device="cpu", progress=False)
    ids = dataset.images["image_id"].tolist()[:3]
    np.testing.assert_allclose(features.view(ids), -1 - features.original(ids))
    assert (features.encoder, features.views) == ("thumbnail:4", ("negative",))
    count = sum(encoded)
    extract(dataset, Thumbnail("4"), [negative], FeatureStore.of(dataset))
    again = image_features(dataset, Thumbnail("4"), [negative])
    again.complete(dataset, device="cpu", progress=False)
    assert sum(encoded) == count == 2 * 112


def test_a_function_needs_a_name_of_its_own(tmp_path):
    def blur(images, *, seed):
        return torch.zeros_like(images)

    dataset = ThingsSim(tmp_path, "tiny")
    for view in (blur, lambda images, *, seed: images):
        with pytest.raises(UsageError, match="no name of its own"):
            image_features(dataset, "pyramid", [view])

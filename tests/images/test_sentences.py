"""Features of sentences: without any image, beside features of images, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from braindecode_ssr.errors import DataError, MissingDataError, UsageError
from braindecode_ssr.images.encoders import reads_text
from braindecode_ssr.images.features import ImageFeatures, extract
from braindecode_ssr.images.store import WORDS, FeatureStore, same_encoder, text_or_original
from braindecode_ssr.images.views import image_seed

from .conftest import DrawnDataset
from .test_extract import Patches


def meaning(sentence: str) -> list[float]:
    """Numbers that belong to a sentence."""
    return np.random.default_rng(image_seed(sentence)).integers(-9, 10, 12).tolist()


class Reader(Patches):
    """Gives each sentence its numbers, whatever its batch."""

    def __init__(self, stop_after: int | None = None, words: int = 1) -> None:
        super().__init__()
        self.read: list[list[str]] = []
        self.stop_reading, self.words = stop_after, words

    def text_description(self) -> dict:
        return {"words": self.words}

    def encode_text(self, sentences: list[str]) -> torch.Tensor:
        if len(self.read) == self.stop_reading:
            raise KeyboardInterrupt
        self.read.append(sentences)
        return torch.tensor([meaning(sentence) for sentence in sentences]).float()


def texts(store: FeatureStore, dataset: DrawnDataset, view: str = "text") -> np.ndarray:
    return store.read("patches", view, dataset.images["image_id"].tolist())


def expected(dataset: DrawnDataset, template: str = "This picture is {}") -> np.ndarray:
    """Concepts ``thing00`` to ``thing08``: THINGS never has two digits, so they are said."""
    return np.array([meaning(template.replace("{}", c)) for c in dataset.images["concept"]])


def test_no_image_is_looked_at(dataset: DrawnDataset, store: FeatureStore) -> None:
    dataset.missing = set(dataset.images["image_id"])
    reader = Reader()
    extract(dataset, reader, ["text"], store, batch_size=4)
    assert (reader.seen, dataset.decoded) == (0, [])
    np.testing.assert_array_equal(texts(store, dataset), expected(dataset))
    assert all(len(some) == len(set(some)) for some in reader.read)
    assert not list(store.path.rglob("*.npy"))


def test_text_stands_beside_images(dataset: DrawnDataset, store: FeatureStore) -> None:
    views = ["text", "original", "text?template=a {}"]
    extract(dataset, Reader(), views, store)
    assert store.views("patches") == ["original", "text", "text?template=a {}"]
    assert sorted(dataset.decoded) == sorted(dataset.images["image_id"])
    other = texts(store, dataset, "text?template=a {}")
    np.testing.assert_array_equal(other, expected(dataset, "a {}"))
    pixels, words = (store.manifest("patches", view) for view in ("original", "text"))
    assert pixels["fingerprint"] == Reader().fingerprint
    assert words["fingerprint"].startswith(Reader().fingerprint + WORDS)
    assert words["view_parameters"] == {"template": "This picture is {}"}
    assert words["details"] == {**Reader().description(), "words": 1}
    assert pixels["details"] == Reader().description()
    assert words["parts"][0]["source"] == "extracted from the concepts"


def test_the_concept_is_that_of_the_table(dataset: DrawnDataset, store: FeatureStore) -> None:
    renamed = dataset.images.assign(concept="big_dog")
    extract(DrawnDataset(dataset.root, renamed[:4]), Reader(), ["text"], store)
    row = store.read("patches", "text", [renamed["image_id"][0]])[0]
    assert row.tolist() == meaning("This picture is big dog")


@pytest.mark.parametrize("stop_after", [0, 1, 2])
def test_a_stopped_run_resumes(dataset: DrawnDataset, store: FeatureStore, stop_after: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        extract(dataset, Reader(stop_after), ["text"], store, batch_size=6)
    rest = Reader()
    extract(dataset, rest, ["text"], store, batch_size=6)
    assert len(rest.read) == 3 - stop_after
    np.testing.assert_array_equal(texts(store, dataset), expected(dataset))


def test_another_text_tower_is_another_encoder(dataset: DrawnDataset, store: FeatureStore) -> None:
    with pytest.raises(KeyboardInterrupt):
        extract(dataset, Reader(stop_after=1), ["text"], store, batch_size=6)
    other = Reader(words=2)
    extract(dataset, other, ["text"], store, batch_size=6)
    assert len(other.read) == 3
    with pytest.raises(DataError, match="features of another encoder"):
        extract(dataset, Reader(), ["text?template=a {}"], store)
    extract(dataset, Reader(), ["original"], store)
    other = Reader()
    other.version = 2
    with pytest.raises(DataError, match="features of another encoder"):
        extract(dataset, other, ["blur"], store)


def test_which_encoders_are_the_same() -> None:
    assert same_encoder("a", "a" + WORDS + "t") and same_encoder("a" + WORDS + "t", "a")
    assert same_encoder("a" + WORDS + "t", "a" + WORDS + "t") and same_encoder(
        "imported:x", "imported:y"
    )
    assert not same_encoder("a" + WORDS + "t", "a" + WORDS + "u")
    assert (
        not same_encoder("a" + WORDS + "t", "b")
        and not same_encoder("a", "b")
        and not same_encoder("a", "imported:a")
    )


@pytest.mark.parametrize("encoder", ["pyramid", "RN50/openai@layer3", Patches()])
def test_who_cannot_read_says_so_at_once(
    dataset: DrawnDataset, store: FeatureStore, encoder: str | Patches
) -> None:
    with pytest.raises(UsageError) as error:
        extract(dataset, encoder, ["original", "text"], store)
    assert "reads sentences" in str(error.value) and "encodes images only" in str(error.value)
    assert "--encoder RN50/openai" in str(error.value) and "\n" not in str(error.value)
    assert dataset.decoded == [] and store.encoders() == []


@pytest.mark.parametrize(
    ("name", "reads"),
    [
        ("pyramid", False),
        ("RN50/openai", True),
        ("open-clip:ViT-H-14/laion2b_s32b_b79k", True),
        ("RN50/openai@layer3", False),
        ("hf-hub:org/repo", True),
        ("open-clip:hf-hub:org/repo@visual", False),
        ("open-clip:local-dir:/a@b/c", True),
        ("mine", False),
    ],
)
def test_who_reads_by_name(name: str, reads: bool) -> None:
    assert reads_text(name if name != "hf-hub:org/repo" else f"open-clip:{name}") is reads


def write(store: FeatureStore, dataset: DrawnDataset, encoder: str, view: str, made: str) -> None:
    ids = dataset.images["image_id"].tolist()
    rows = np.random.default_rng(len(view)).standard_normal((len(ids), 12))
    store.write(encoder, view, ids, rows, made, "test")


def test_text_that_is_there_or_can_be_made_is_taken(
    dataset: DrawnDataset, store: FeatureStore
) -> None:
    assert text_or_original(("text",), "RN50/openai", store) == (("text",), [])
    write(store, dataset, "RN50/openai", "original", "f")
    for encoder in ("RN50/openai", "open-clip:RN50/openai+open-clip:ViT-B-32/openai"):
        assert text_or_original(("text",), encoder, store) == (("text",), [])
    write(store, dataset, "mine", "original", "imported:x")
    write(store, dataset, "mine", "text", "imported:y")
    assert text_or_original(("text",), "mine", store) == (("text",), [])
    assert text_or_original(("blur",), "pyramid", store) == (("blur",), [])


def test_originals_stand_in_for_text(dataset: DrawnDataset, store: FeatureStore) -> None:
    views, (note,) = text_or_original(("text",), "pyramid", store)
    assert views == ("original",) and "views original instead of text: pyramid reads no" in note
    assert "ssr-bd features extract --dataset drawn --encoder RN50/openai --view text" in note
    _, (note,) = text_or_original(("text",), "pyramid", store, "open-clip:ViT-H-14/x")
    assert "features extract --dataset drawn --encoder ViT-H-14/x --view text" in note
    _, (note,) = text_or_original(("text",), "pyramid", store, "RN50/openai@layer3")
    assert "--encoder RN50/openai --view" in note
    views, (note,) = text_or_original(("text",), "open-clip:RN50/openai+pyramid", store)
    assert views == ("original",) and "text: pyramid reads no" in note
    write(store, dataset, "RN50/openai", "original", "imported:x")
    views, (note,) = text_or_original(("blur", "text"), "RN50/openai", store)
    assert views == ("blur", "original") and "imported without them" in note
    assert "ssr-bd features import --dataset drawn --encoder RN50/openai --view text" in note


def test_a_run_makes_text_without_images(
    dataset: DrawnDataset, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset.missing = set(dataset.images["image_id"])
    monkeypatch.setattr("braindecode_ssr.images.features.build_encoder", lambda *args: Reader())
    monkeypatch.setattr("braindecode_ssr.images.features.is_encoder", lambda name: True)
    features = ImageFeatures(store, "patches", ("text", "blur"))
    features.complete(dataset, device="cpu", progress=False)
    assert store.views("patches") == ["text"]
    np.testing.assert_array_equal(texts(store, dataset), expected(dataset))


def test_text_is_not_made_beside_imported_features(
    dataset: DrawnDataset, store: FeatureStore
) -> None:
    write(store, dataset, "RN50/no-such-weights", "original", "imported:x")
    features = ImageFeatures(store, "RN50/no-such-weights", ("text",))
    features.complete(dataset, device="cpu", progress=False)
    assert store.views("RN50/no-such-weights") == ["original"]
    with pytest.raises(MissingDataError, match="import them from arrays") as error:
        features.made_by()
    assert "features extract" not in str(error.value)  # which would be refused beside these


def test_weights_out_of_reach_say_how_to_go_without_text(
    dataset: DrawnDataset, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*args: object) -> None:
        raise MissingDataError("there are no weights", "get them")

    monkeypatch.setattr("braindecode_ssr.images.features.build_encoder", unreachable)
    features = ImageFeatures(store, "RN50/openai", ("text",))
    with pytest.raises(MissingDataError) as error:
        features.complete(dataset, device="cpu", progress=False)
    assert "images.views" not in str(error.value)
    write(store, dataset, "RN50/openai", "original", "f")
    with pytest.raises(MissingDataError, match=r"get them; or .*--set 'images.views=\[\"orig"):
        features.complete(dataset, device="cpu", progress=False)

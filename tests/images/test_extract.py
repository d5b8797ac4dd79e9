"""Extraction: each image decoded once, batches that do not matter, killed runs carried on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from braindecode_ssr.errors import DataError, MissingDataError, UsageError
from braindecode_ssr.images.encoders import ImageEncoder
from braindecode_ssr.images.features import extract
from braindecode_ssr.images.store import FeatureStore

from .conftest import DrawnDataset, image_table

VIEWS = ["original", "noise", "mosaic"]


class Patches(ImageEncoder):
    """Mean colours of quarters: exact in float32, so that every road must give the same bits."""

    name, dim, size = "patches", 12, 32

    def __init__(self, stop_after: int | None = None, version: int = 1) -> None:
        self.seen, self.stop_after, self.version = 0, stop_after, version

    def description(self) -> dict:
        return {"encoder": self.name, "version": self.version}

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        if self.seen == self.stop_after:
            raise KeyboardInterrupt
        self.seen += 1
        quarters = torch.nn.functional.adaptive_avg_pool2d(images.float() - 128, 2)
        return quarters.flatten(1)


def all_features(store: FeatureStore, dataset: DrawnDataset) -> np.ndarray:
    ids = dataset.images["image_id"].tolist()
    return np.stack([store.read("patches", view, ids) for view in VIEWS])


def test_features_are_those_of_the_image_alone(dataset: DrawnDataset, store: FeatureStore) -> None:
    extract(dataset, Patches(), ["original"], store, batch_size=4)
    for image_id in dataset.images["image_id"]:
        image = dataset.image(image_id).resize((32, 32), Image.Resampling.BICUBIC)
        quarters = np.asarray(image).reshape(2, 16, 2, 16, 3).mean((1, 3)) - 128
        expected = quarters.transpose(2, 0, 1).ravel()
        np.testing.assert_allclose(
            store.read("patches", "original", [image_id])[0], expected, atol=1e-4
        )


def test_each_image_is_decoded_once_for_all_views(
    dataset: DrawnDataset, store: FeatureStore
) -> None:
    extract(dataset, Patches(), VIEWS, store, batch_size=5)
    assert sorted(dataset.decoded) == sorted(dataset.images["image_id"])
    assert store.views("patches") == ["original", "mosaic", "noise"]
    assert not list(store.path.rglob("*.npy"))
    assert store.manifest("patches", "noise")["details"] == Patches().description()


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batches_and_order_do_not_matter(
    dataset: DrawnDataset, tmp_path: Path, batch_size: int
) -> None:
    one, other = FeatureStore(tmp_path / "one"), FeatureStore(tmp_path / "other")
    extract(dataset, Patches(), VIEWS, one, batch_size=8)
    shuffled = DrawnDataset(dataset.root, dataset.images.sample(frac=1, random_state=1))
    extract(shuffled, Patches(), VIEWS, other, batch_size=batch_size)
    np.testing.assert_array_equal(all_features(one, dataset), all_features(other, dataset))


@pytest.mark.parametrize("stop_after", [0, 1, 4, 8])
def test_a_stopped_run_resumes(
    dataset: DrawnDataset, store: FeatureStore, tmp_path: Path, stop_after: int
) -> None:
    whole = FeatureStore(tmp_path / "whole")
    extract(dataset, Patches(), VIEWS, whole, batch_size=6)
    with pytest.raises(KeyboardInterrupt):
        extract(dataset, Patches(stop_after), VIEWS, store, batch_size=6)
    assert store.encoders() == []
    rest = Patches()
    extract(dataset, rest, VIEWS, store, batch_size=6)
    assert rest.seen == 9 - stop_after
    np.testing.assert_array_equal(all_features(store, dataset), all_features(whole, dataset))
    assert not (store.encoder_folder("patches") / ".unfinished").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.images.conftest import DrawnDataset, image_table
from tests.images.test_extract import Patches, VIEWS
from braindecode_ssr.images.features import extract
from braindecode_ssr.images.store import FeatureStore

class Dying(Patches):
    def encode(self, images):
        if self.seen == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(images)

dataset = DrawnDataset(Path({folder!r}), image_table(4, 3, 5))
extract(dataset, Dying(), VIEWS, FeatureStore({store!r}), batch_size=6)
"""


@pytest.mark.slow
def test_a_killed_run_resumes(dataset: DrawnDataset, store: FeatureStore, tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    script = KILLED.format(root=root, folder=str(dataset.root), store=str(store.path))
    killed = subprocess.run([sys.executable, "-c", script], cwd=root, check=False)
    assert killed.returncode == -signal.SIGKILL
    rest, whole = Patches(), FeatureStore(tmp_path / "whole")
    extract(dataset, rest, VIEWS, store, batch_size=6)
    extract(dataset, Patches(), VIEWS, whole, batch_size=6)
    assert rest.seen == 4
    np.testing.assert_array_equal(all_features(store, dataset), all_features(whole, dataset))


def test_what_is_there_is_not_made_again(dataset: DrawnDataset, store: FeatureStore) -> None:
    extract(dataset, Patches(), ["original"], store, batch_size=6)
    dataset.decoded.clear()
    again = Patches()
    extract(dataset, again, ["original"], store)
    assert (again.seen, dataset.decoded) == (0, [])
    more = DrawnDataset(dataset.root, image_table(5, 3, 5))
    extract(more, again, ["original"], store)
    new = set(more.images["image_id"]) - set(dataset.images["image_id"])
    assert set(more.decoded) == new and len(new) > 0


def test_encoders_are_not_built_for_nothing(dataset: DrawnDataset, store: FeatureStore) -> None:
    ids = dataset.images["image_id"].tolist()
    rows = np.random.default_rng(0).standard_normal((len(ids), 4))
    store.write("RN50/no-such-weights", "original", ids, rows, "imported:x", "a.npy")
    extract(dataset, "RN50/no-such-weights", ["original"], store)


def test_another_encoder_of_the_same_name_stops_at_once(
    dataset: DrawnDataset, store: FeatureStore
) -> None:
    extract(dataset, Patches(), ["original"], store)
    other = Patches(version=2)
    with pytest.raises(DataError, match="features of another encoder"):
        extract(dataset, other, VIEWS, store)
    assert other.seen == 0


def test_unfinished_parts_of_another_encoder_are_not_used(
    dataset: DrawnDataset, store: FeatureStore
) -> None:
    with pytest.raises(KeyboardInterrupt):
        extract(dataset, Patches(stop_after=6), VIEWS, store, batch_size=6)
    other = Patches(version=2)
    extract(dataset, other, VIEWS, store, batch_size=6)
    assert other.seen == 9


def test_a_missing_image_says_so(dataset: DrawnDataset, store: FeatureStore) -> None:
    dataset.missing.add("thing02/thing02_02b")
    with pytest.raises(MissingDataError, match="thing02/thing02_02b"):
        extract(dataset, Patches(), ["original"], store)
    assert store.encoders() == []


def test_an_image_that_cannot_be_decoded_says_so(
    dataset: DrawnDataset, store: FeatureStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "cut.jpg"
    dataset.image("thing00/thing00_01a").resize((300, 300)).save(path)
    os.truncate(path, path.stat().st_size // 2)
    monkeypatch.setattr(dataset, "image", lambda image_id: Image.open(path))
    with pytest.raises(DataError, match="thing00/thing00_01a"):
        extract(dataset, Patches(), ["original"], store)


def test_altered_pictures_are_counted_once(
    dataset: DrawnDataset, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_out(image_id: str) -> Image.Image:
        picture = DrawnDataset.image(dataset, image_id)
        if "thing00" in image_id:
            picture.putalpha(Image.radial_gradient("L").resize(picture.size))
        return picture

    monkeypatch.setattr(dataset, "image", cut_out)
    said: list[str] = []
    extract(dataset, Patches(), VIEWS, store, batch_size=5, say=said.append)
    assert said == [
        "3 of 17 pictures with transparent parts put on white, the first 'thing00/thing00_01a'"
    ]


def test_an_encoder_that_gives_nan_says_which_image(
    dataset: DrawnDataset, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Patches, "encode", lambda self, images: torch.full((len(images), 12), np.nan)
    )
    with pytest.raises(DataError, match="NaN or infinite for 'thing00/thing00_01a'"):
        extract(dataset, Patches(), ["original"], store)


@pytest.mark.parametrize(
    ("encoder", "views", "batch_size"),
    [("pyramidd", ["original"], 4), ("pyramid", ["blurr"], 4), ("pyramid", ["original"], 0)],
)
def test_wrong_names(
    dataset: DrawnDataset, store: FeatureStore, encoder: str, views: list[str], batch_size: int
) -> None:
    with pytest.raises(UsageError):
        extract(dataset, encoder, views, store, batch_size=batch_size)
    assert store.encoders() == []


def test_an_object_that_is_not_an_encoder(dataset: DrawnDataset, store: FeatureStore) -> None:
    with pytest.raises(UsageError, match="without dim, size"):
        extract(dataset, type("Half", (), {"name": "half"})(), ["original"], store)


def test_pyramid_by_name_with_progress(
    dataset: DrawnDataset, store: FeatureStore, capsys: pytest.CaptureFixture
) -> None:
    extract(dataset, "pyramid", ["original", "fovea"], store, progress=True)
    assert store.read("pyramid", "fovea", ["thing00/thing00_01a"]).shape == (1, 576)
    out, err = capsys.readouterr()
    assert out == "" and "pyramid features" in err and "34/34" in err


def test_features_of_an_image_whose_file_changes_are_made_again(tmp_path: Path) -> None:
    from things_files import write_things

    from braindecode_ssr.datasets.things_eeg.dataset import ThingsEEG
    from braindecode_ssr.images.features import image_features

    dataset = ThingsEEG(write_things(tmp_path, sessions=0))
    names = dataset.images["image_id"].tolist()
    for number, name in enumerate(names):  # pictures that differ
        size = (64, 64, 3)
        pixels = np.random.default_rng(number).integers(0, 255, size).astype("uint8")
        Image.fromarray(pixels).save(dataset.image_source(name))
    store = FeatureStore.of(dataset)

    def all_features() -> np.ndarray:
        features = image_features(dataset, "pyramid", ["blur"])
        features.complete(dataset, device="cpu", progress=False)
        return np.stack([store.read("pyramid", view, names) for view in ("original", "blur")])

    first, path = all_features(), dataset.image_source(names[1])
    assert (all_features() == first).all()
    content, state = path.read_bytes(), path.stat()
    path.write_bytes(dataset.image_source(names[0]).read_bytes())
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    second = all_features()
    assert (second[:, 1] == first[:, 0]).all() and (second[:, 2:] == first[:, 2:]).all()
    path.write_bytes(content)
    np.testing.assert_allclose(all_features(), first, rtol=1e-5)
    path.unlink()  # features of an image that is gone are kept
    np.testing.assert_allclose(all_features(), first, rtol=1e-5)

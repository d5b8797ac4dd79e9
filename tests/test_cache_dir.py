"""What is made of the data is kept elsewhere when the data cannot be written, or when that is asked for."""

import logging
from pathlib import Path

import numpy as np
import pytest

from braindecode_ssr import files
from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.images.features import extract
from braindecode_ssr.images.store import FeatureStore
from braindecode_ssr.trials.averages import averages_on_disk
from braindecode_ssr.trials.prepare import prepare

SPEC = TrialSpec()


def inside(folder):
    return sorted(path for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A data folder with trials, averages and features of one view."""
    root = tmp_path_factory.mktemp("data")
    use(ThingsSim(root, "tiny"), ["original"])
    return root


@pytest.fixture
def read_only(filled, tmp_path, monkeypatch):
    """The data folder, which cannot be written any more, and the user's cache folder."""
    writable = files.can_write
    monkeypatch.setattr(files, "can_write", lambda p: filled not in p.parents and writable(p))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    files._say_once.cache_clear()
    return filled, tmp_path / "home" / "braindecode_ssr"


def use(dataset, views, subject=1):
    """What training needs of a dataset."""
    store = prepare(dataset, subject, SPEC)
    features = FeatureStore.of(dataset)
    extract(dataset, "pyramid", views, features)
    ids = dataset.images["image_id"].tolist()
    tables = [features.read("pyramid", view, ids) for view in views]
    rows = averages_on_disk(store, ("Oz", "O1"))
    dataset.ceiling(subject, None, SPEC)
    return store.path, Path(rows.path), np.stack(tables)


def test_what_is_there_is_read_and_nothing_is_reported_or_written(read_only):
    root, home = read_only
    before = inside(root)
    dataset = ThingsSim(root, "tiny")
    store = prepare(dataset, 1, SPEC)
    assert root in store.path.parents
    ids = dataset.images["image_id"].tolist()
    assert FeatureStore.of(dataset).read("pyramid", "original", ids).shape[0] == len(ids)
    assert inside(root) == before and not home.exists()


def test_what_is_missing_goes_to_the_cache_of_the_user(read_only, caplog):
    root, home = read_only
    before = inside(root)
    with caplog.at_level(logging.WARNING, "braindecode_ssr"):
        for _ in range(2):
            store, averages, tables = use(ThingsSim(root, "tiny"), ["original", "blur"], 2)
    said = [record.getMessage() for record in caplog.records if "--cache-dir" in record.message]
    assert len(said) == 1 and str(home) in said[0] and str(root) in said[0]
    assert home in store.parents and home in averages.parents and len(tables) == 2
    assert inside(root) == before
    assert FeatureStore.of(ThingsSim(root, "tiny")).views("pyramid") == ["original", "blur"]


def test_averages_of_a_store_that_cannot_be_written(read_only):
    root, home = read_only
    store = prepare(ThingsSim(root, "tiny"), 1, SPEC)
    assert home in averages_on_disk(store, ("Cz", "Pz")).path.parents


def test_a_folder_that_is_asked_for(filled, tmp_path, monkeypatch):
    monkeypatch.setenv("SSR_CACHE", str(tmp_path / "cache"))
    before = inside(filled)
    paths = use(ThingsSim(filled, "tiny"), ["noise"], 2)
    assert all(tmp_path / "cache" in path.parents for path in paths[:2])
    assert inside(filled) == before
    other = prepare(ThingsSim(tmp_path / "other" / filled.name, "tiny"), 1, SPEC)
    assert other.path.parent != paths[0].parent, "folders of one name are told apart"

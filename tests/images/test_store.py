"""The feature store: what goes in comes out, and what is broken does not."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braindecode_ssr.datasets.base import ImageDataset
from braindecode_ssr.errors import DataError, MissingDataError, UsageError
from braindecode_ssr.images import store as tables
from braindecode_ssr.images.store import FeatureStore, check_spread, mean_pair_cosine

IDS = [f"thing/thing_{i:02d}" for i in range(12)]


def features(n: int = 12, d: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def filled(store: FeatureStore, view: str = "original") -> FeatureStore:
    store.write("pyramid", view, IDS, features(), "f1", "test")
    return store


@given(order=st.permutations(range(12)), n=st.integers(0, 12))
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_come_in_the_order_asked_for(store: FeatureStore, order: list[int], n: int) -> None:
    if not store.encoders():
        filled(store)
    read = store.read("pyramid", "original", [IDS[i] for i in order[:n]])
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, features()[order[:n]])


def test_what_is_there(store: FeatureStore) -> None:
    assert store.encoders() == store.views("pyramid") == store.image_ids("pyramid", "blur") == []
    for view in ("blur?kernel=31", "original", "noise"):
        filled(store, view)
    store.write("RN50/openai", "fovea", IDS, features(), "f2", "test")
    assert store.encoders() == ["open-clip:RN50/openai", "pyramid"]
    assert store.views("pyramid") == ["original", "blur?kernel=31", "noise"]
    assert store.image_ids("pyramid", "noise") == IDS
    assert store.views("open-clip:RN50/openai") == ["fovea"]


def test_names_of_the_same_thing_find_the_same_table(store: FeatureStore) -> None:
    store.write("RN50/openai", "low-resolution", IDS, features(), "f", "test")
    read = store.read("OpenClip:RN50/openai", "Low_Resolution", IDS)
    np.testing.assert_array_equal(read, features())
    filled(store, "blur")
    assert store.image_ids("Pyramid", "blur?kernel=15") == IDS


def test_manifest_tells_all(store: FeatureStore) -> None:
    filled(store, "blur?kernel=31")
    manifest = store.manifest("pyramid", "blur?kernel=31")
    assert manifest["view_parameters"] == {"kernel": 31}
    assert (manifest["dim"], manifest["count"], manifest["fingerprint"]) == (6, 12, "f1")
    assert manifest["versions"]["torch"]
    files = sorted(p.name for p in store.folder("pyramid", "blur?kernel=31").iterdir())
    assert files == sorted([manifest["file"], "manifest.json"])


def test_more_images_join(store: FeatureStore) -> None:
    filled(store)
    new = features(3, seed=1)
    store.write("pyramid", "original", [IDS[2], "a/a_1", "a/a_2"], new, "f1", "later")
    expected = features()
    expected[2] = new[0]
    np.testing.assert_array_equal(store.read("pyramid", "original", IDS), expected)
    np.testing.assert_array_equal(store.read("pyramid", "original", ["a/a_2"]), new[2:])
    assert len(store.image_ids("pyramid", "original")) == 14
    assert len(list(store.folder("pyramid", "original").glob("*.safetensors"))) == 1


@pytest.mark.parametrize("view", ["original", "blur"])
@pytest.mark.parametrize(("d", "fingerprint"), [(6, "other"), (7, "f1")])
def test_features_of_another_encoder_are_refused(
    store: FeatureStore, view: str, d: int, fingerprint: str
) -> None:
    filled(store)
    with pytest.raises(DataError, match="features of another encoder"):
        store.write("pyramid", view, IDS, features(d=d), fingerprint, "test")
    np.testing.assert_array_equal(store.read("pyramid", "original", IDS), features())
    assert store.views("pyramid") == ["original"]
    with pytest.raises(DataError, match="features of another encoder"):
        store.read("pyramid", "original", IDS, fingerprint="other")


def test_imported_parts_join_and_others_do_not(store: FeatureStore) -> None:
    store.write("mine", "original", IDS[:6], features(6), "imported:a", "a.npy")
    store.write("mine", "original", IDS[6:], features(6, seed=1), "imported:b", "b.npy")
    joint = store.manifest("mine", "original")["fingerprint"]
    assert joint.startswith("imported:") and joint not in ("imported:a", "imported:b")
    with pytest.raises(DataError, match="another encoder"):
        store.write("mine", "original", IDS, features(), "f1", "test")


@pytest.mark.parametrize("kept", [0, 6])
def test_other_features_have_another_fingerprint(store: FeatureStore, kept: int) -> None:
    """Imported, replaced, and replaced by the first ones again; with or without others beside them."""

    def imported(name: str, seed: int) -> str:
        rows = features(12 - kept, seed=seed)
        store.write("mine", "original", IDS[kept:], rows, f"imported:{name}", f"{name}.npy")
        return store.manifest("mine", "original")["fingerprint"]

    if kept:
        store.write("mine", "original", IDS[:kept], features(kept), "imported:kept", "kept.npy")
    first, second, again = imported("a", 1), imported("b", 2), imported("a", 1)
    assert second not in (first, again)
    assert imported("b", 2) == second and imported("a", 1) == again
    assert kept or again == first


def test_missing_features_name_the_image_and_the_commands(store: FeatureStore) -> None:
    with pytest.raises(MissingDataError, match="no features at all"):
        store.read("pyramid", "original", IDS)
    filled(store)
    with pytest.raises(MissingDataError) as error:
        store.read("pyramid", "original", [*IDS, "zoo/zoo_1", "zoo/zoo_2"])
    text = str(error.value)
    assert "'zoo/zoo_1' (2 missing)" in text
    assert "ssr-bd features extract --dataset drawn --encoder pyramid" in text
    assert "ssr-bd features import --dataset drawn --encoder pyramid" in text
    with pytest.raises(MissingDataError) as error:
        store.read("clip", "original", IDS)
    assert "pyramid (original)" in str(error.value)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "NaN"), (0, "only zeros")])
def test_rows_that_are_not_vectors_are_refused(
    store: FeatureStore, value: float, word: str
) -> None:
    broken = features()
    broken[3] = value
    with pytest.raises(DataError) as error:
        store.write("pyramid", "original", IDS, broken, "f", "the source")
    assert word in str(error.value) and IDS[3] in str(error.value)
    assert store.encoders() == []


def test_numbers_beyond_float32_are_refused(store: FeatureStore) -> None:
    with pytest.raises(DataError, match="infinite"):
        store.write("pyramid", "original", IDS, features().astype(np.float64) * 1e300, "f", "s")


@pytest.mark.parametrize(
    ("ids", "n", "words"),
    [
        (IDS[:11], 12, "each of 11 images"),
        ([*IDS[:11], IDS[0]], 12, "2 times"),
        ([], 0, "each of 0 images"),
    ],
)
def test_each_row_is_one_image(store: FeatureStore, ids: list[str], n: int, words: str) -> None:
    with pytest.raises(DataError, match=words):
        store.write("pyramid", "original", ids, features(n), "f", "s")


def test_broken_caches_are_refused(store: FeatureStore) -> None:
    rng = np.random.default_rng(0)
    alike = (rng.standard_normal(64) + 0.05 * rng.standard_normal((12, 64))).astype(np.float32)
    assert mean_pair_cosine(alike) > 0.99
    with pytest.raises(DataError, match="broken"):
        store.write("pyramid", "original", IDS, alike, "f", "s")
    folder = store.folder("pyramid", "original")
    manifest = {"encoder": "pyramid", "view": "original", "fingerprint": "f", "parts": []}
    tables.write_table(folder, alike, {**manifest, "image_ids": IDS})
    with pytest.raises(DataError, match="broken"):
        store.read("pyramid", "original", IDS[:1])


@given(n=st.integers(2, 20), d=st.integers(2, 9), shift=st.floats(0, 5))
def test_mean_pair_cosine_is_the_plain_mean(n: int, d: int, shift: float) -> None:
    rows = features(n, d).astype(np.float64) + shift
    pairs = [
        rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j])
        for i in range(n)
        for j in range(n)
        if i != j
    ]
    assert mean_pair_cosine(rows) == pytest.approx(np.mean(pairs), abs=1e-9)


def test_few_images_are_not_judged() -> None:
    check_spread(np.ones((7, 3)), "seven alike")
    with pytest.raises(DataError):
        check_spread(np.ones((8, 3)), "eight alike")


def damage_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def damage_alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [damage_cut, damage_alter, Path.unlink])
def test_damaged_tables_are_refused(store: FeatureStore, damage) -> None:
    filled(store)
    damage(next(store.folder("pyramid", "original").glob("*.safetensors")))
    with pytest.raises(DataError, match="fill it again"):
        store.read("pyramid", "original", IDS)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 99}', "\xff"])
def test_damaged_manifests_are_refused(store: FeatureStore, text: str) -> None:
    filled(store)
    (store.folder("pyramid", "original") / "manifest.json").write_text(text, encoding="latin1")
    with pytest.raises(DataError, match="manifest.json"):
        store.read("pyramid", "original", IDS)


@pytest.mark.parametrize(
    "change",
    [
        {"file": 5},
        {"file": "../features.safetensors"},
        {"image_ids": None},
        {"image_ids": "abcd"},
        {"fingerprint": None},
        {"parts": {}},
        {"dim": "6"},
    ],
    ids=str,
)
def test_a_field_of_a_manifest_that_is_wrong_is_named(store: FeatureStore, change) -> None:
    path = filled(store).folder("pyramid", "original") / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=f"manifest.json.*{next(iter(change))}"):
        store.read("pyramid", "original", IDS)


def test_a_table_that_was_moved_is_refused(store: FeatureStore) -> None:
    filled(store)
    store.folder("pyramid", "original").rename(store.folder("pyramid", "blur"))
    with pytest.raises(DataError, match="view blur"):
        store.read("pyramid", "blur", IDS)


def test_a_manifest_that_miscounts_is_refused(store: FeatureStore) -> None:
    path = filled(store).folder("pyramid", "original") / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "dim": 7}))
    with pytest.raises(DataError, match="shape"):
        store.read("pyramid", "original", IDS)
    path.write_text(json.dumps({**manifest, "count": 13}))
    with pytest.raises(DataError):
        store.read("pyramid", "original", IDS)


@pytest.mark.parametrize("failing_write", [1, 2, 3])
def test_a_full_disk_leaves_the_old_table(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, failing_write: int
) -> None:
    filled(store)
    before = sorted(p.name for p in store.folder("pyramid", "original").iterdir())
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == failing_write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError) as error:
        store.write("pyramid", "original", ["new/new_1"], features(1), "f1", "s")
    assert "No space left" in str(error.value) and "\n" not in str(error.value)
    assert sorted(p.name for p in store.folder("pyramid", "original").iterdir()) == before
    np.testing.assert_array_equal(store.read("pyramid", "original", IDS), features())


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="--cache-dir"):
        filled(FeatureStore(tmp_path / "file" / "features"))


@pytest.mark.parametrize("name", ["", ".", "..", "x" * 300])
def test_impossible_names(store: FeatureStore, name: str) -> None:
    with pytest.raises(UsageError):
        store.write(name, "original", IDS, features(), "f", "s")


def test_names_stay_below_the_store(store: FeatureStore) -> None:
    store.write("hf-hub:../../x", "a/../b", IDS, features(), "f", "s")
    assert store.path in store.folder("hf-hub:../../x", "a/../b").resolve().parents
    assert (store.encoders(), store.views("hf-hub:../../x")) == (["hf-hub:../../x"], ["a/../b"])


def test_the_store_of_a_dataset_knows_its_commands(dataset: ImageDataset) -> None:
    store = FeatureStore.of(dataset)
    assert store.path == dataset.root / "ssr" / "features"
    with pytest.raises(MissingDataError) as error:
        store.read("pyramid", "blur?kernel=31", ["a/a_1"])
    command = f"--dataset drawn --data-dir {dataset.root} --encoder pyramid --view 'blur?kernel=31'"
    assert f"ssr-bd features extract {command}" in str(error.value)

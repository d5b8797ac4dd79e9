import json
import os
import pickle

import numpy as np
import pandas as pd
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braindecode_ssr.datasets.base import TRIAL_COLUMNS, TrialBatch, eeg_info
from braindecode_ssr.errors import DataError, MissingDataError, UsageError
from braindecode_ssr.preprocessing.channels import OCCIPITAL_17, THINGS_EEG_63_RAW
from braindecode_ssr.preprocessing.epochs import running_count
from braindecode_ssr.trials import store as store_module
from braindecode_ssr.trials.store import TrialStore

NAMES = ("Oz", "P7", "Pz", "O1", "Cz")


def table_of(numbers, split="train", session=1, subject=1):
    numbers = np.asarray(numbers)
    return pd.DataFrame(
        {
            "subject": subject,
            "session": session,
            "split": split,
            "number": numbers,
            "image_id": [f"{split}{n}/nan" for n in numbers],
            "concept": [f"{split}{n}" for n in numbers],
            "repetition": running_count(numbers) + 1,
        }
    )


def batch_of(numbers, split="train", session=1, n_chans=5, seed=0):
    rng = np.random.default_rng([seed, session])
    trials = rng.standard_normal((len(numbers), n_chans, 7)).astype(np.float32)
    return TrialBatch(trials, table_of(numbers, split, session), source=f"file {session} {split}")


def two_sessions():
    return [
        batch_of([3, 1, 2, 3, 1, 3]),
        batch_of([2, 1, 2, 1, 2], "test"),
        batch_of([1, 1, 2, 2, 3], session=2),
    ]


@pytest.fixture
def info():
    return eeg_info(NAMES, 250.0)


@pytest.fixture
def store(tmp_path, info):
    return TrialStore.write(tmp_path / "store", two_sessions(), info, {"dataset": "toy"})


def test_what_is_written_is_read(store):
    batches = two_sessions()
    again = TrialStore.open(store.path)
    assert isinstance(again.trials, np.memmap)
    assert np.array_equal(again.trials, np.concatenate([b.trials for b in batches]))
    expected = pd.concat([b.table for b in batches], ignore_index=True)
    pd.testing.assert_frame_equal(again.table, expected, check_dtype=False)
    assert list(again.table.columns) == TRIAL_COLUMNS
    assert again.ch_names == list(NAMES)
    assert again.sfreq == again.info["sfreq"] == 250.0
    assert again.info["ch_names"] == list(NAMES)
    assert len(again) == 16
    assert again.units == "unitless (whitened)"
    assert again.manifest["dataset"] == "toy"
    assert [part["n_trials"] for part in again.manifest["sources"]] == [6, 5, 5]
    assert "16 trials of 5 images, 5 channels x 7 times at 250 Hz" in repr(again)


def test_the_array_is_a_plain_npy_file(store):
    assert np.load(store.path / "trials.npy").shape == (16, 5, 7)
    assert sorted(os.listdir(store.path)) == [
        "info.fif",
        "manifest.json",
        "trials.csv",
        "trials.npy",
    ]


def test_images_are_train_then_test_by_number(store):
    assert store.images["split"].tolist() == ["train"] * 3 + ["test"] * 2
    assert store.images["number"].tolist() == [1, 2, 3, 1, 2]


def slow_average(store, split, picks, rows):
    table = store.table.iloc[rows]
    numbers = sorted(set(table["number"][table["split"] == split]))
    return np.stack(
        [
            np.mean([store.trials[r][picks] for r in rows if _shows(store, r, split, n)], axis=0)
            for n in numbers
        ]
    )


def _shows(store, row, split, number):
    entry = store.table.iloc[row]
    return entry["split"] == split and entry["number"] == number


@pytest.mark.parametrize("chunk", [1, 2, 5, 256])
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("channels", ["all", ("Pz", "Oz")])
def test_average_equals_a_loop(store, monkeypatch, chunk, split, channels):
    monkeypatch.setattr(store_module, "CHUNK", chunk)
    averaged = store.average(split, channels=channels)
    picks = list(range(5)) if channels == "all" else [2, 0]
    assert averaged.x.dtype == np.float32
    assert np.allclose(averaged.x, slow_average(store, split, picks, range(16)), atol=1e-6)
    counts = store.table[store.table["split"] == split]["number"].value_counts().sort_index()
    assert averaged.table["number"].tolist() == counts.index.tolist()
    assert averaged.table["n_repetitions"].tolist() == counts.tolist()
    assert averaged.table["image_id"].tolist() == [f"{split}{n}/nan" for n in counts.index]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=60),
    st.sampled_from([1, 3, 64]),
    st.integers(0, 2**31),
)
def test_average_of_any_order_of_images(tmp_path_factory, monkeypatch, numbers, chunk, seed):
    monkeypatch.setattr(store_module, "CHUNK", chunk)
    batch = batch_of(numbers, seed=seed)
    path = tmp_path_factory.mktemp("any") / "store"
    store = TrialStore.write(path, [batch], eeg_info(NAMES, 100.0))
    numbers = np.array(numbers)
    for x, row in zip(
        *(lambda a: (a.x, a.table.itertuples()))(store.average("train")), strict=True
    ):
        assert np.allclose(x, batch.trials[numbers == row.number].mean(0), atol=1e-6)


def test_a_subset_of_repetitions_is_seeded_and_nested(store):
    one, again = (store.average("train", repetitions=1, seed=7).x for _ in range(2))
    assert np.array_equal(one, again)
    singles = store.trials[store.rows("train")]
    assert all((mean == singles).all(axis=(1, 2)).any() for mean in one)
    assert not np.array_equal(one, store.average("train", repetitions=1, seed=8).x)
    assert store.average("train", repetitions=3).table["n_repetitions"].tolist() == [3, 3, 3]
    with pytest.raises(UsageError, match="has 3 trials, fewer than 4"):
        store.average("train", repetitions=4)


def test_average_reads_only_a_chunk_at_a_time(store, monkeypatch):
    monkeypatch.setattr(store_module, "CHUNK", 2)
    read = []
    plain = TrialStore._read

    def spy(self, rows, picks):
        block = plain(self, rows, picks)
        read.append(len(block))
        return block

    monkeypatch.setattr(TrialStore, "_read", spy)
    store.average("train")
    assert max(read) == 2
    assert sum(read) == 11


def test_average_gives_back_the_memory_it_read(tmp_path, info):
    rng = np.random.default_rng(0)
    trials = rng.standard_normal((3000, 5, 1000), np.float32)
    batch = TrialBatch(trials, table_of(rng.integers(1, 40, 3000)))
    store = TrialStore.write(tmp_path / "store", [batch], info)
    before = psutil.Process().memory_info().shared
    store.average("train")
    assert psutil.Process().memory_info().shared - before < trials.nbytes / 2
    first = store.trials[5, 3]
    assert np.array_equal(first, trials[5, 3])


def test_channels_are_picked_by_name(tmp_path):
    names = THINGS_EEG_63_RAW
    trials = np.random.default_rng(0).standard_normal((2, 63, 4)).astype(np.float32)
    store = TrialStore.write(
        tmp_path / "store", [TrialBatch(trials, table_of([1, 2]))], eeg_info(names, 250.0)
    )
    picks = store.pick("occipital-17")
    assert tuple(store.ch_names[place] for place in picks) == OCCIPITAL_17
    assert np.array_equal(store.average("train", channels="occipital-17").x, trials[:, picks])
    with pytest.raises(DataError, match="Fz, Iz"):
        store.pick(("Fz", "Oz", "Iz"))


def test_a_split_that_is_not_there(store):
    with pytest.raises(DataError, match="split 'valid'.*only test, train"):
        store.average("valid")


def test_published_array_needs_equal_repetitions(store):
    with pytest.raises(DataError, match="repetitions=published"):
        store.published_array("test")


def test_a_store_is_pickled_by_its_path(store):
    text = pickle.dumps(store)
    assert len(text) < 1000
    assert np.array_equal(pickle.loads(text).trials, store.trials)


def test_nothing_there(tmp_path):
    with pytest.raises(MissingDataError, match="ssr-bd data prepare"):
        TrialStore.open(tmp_path / "none")


@pytest.mark.parametrize("file", ["trials.npy", "trials.csv", "info.fif", "manifest.json"])
@pytest.mark.parametrize("harm", ["cut", "remove"])
def test_a_damaged_store_is_not_opened(store, file, harm):
    path = store.path / file
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError) as caught:
        TrialStore.open(store.path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"ch_names": None},
        {"ch_names": [1, 2]},
        {"ch_names": ["Oz"]},
        {"sfreq": 0},
        {"sha256": {"../outside": ""}},
        {"shape": 5},
    ],
    ids=str,
)
def test_a_manifest_that_does_not_fit_is_refused(store, change):
    path = store.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match="data prepare"):
        TrialStore.open(store.path)


def test_a_store_of_another_format_is_not_opened(store):
    manifest = json.loads((store.path / "manifest.json").read_text())
    (store.path / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(DataError, match="format 99"):
        TrialStore.open(store.path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.25])
def test_a_dead_channel_is_named_and_nothing_is_left(tmp_path, info, value):
    batch = batch_of([1, 2, 3], session=4)
    part = (1, 3, 2) if not np.isfinite(value) else (slice(None), 3)
    batch.trials[part] = value
    with pytest.raises(DataError, match="file 4 train.*on channel O1"):
        TrialStore.write(tmp_path / "store", [*two_sessions(), batch], info)
    assert os.listdir(tmp_path) == []


def test_batches_that_do_not_fit(tmp_path, info):
    good = batch_of([1, 2, 3])
    wrong = {
        "have the shape": batch_of([1, 2, 3], n_chans=4),
        "lacks the column concept": TrialBatch(good.trials, good.table.drop(columns="concept")),
        "channels P7": TrialBatch(good.trials, good.table, eeg_info(NAMES[::-1], 250.0)),
        "shape .2, 5, 7.": TrialBatch(good.trials[:2], good.table),
    }
    wrong["channels Cz"] = wrong.pop("channels P7")
    for message, batch in wrong.items():
        with pytest.raises(DataError, match=message):
            TrialStore.write(tmp_path / "store", [good, batch], info)
    with pytest.raises(DataError, match="no trials to store"):
        TrialStore.write(tmp_path / "store", [], info)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_the_old_store(store, info, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module, "check_trials", full)
    with pytest.raises(DataError, match="No space left on device") as caught:
        TrialStore.write(store.path, two_sessions(), info)
    assert "\n" not in str(caught.value)
    assert os.listdir(store.path.parent) == ["store"]
    assert len(TrialStore.open(store.path)) == 16


def test_a_folder_that_cannot_be_written(tmp_path, info):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write .*--cache-dir"):
        TrialStore.write(tmp_path / "file" / "store", two_sessions(), info)


def test_an_open_store_outlives_its_replacement(store, info):
    before = np.array(store.trials)
    TrialStore.write(store.path, [batch_of([5, 6], seed=9)], info)
    assert np.array_equal(store.trials, before)
    assert len(TrialStore.open(store.path)) == 2

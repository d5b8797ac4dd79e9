import os
import shutil

import numpy as np
import pytest
import torch

from braindecode_ssr import files
from braindecode_ssr.datasets.base import eeg_info
from braindecode_ssr.errors import DataError
from braindecode_ssr.trials import store as store_module
from braindecode_ssr.trials.averages import TrialRows, averages_on_disk
from braindecode_ssr.trials.store import TrialStore

from .test_store import NAMES, batch_of, two_sessions

INFO = eeg_info(NAMES, 250.0)


@pytest.fixture
def store(tmp_path):
    return TrialStore.write(tmp_path / "store", two_sessions(), INFO)


def read(file):
    return TrialRows([file])[:].numpy()


@pytest.mark.parametrize("channels", ["all", ("Cz", "Oz")])
@pytest.mark.parametrize("block", [1, 2**30])
def test_they_are_what_average_gives(store, monkeypatch, channels, block):
    expected = store.average("train", channels=channels).x
    monkeypatch.setattr(store_module, "BLOCK", block)
    blocks = list(store.average_blocks("train", channels=channels))
    assert len(blocks) == (3 if block == 1 else 1)
    assert np.array_equal(np.concatenate(blocks), expected)
    seen = []
    assert np.array_equal(read(averages_on_disk(store, channels, seen.append)), expected)
    assert sum(seen) == 3


def test_the_table_comes_without_reading(store):
    assert store.averaged_images("train").equals(store.average("train").table)


def test_they_are_made_once_for_each_choice_of_channels(store):
    first, other = averages_on_disk(store, "all"), averages_on_disk(store, ("Oz",))
    again = averages_on_disk(store, "all")
    assert (first.path, first.state) == (again.path, again.state)
    assert first.path.parent.parent == other.path.parent.parent == store.path / "averages"
    assert first.path != other.path


def test_a_store_that_is_made_again_has_new_ones(store, tmp_path):
    before = averages_on_disk(store, "all")
    others = [batch_of([1, 2, 3, 3], seed=9), batch_of([1], "test", seed=9)]
    store = TrialStore.write(tmp_path / "store", others, INFO)
    after = averages_on_disk(store, "all")
    assert np.array_equal(read(after), store.average("train").x)
    assert not before.path.exists()


def test_overwritten_trials_make_them_again(store):
    before = averages_on_disk(store, "all")
    trials = np.load(store.path / "trials.npy", mmap_mode="r+")
    trials[:] += 1
    trials.flush()
    os.utime(store.path / "trials.npy", ns=(0, 1))
    after = averages_on_disk(TrialStore.open(store.path), "all")
    assert np.allclose(read(after), TrialStore.open(store.path).average("train").x)
    assert after.path != before.path and not before.path.exists()


def test_those_that_are_cut_off_are_made_again(store):
    before = averages_on_disk(store, "all")
    expected = read(before)
    os.truncate(before.path, 150)
    assert np.array_equal(read(averages_on_disk(store, "all")), expected)


def test_a_store_of_single_trials_is_not_copied(tmp_path):
    batches = [batch_of([3, 1, 2]), batch_of([1, 2], "test"), batch_of([5, 4], session=2)]
    store = TrialStore.write(tmp_path / "store", batches, INFO)
    file = averages_on_disk(store, "all")
    assert file.path == store.path / "trials.npy"
    assert np.array_equal(read(file), store.average("train").x)
    assert not (store.path / "averages").exists()
    some = averages_on_disk(store, ("Pz",))
    assert np.array_equal(read(some), store.average("train", channels=("Pz",)).x)


def test_too_little_space_is_reported_before_anything_is_written(store, monkeypatch):
    monkeypatch.setattr(files, "free_bytes", lambda path: 100)
    with pytest.raises(DataError, match="averaging trials on disk needs .*train.memory"):
        averages_on_disk(store, "all")
    assert not (store.path / "averages").exists()


def test_a_disk_that_fills_up_leaves_nothing_behind(store, monkeypatch):
    def full(*args, **kwargs):
        yield np.zeros((1, 5, 7), np.float32)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TrialStore, "average_blocks", full)
    with pytest.raises(DataError, match="cannot write.*No space left"):
        averages_on_disk(store, "all")
    assert list((store.path / "averages").iterdir()) == []
    monkeypatch.undo()
    assert torch.equal(
        TrialRows([averages_on_disk(store, "all")])[:],
        torch.from_numpy(store.average("train").x),
    )


def test_a_store_that_is_gone_is_one_line(store):
    shutil.rmtree(store.path)
    with pytest.raises(DataError, match="cannot be read.*data prepare"):
        averages_on_disk(store, ("Oz",))

import os

import numpy as np
import pytest
import torch

from braindecode_ssr.errors import DataError
from braindecode_ssr.preprocessing.epochs import choose_channels, smooth
from braindecode_ssr.trials.averages import TrialFile, TrialRows

SIZES = [7, 1, 12]


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return [rng.standard_normal((n, 3, 11)).astype("float32") for n in SIZES]


@pytest.fixture
def files(tmp_path, arrays):
    for number, array in enumerate(arrays):
        np.save(tmp_path / f"{number}.npy", array)
    return [TrialFile.open(tmp_path / f"{number}.npy") for number in range(len(arrays))]


INDICES = [
    slice(None),
    slice(5, 9),
    slice(15, 99),
    torch.tensor([19, 0, 7, 8, 3, 3]),
    np.array([6, 7]),
    torch.tensor([], dtype=torch.int64),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_it_is_indexed_like_the_tensor_of_all_files(files, arrays, index):
    rows, tensor = TrialRows(files), torch.from_numpy(np.concatenate(arrays))
    assert rows.shape == tensor.shape and len(rows) == len(tensor)
    assert rows.nbytes == tensor.nbytes
    assert torch.equal(rows[index], tensor[index])


def test_one_trial_and_a_move_to_another_device(files, arrays, monkeypatch):
    monkeypatch.setattr("braindecode_ssr.trials.averages.CHUNK", 6)
    rows, tensor = TrialRows(files), torch.from_numpy(np.concatenate(arrays))
    assert torch.equal(rows[8], tensor[8])
    assert torch.equal(rows.to("cpu"), tensor)


def test_some_of_the_trials_in_any_order(files, arrays):
    index = np.array([19, 2, 7])
    some = TrialRows(files).rows(index)
    assert torch.equal(some[:], torch.from_numpy(np.concatenate(arrays)[index]))
    assert torch.equal(some.rows(np.array([2]))[0], some[2])


def test_the_same_channels_are_smoothed_as_in_memory(files, arrays):
    chosen = choose_channels(20, 3, 0.4, seed=5)
    rows = TrialRows(files, chosen, width=5)
    expected = torch.from_numpy(smooth(np.concatenate(arrays), 0.4, 5, seed=5))
    assert torch.equal(rows[:], expected)
    index = np.array([11, 4, 5, 0])
    assert torch.equal(rows[index], expected[index])
    assert torch.equal(rows.rows(index)[1:3], expected[index[1:3]])
    assert torch.equal(rows[:], expected)


def test_trials_at_places_of_a_file(files, arrays):
    places = np.array([4, 0, 6])
    rows = TrialRows([TrialFile.open(files[0].path, places), files[1]])
    expected = np.concatenate([arrays[0][places], arrays[1]])
    assert torch.equal(rows[:], torch.from_numpy(expected))


def touch(path):
    os.utime(path, ns=(0, 0))


def shorten(path):
    state = path.stat()
    os.truncate(path, state.st_size - 4)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize("harm", [touch, shorten, os.remove])
def test_a_file_that_changes_meanwhile_is_not_read(files, harm):
    rows = TrialRows(files)
    harm(files[2].path)
    assert rows[:8].shape == (8, 3, 11)
    with pytest.raises(DataError, match=r"2\.npy changed during training.*same command"):
        rows[:9]


@pytest.mark.parametrize("harm", [shorten, os.remove, lambda path: path.write_bytes(b"")])
def test_a_file_that_is_not_whole_is_not_opened(files, harm):
    harm(files[0].path)
    with pytest.raises(DataError, match=r"0\.npy cannot be read"):
        TrialFile.open(files[0].path)

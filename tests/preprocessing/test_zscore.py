"""One mean and one standard deviation of each channel, over training trials and times."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braindecode_ssr.errors import DataError
from braindecode_ssr.preprocessing.whitening import CHUNK, channel_scale, fit_whitening, standardize


def trials(n=5, chans=3, times=20, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    scale = np.linspace(1, 4, chans)[:, None]
    return rng.normal(size=(n, chans, times)) * scale + scale + offset


@given(n=st.sampled_from([1, 2, CHUNK, CHUNK + 1, 3 * CHUNK + 7]), seed=st.integers(0, 99))
def test_chunks_make_no_difference(n, seed):
    data = trials(n, seed=seed)
    mean, deviation = channel_scale(data)
    np.testing.assert_allclose(mean, data.mean(axis=(0, 2)), rtol=1e-12)
    np.testing.assert_allclose(deviation, data.std(axis=(0, 2)), rtol=1e-12)


def test_a_large_mean_costs_no_digits():
    data = trials(2 * CHUNK + 1)
    _, plain = channel_scale(data)
    _, shifted = channel_scale(data + 1e6)
    np.testing.assert_allclose(shifted, plain, rtol=1e-7)


def test_training_trials_become_mean_0_and_deviation_1():
    data = trials(300).astype(np.float32)
    scaled = standardize(data, *channel_scale(data))
    assert scaled.dtype == np.float32 and scaled is not data
    np.testing.assert_allclose(scaled.mean(axis=(0, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=(0, 2)), 1, rtol=1e-5)


def test_test_trials_are_scaled_as_the_training_trials_were():
    train, test = trials(200), trials(4, seed=1, offset=7.0)
    mean, deviation = channel_scale(train)
    expected = (test - mean[:, None]) / deviation[:, None]
    np.testing.assert_allclose(standardize(test, mean, deviation), expected)


def test_in_place():
    data = trials(CHUNK + 3)
    expected = standardize(data, *channel_scale(data))
    assert standardize(data, *channel_scale(data), in_place=True) is data
    np.testing.assert_array_equal(data, expected)


class OnDisk:
    """Trials that can only be had slice by slice."""

    def __init__(self, data):
        self.data, self.shape, self.largest = data, data.shape, 0

    def __len__(self):
        return len(self.data)

    def __getitem__(self, part):
        self.largest = max(self.largest, part.stop - part.start)
        return self.data[part]


def test_trials_on_disk_are_read_in_chunks():
    data = OnDisk(trials(5 * CHUNK))
    mean, _ = channel_scale(data)
    np.testing.assert_allclose(mean, data.data.mean(axis=(0, 2)))
    assert data.largest == CHUNK


@pytest.mark.parametrize("value", [np.nan, np.inf, 3.0])
def test_a_broken_channel_is_named(value):
    data = trials(10)
    data[:, 1] = value
    with pytest.raises(DataError, match="channel number 2"), np.errstate(invalid="ignore"):
        channel_scale(data, "session 3")


def test_no_trials():
    with pytest.raises(DataError, match="no training trials"):
        fit_whitening("zscore", trials(0), np.empty(0, int))

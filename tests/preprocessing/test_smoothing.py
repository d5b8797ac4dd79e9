import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braindecode_ssr.errors import UsageError
from braindecode_ssr.preprocessing.epochs import moving_average, smooth


def slow_average(row, width):
    """The mean over the samples that are there, one sample at a time."""
    half = width // 2
    return [row[max(0, t - half) : t + half + 1].mean() for t in range(len(row))]


@given(st.integers(1, 30), st.sampled_from([1, 3, 5, 11, 61]), st.integers(0, 2**31))
def test_moving_average_equals_the_loop(n_times, width, seed):
    row = np.random.default_rng(seed).standard_normal(n_times)
    assert np.allclose(moving_average(row, width), slow_average(row, width))


@given(st.integers(0, 2**31), st.floats(0, 1))
def test_each_channel_is_smoothed_or_left_alone(seed, probability):
    x = np.random.default_rng(1).standard_normal((6, 5, 20)).astype(np.float32)
    before = x.copy()
    y = smooth(x, probability, 5, seed)
    assert np.array_equal(x, before)
    assert y.dtype == np.float32
    for row, result in zip(x.reshape(-1, 20), y.reshape(-1, 20), strict=True):
        untouched = np.array_equal(row, result)
        assert untouched or np.allclose(result, slow_average(row, 5), atol=1e-6)


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0)])
def test_as_many_channels_are_smoothed_as_asked(probability, share):
    x = np.random.default_rng(0).standard_normal((500, 17, 9))
    touched = (smooth(x, probability) != x).any(axis=-1)
    assert abs(touched.mean() - share) < 0.02


def test_the_seed_decides():
    x = np.random.default_rng(0).standard_normal((20, 17, 9))
    assert np.array_equal(smooth(x, seed=3), smooth(x, seed=3))
    assert not np.array_equal(smooth(x, seed=3), smooth(x, seed=4))


def test_a_row_beyond_one_chunk_is_smoothed_too(monkeypatch):
    monkeypatch.setattr("braindecode_ssr.preprocessing.epochs.CHUNK_REPETITIONS", 7)
    x = np.random.default_rng(0).standard_normal((4, 5, 12))
    assert np.allclose(smooth(x, 1.0), moving_average(x, 5))


@pytest.mark.parametrize("bad", [{"probability": 1.5}, {"width": 4}, {"width": 0}])
def test_what_cannot_be_asked_for(bad):
    with pytest.raises(UsageError):
        smooth(np.zeros((1, 1, 9)), **bad)

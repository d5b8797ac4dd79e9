"""The normalisations by name are the functions themselves, fitted on training trials."""

import numpy as np
import pytest

from braindecode_ssr.errors import DataError
from braindecode_ssr.preprocessing.whitening import (
    channel_scale,
    fit_whitening,
    noise_covariance,
    standardize,
    whiten,
    whitening_matrix,
)

CONDITIONS = np.repeat(np.arange(10), 3)


@pytest.fixture
def train():
    mixing = np.random.default_rng(1).normal(size=(4, 4))
    return mixing @ np.random.default_rng(0).normal(size=(30, 4, 50)) + 2


@pytest.fixture
def test():
    return np.random.default_rng(2).normal(size=(6, 4, 50))


def test_mvnn_whitens_with_the_noise_of_the_training_trials(train, test):
    matrix = whitening_matrix(noise_covariance(train, CONDITIONS))
    expected = whiten(test, matrix)
    np.testing.assert_allclose(fit_whitening("mvnn", train, CONDITIONS)(test), expected)


def test_zscore_scales_with_the_training_trials(train, test):
    expected = standardize(test, *channel_scale(train))
    np.testing.assert_allclose(fit_whitening("zscore", train, CONDITIONS)(test), expected)


def test_none_leaves_trials_as_they_are(train, test):
    before = test.copy()
    assert fit_whitening("none", train, CONDITIONS)(test) is test
    np.testing.assert_array_equal(test, before)


@pytest.mark.parametrize("kind", ["mvnn", "zscore"])
def test_fitting_leaves_the_trials_alone_and_applying_works_in_place(kind, train, test):
    before = train.copy()
    normalise = fit_whitening(kind, train, CONDITIONS)
    np.testing.assert_array_equal(train, before)
    assert normalise(test) is test


def test_a_channel_without_signal_is_refused(train):
    train[:, 2] = 1.0
    with pytest.raises(DataError, match="channel number 3 of session 4"):
        fit_whitening("zscore", train, CONDITIONS, "session 4")

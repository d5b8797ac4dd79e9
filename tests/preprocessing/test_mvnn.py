import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import fractional_matrix_power
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import _cov

from braindecode_ssr.errors import DataError
from braindecode_ssr.preprocessing.whitening import (
    LARGEST,
    fit_whitening,
    joint_noise_covariance,
    noise_covariance,
    shrunk_covariances,
    whiten,
    whitening_matrix,
)


def trials(n, c, t, seed=0):
    rng = np.random.default_rng(seed)
    scales = np.exp(rng.standard_normal((c, 1)))
    return scales * (rng.standard_normal((c, c)) @ rng.standard_normal((n, c, t)))


@given(st.integers(1, 4), st.integers(1, 9), st.integers(2, 40), st.integers(0, 2**31))
def test_shrunk_covariances_equal_sklearn(n, c, t, seed):
    x = trials(n, c, t, seed) + 5
    ours = shrunk_covariances(x)
    reference = np.stack([_cov(trial.T, shrinkage="auto") for trial in x])
    assert np.allclose(ours, reference, rtol=1e-6, atol=1e-9 * np.abs(reference).max())


def test_volts_in_single_precision_equal_sklearn_to_1e_6():
    x = (trials(5, 63, 250) * 1e-5).astype(np.float32)
    reference = np.stack([_cov(trial.T.astype(float), shrinkage="auto") for trial in x])
    assert np.abs(shrunk_covariances(x) - reference).max() <= 1e-6 * np.abs(reference).max()


def test_a_channel_that_is_flat_in_one_trial_is_handled_as_sklearn_does():
    x = trials(2, 5, 30)
    x[0, 2] = 0.0
    reference = np.stack([_cov(trial.T, shrinkage="auto") for trial in x])
    assert np.allclose(shrunk_covariances(x), reference)


def test_noise_covariance_is_the_mean_over_repetitions_then_conditions():
    x, conditions = trials(300, 4, 20), np.random.default_rng(1).integers(0, 40, 300)
    each = shrunk_covariances(x)
    reference = np.mean([each[conditions == c].mean(0) for c in np.unique(conditions)], axis=0)
    assert np.allclose(noise_covariance(x, conditions), reference, rtol=1e-10)


def test_whitening_matrix_is_the_inverse_square_root():
    covariance = noise_covariance(trials(50, 12, 100), np.arange(50))
    reference = fractional_matrix_power(covariance, -0.5)
    assert np.allclose(whitening_matrix(covariance), reference, rtol=1e-8, atol=1e-10)


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_whitened_noise_has_unit_covariance(seed):
    x = trials(40, 6, 200, seed)
    x -= x.mean(-1, keepdims=True)
    covariance = np.mean([trial @ trial.T / 200 for trial in x], axis=0)
    white = whiten(x, whitening_matrix(covariance))
    after = np.mean([trial @ trial.T / 200 for trial in white], axis=0)
    assert np.allclose(after, np.eye(6), atol=1e-6)


def test_whitening_in_place_overwrites_and_keeps_the_type():
    x, matrix = trials(150, 5, 30).astype(np.float32), trials(1, 5, 5)[0]
    copy = whiten(x, matrix)
    assert copy.dtype == np.float32
    assert np.allclose(copy, np.einsum("ij,njt->nit", matrix, x), rtol=1e-5, atol=1e-5)
    assert whiten(x, matrix, in_place=True) is x
    assert np.array_equal(x, copy)


def test_nan_is_refused():
    x = trials(10, 4, 50)
    x[3, 2, 7] = np.nan
    with pytest.raises(DataError, match="file 7.*full rank.*NaN"):
        whitening_matrix(noise_covariance(x, np.arange(10)), "file 7")


def test_dependent_channels_are_refused():
    with pytest.raises(DataError, match="full rank"):
        whitening_matrix(np.ones((3, 3)))


def test_nothing_to_fit_on():
    with pytest.raises(DataError, match="no training trials"):
        fit_whitening("mvnn", np.empty((0, 3, 10)), np.empty(0, int))


def test_joint_covariance_equals_ledoit_wolf_of_the_repetitions_about_their_means():
    x, conditions = trials(400, 3, 8) + 2, np.random.default_rng(1).integers(0, 250, 400)
    residuals = []
    for condition in np.unique(conditions):
        rows = x[conditions == condition].reshape(-1, 24)
        if len(rows) > 1:
            residuals.append((rows - rows.mean(0)) * np.sqrt(len(rows) / (len(rows) - 1)))
    residuals = np.concatenate(residuals)
    scale = np.sqrt((residuals**2).mean(0))
    reference = ledoit_wolf(residuals / scale, assume_centered=True)[0] * scale[:, None] * scale
    assert np.allclose(joint_noise_covariance(x, conditions), reference, rtol=1e-9)


def test_mvnn_time_whitens_channels_and_times_of_new_noise():
    rng, root = (
        np.random.default_rng(0),
        np.eye(12) + 0.3 * np.random.default_rng(1).standard_normal((12, 12)),
    )

    def noise(n):
        return (rng.standard_normal((n, 12)) @ root).reshape(n, 3, 4)

    conditions = np.repeat(np.arange(2000), 2)
    images = 5 * rng.standard_normal((2000, 3, 4))  # responses to images are not noise
    normalize = fit_whitening("mvnn-time", images[conditions] + noise(4000), conditions)
    white = normalize(noise(4000)).reshape(-1, 12)
    assert np.abs(np.cov(white.T) - np.eye(12)).max() < 0.15


def test_mvnn_time_says_what_it_needs():
    with pytest.raises(DataError, match="mvnn-time"):
        fit_whitening("mvnn-time", trials(6, 3, 4), np.arange(6))
    with pytest.raises(DataError, match="sfreq"):
        fit_whitening("mvnn-time", np.zeros((2, 2, LARGEST)), np.zeros(2))

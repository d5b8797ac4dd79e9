"""The ideal observer against a slow one, and its ties."""

import numpy as np
import pytest

from braindecode_ssr.simulation.recording import (
    ceiling,
    log_likelihoods,
    separable_covariance,
    top_accuracy,
)


@pytest.fixture(scope="module")
def world():
    """Trials of 6 images in separable noise, with the true covariances."""
    rng = np.random.default_rng(0)
    spatial, temporal = (_covariance(size, rng) for size in (5, 8))
    templates = 0.7 * rng.normal(size=(6, 5, 8))
    rows = rng.integers(0, 6, 600)
    white = rng.normal(size=(600, 5, 8))
    noise = np.linalg.cholesky(spatial) @ white @ np.linalg.cholesky(temporal).T
    return templates[rows] + noise + 3.0, rows, templates, spatial, temporal


def _covariance(size, rng):
    root = rng.normal(size=(size, 2 * size))
    return root @ root.T / (2 * size)


def test_separable_covariance_finds_both_factors(world):
    trials, rows, templates, spatial, temporal = world
    found = np.kron(*separable_covariance(trials - 3.0 - templates[rows]))
    expected = np.kron(spatial, temporal)
    assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected)


def test_scores_equal_the_gaussian_log_likelihood(world):
    trials, rows, templates, _, _ = world
    scores = log_likelihoods(trials, rows, templates, np.ones(600, bool))
    residuals = trials - templates[rows]
    common = residuals.mean(0)
    covariance = np.kron(*separable_covariance(residuals - common))
    slow = np.zeros((6, 6))
    for trial, row in zip(trials, rows, strict=True):
        for candidate, template in enumerate(templates):
            error = np.ravel(trial - common - template)
            slow[row, candidate] -= 0.5 * error @ np.linalg.solve(covariance, error)
    np.testing.assert_allclose(
        scores - scores.mean(1, keepdims=True), slow - slow.mean(1, keepdims=True), rtol=1e-6
    )


def test_ties_count_against_us():
    scores = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [5.0, 3.0, 3.0]])
    assert top_accuracy(scores, 1) == pytest.approx(1 / 3)
    assert top_accuracy(scores, 2) == pytest.approx(2 / 3)
    assert top_accuracy(np.zeros((10, 10)), 5) == 0


def test_only_the_used_trials_are_scored(world):
    trials, rows, templates, _, _ = world
    used = np.arange(600) < 200
    some = log_likelihoods(trials, rows, templates, used)
    rest = log_likelihoods(trials, rows, templates, ~used)
    every = log_likelihoods(trials, rows, templates, np.ones(600, bool))
    np.testing.assert_allclose(some + rest, every, rtol=1e-9)
    assert not np.allclose(some, every)


def test_sessions_add_up_and_need_not_show_every_image(world):
    trials, rows, templates, _, _ = world
    every = np.ones(600, bool)
    halves = [(trials[half], rows[half], (rows != 2)[half]) for half in np.split(np.arange(600), 2)]
    assert ceiling([(trials, rows, every)], templates)["ceiling_top1"] == 1
    assert ceiling(halves, templates)["ceiling_top1"] == pytest.approx(5 / 6), "image 2 ties"

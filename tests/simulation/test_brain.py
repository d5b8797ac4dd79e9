"""Responses: where, when, whose, and how they add up."""

from dataclasses import replace

import numpy as np
import pytest

from braindecode_ssr.preprocessing.channels import THINGS_EEG_63_RAW
from braindecode_ssr.simulation.experiment import Response, generator
from braindecode_ssr.simulation.recording import (
    add_responses,
    kernels,
    scalp,
    subject_brain,
)

DIMS = (32, 16)
OCCIPITAL = [THINGS_EEG_63_RAW.index(name) for name in ("O1", "Oz", "O2", "PO7", "PO8", "POz")]
FRONTAL = [THINGS_EEG_63_RAW.index(name) for name in ("Fp1", "Fp2", "F3", "F4", "AFz")]


@pytest.fixture(scope="module")
def brain():
    return subject_brain(Response(), DIMS, 1, 0, 250.0)


def test_early_dimensions_peak_early_over_the_occipital_pole(brain):
    early, late = np.abs(brain.weights[:32]), np.abs(brain.weights[32:])
    assert early[:, OCCIPITAL].mean() > 10 * early[:, FRONTAL].mean()
    first = early.max(1).argmax(1) / 250
    assert first.min() > 0.06 and first.max() < 0.17
    second = late.max(1).argmax(1) / 250
    assert 0.15 < np.median(second) < 0.42 and np.median(second) > np.median(first) + 0.1
    assert np.abs(brain.weights[..., :7]).max() == 0, "a response before 30 ms"


def test_response_is_linear_in_the_features(brain):
    features = np.random.default_rng(0).normal(size=(3, 48)).astype(np.float32)
    expected = np.einsum("nk,kct->nct", features, brain.weights) + brain.common
    np.testing.assert_allclose(brain.respond(features), expected, atol=1e-11)


def test_overlapping_responses_equal_a_slow_convolution(brain):
    rng = np.random.default_rng(1)
    samples = np.cumsum(rng.integers(45, 60, 300))
    features = rng.normal(size=(300, 48)).astype(np.float32)
    targets = rng.random(300) < 0.05
    n = samples[-1] + 100  # the last responses are cut
    data = np.zeros((63, n))
    add_responses(data, samples, features, targets, brain)
    for channel in (0, 15, 40):
        course = np.zeros(n + 200)
        for k, kernel in enumerate(brain.weights[:, channel]):
            train = np.zeros(n)
            train[samples] = features[:, k]
            course[: n + len(kernel) - 1] += np.convolve(train, kernel)
        for mask, kernel in ((np.ones(300, bool), brain.common), (targets, brain.target)):
            train = np.zeros(n)
            train[samples[mask]] = 1
            course[: n + kernel.shape[1] - 1] += np.convolve(train, kernel[channel])
        np.testing.assert_allclose(data[channel], course[:n], atol=2e-11)


def test_subjects_share_what_individuality_leaves():
    def similarity(individuality):
        response = replace(Response(), individuality=individuality, latency_sd=0.0)
        first, second = (subject_brain(response, DIMS, s, 0, 250.0).weights for s in (1, 2))
        return np.corrcoef(np.ravel(first), np.ravel(second))[0, 1]

    assert similarity(0.0) > 0.9 > similarity(0.5) > similarity(1.0)
    assert abs(similarity(1.0)) < 0.25


def test_gains_and_latencies_differ_between_subjects():
    brains = [subject_brain(Response(), DIMS, s, 0, 1000.0) for s in range(1, 11)]
    gains = np.array([np.abs(b.common).max() for b in brains])
    assert 0.08 < gains.std() / gains.mean() < 0.5
    peaks = np.array([b.common[THINGS_EEG_63_RAW.index("Oz")].argmax() for b in brains])
    assert np.ptp(peaks) >= 5 and np.ptp(peaks) < 60
    again = subject_brain(Response(), DIMS, 3, 0, 1000.0)
    np.testing.assert_array_equal(again.weights, brains[2].weights)


def test_sampling_rate_does_not_change_the_response():
    fast, slow = (subject_brain(Response(), DIMS, 1, 0, rate).weights for rate in (1000.0, 250.0))
    np.testing.assert_allclose(fast[:10, :, ::4], slow[:10], atol=0.03 * np.abs(slow).max())


def test_kernels_peak_at_one_where_they_should():
    times = np.arange(800) / 1000
    courses = kernels(times, np.array([0.1, 0.3]), np.array([0.02, 0.05]))
    np.testing.assert_allclose(courses.argmax(1) / 1000, [0.1, 0.3], atol=0.008)
    np.testing.assert_allclose(courses.max(1), 1)


def test_patterns_are_smooth_over_the_scalp():
    positions = scalp().positions
    assert positions.shape == (63, 3)
    np.testing.assert_allclose(np.linalg.norm(positions, axis=1), 1)
    patterns = scalp().patterns(4000, 0.5, generator(0, "p"))
    correlation = patterns.T @ patterns / 4000
    np.testing.assert_allclose(np.diag(correlation), 1, atol=0.1)
    oz, o1, fp1 = (THINGS_EEG_63_RAW.index(name) for name in ("Oz", "O1", "Fp1"))
    assert correlation[oz, o1] > 0.8 and abs(correlation[oz, fp1]) < 0.1
    assert np.argmax(scalp().near("Oz", 0.3)) == oz

"""Noise: its spectrum, its places, its days."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import sosfreqz, welch

from braindecode_ssr.preprocessing.channels import THINGS_EEG_63_RAW
from braindecode_ssr.simulation import recording as noise_module
from braindecode_ssr.simulation.experiment import PRESETS, Noise, generator
from braindecode_ssr.simulation.recording import (
    add_noise,
    alpha_envelope,
    background_filter,
    blink_course,
    session_events,
    session_noise,
)

SMALL = PRESETS["small"]
OZ, FP1 = THINGS_EEG_63_RAW.index("Oz"), THINGS_EEG_63_RAW.index("Fp1")


@pytest.fixture(scope="module")
def events():
    return session_events(SMALL, "test", 1, 1, 0)


def recorded(events, constants, session=1):
    data = np.zeros((63, events.n_samples))
    day = session_noise(constants, 1, session, 0)
    add_noise(data, events, day, generator(0, "recording", session))
    return data


@pytest.fixture(scope="module")
def data(events):
    return recorded(events, SMALL.noise)


@pytest.mark.parametrize("slope", [0.8, 1.2, 1.6])
@pytest.mark.parametrize("sfreq", [250.0, 1000.0])
def test_background_falls_with_the_slope(slope, sfreq):
    sections = background_filter(slope, sfreq)
    frequency = np.geomspace(0.3, 40, 200)
    _, response = sosfreqz(sections, 2 * np.pi * frequency / sfreq)
    fitted = np.polyfit(np.log(frequency), 2 * np.log(np.abs(response)), 1)[0]
    assert abs(fitted + slope) < 0.1
    grid, whole = sosfreqz(sections, 2**19)
    power = np.trapezoid(np.abs(whole) ** 2, grid) / np.pi
    assert abs(power - 1) < 0.02


def test_spectrum_of_a_recording(events, data):
    assert 6e-6 < data.std(axis=1).mean() < 25e-6, "not of the size of EEG in volts"
    frequency, power = welch(data, events.sfreq, nperseg=1000)

    def level(low, high):
        return power[:, (frequency >= low) & (frequency <= high)].mean(1)

    line = level(49.5, 50.5) / level(52, 58)
    assert np.median(line) > 2 and line.max() > 5
    alpha = level(8.5, 11.5) / np.sqrt(level(5, 6.5) * level(15, 18))
    assert alpha[OZ] > 1.5
    assert level(3, 5).mean() > 3 * level(20, 30).mean()


def test_alpha_and_blinks_are_stronger_in_gaps(events):
    gap = alpha_envelope(events, 2.0, np.arange(events.n_samples))
    assert gap.min() == 1 and gap.max() == 2
    inside = events.samples[events.positions[:, 3] > 4]
    np.testing.assert_allclose(gap[inside], 1, atol=1e-6)
    course = blink_course(events, Noise(), generator(0, "blinks"))
    assert (course > 0.5).sum() > 0
    assert course[gap > 1.5].mean() > 5 * course[gap == 1].mean()


def test_blinks_are_frontal(events):
    quiet = replace(SMALL.noise, background=1e-9, alpha=0.0, line=0.0, drift=0.0, sensor=0.0)
    data = recorded(events, quiet)
    assert 40e-6 < np.abs(data[FP1]).max() < 250e-6
    assert np.abs(data[FP1]).max() > 50 * np.abs(data[OZ]).max()


def test_covariance_is_smooth_and_changes_with_the_session():
    first, again, second = (session_noise(Noise(), 1, s, 0).background for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    deviations = np.sqrt(np.diag(first))
    correlation = first / np.outer(deviations, deviations)
    o1 = THINGS_EEG_63_RAW.index("O1")
    assert correlation[OZ, o1] > 0.6 > 0.4 > correlation[OZ, FP1]
    change = np.linalg.norm(first - second) / np.linalg.norm(first)
    assert 0.1 < change < 0.8
    np.testing.assert_allclose(np.mean(np.diag(first)), Noise().background ** 2)


def test_recorded_covariance_is_that_of_the_session(events):
    quiet = replace(
        SMALL.noise, alpha=0.0, line=0.0, drift=0.0, sensor=0.0, blink_gap=0.0, blink_rate=0.0
    )
    fast = np.diff(recorded(events, quiet), axis=1)
    expected = session_noise(quiet, 1, 1, 0).background
    ratio = np.cov(fast) / expected
    spread = ratio[np.abs(expected) > 0.3 * expected.max()]
    assert spread.std() < 0.05 * spread.mean()


def test_drift_starts_over_in_each_run():
    events = session_events(SMALL, "train", 1, 1, 0)
    slow = replace(
        SMALL.noise, background=1e-9, alpha=0.0, line=0.0, sensor=0.0, blink_gap=0.0, blink_rate=0.0
    )
    steps = np.abs(np.diff(recorded(events, slow), axis=1)).max(0)
    jumps = np.sort(np.argsort(steps)[-2:]) + 1
    np.testing.assert_array_equal(jumps, events.joins[1:-1])


def test_pieces_fit_together(events, monkeypatch):
    monkeypatch.setattr(noise_module, "CHUNK", 20_000)
    data = recorded(events, SMALL.noise)
    steps = np.abs(np.diff(data, axis=1)).mean(0)
    at_joins = steps[np.arange(20_000, events.n_samples, 20_000) - 1]
    assert at_joins.max() < 6 * steps.mean()

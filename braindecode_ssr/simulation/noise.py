"""What is recorded besides the responses: 1/f activity, alpha, blinks, mains, drift, sensor noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, iirpeak, sosfilt, tf2sos, zpk2sos

from .constants import Noise
from .design import Events
from .scalp import bump, smooth_kernel, smooth_patterns
from .seeds import generator

CHUNK = 2**17  # samples in memory at once
LOWPASS = 100.0  # Hz, of the amplifier
SLOWEST = 0.05  # Hz, where the 1/f spectrum flattens
KNOT = 8.0  # seconds between the knots of the drift
WARM_UP = 20.0  # seconds of filtering that are thrown away


@dataclass(frozen=True, eq=False)
class SessionNoise:
    """The noise of a subject in a session; patterns in volts over the 63 channels.

    Parameters
    ----------
    background : ndarray, shape (chans, chans)
        Symmetric covariance of the 1/f activity, in square volts.
    alpha : ndarray, shape (sources, chans)
        Patterns of the alpha sources.
    alpha_frequency : float
        In Hz.
    blink, line : ndarray, shape (chans,)
        Peak of a blink; amplitude of the mains.
    drift : ndarray, shape (sources, chans)
        Patterns of the slow drift.
    constants : Noise
        What does not change between sessions.
    """

    background: np.ndarray
    alpha: np.ndarray
    alpha_frequency: float
    blink: np.ndarray
    line: np.ndarray
    drift: np.ndarray
    constants: Noise


def session_noise(noise: Noise, subject: int, session: int, seed: int) -> SessionNoise:
    """The noise of a session: what is the subject's own, changed by how the cap sits that day.

    Parameters
    ----------
    noise : Noise
        The constants.
    subject, session, seed : int
        Which session of which experiment.
    """
    person = generator(seed, "noise", subject)
    day = generator(seed, "noise", subject, session)
    gains = np.exp(person.normal(0, 0.1, 63) + day.normal(0, noise.session_sd, 63))
    strength = np.exp(person.normal(0, 0.25))
    alpha = smooth_patterns(4, 0.6, person) + 0.3 * smooth_patterns(4, 0.6, day)
    alpha = strength * noise.alpha / 2 * alpha * (0.25 + bump(["POz", "Oz", "Pz"], 0.6))
    return SessionNoise(
        background=_background(noise, gains, person, day),
        alpha=alpha,
        alpha_frequency=float(np.clip(person.normal(10, 0.7), 8.5, 11.5)),
        blink=noise.blink * np.exp(day.normal(0, 0.1)) * bump(["Fp1", "Fp2"], 0.5),
        line=noise.line * smooth_patterns(1, 0.8, day)[0],
        drift=noise.drift / 2 * smooth_patterns(4, 0.8, day),
        constants=noise,
    )


def add_noise(
    data: np.ndarray, events: Events, noise: SessionNoise, rng: np.random.Generator
) -> None:
    """Add noise to a recording, in place, piece by piece in time.

    Parameters
    ----------
    data : ndarray, shape (chans, samples)
        In volts; changed in place.
    events : Events
        Where sequences and gaps are.
    noise : SessionNoise
        Of the subject and session.
    rng : Generator
        Of the recording.
    """
    background_rng, alpha_rng, sensor_rng, slow_rng = rng.spawn(4)
    mixing = np.linalg.cholesky(noise.background).astype(np.float32)
    coloured = _Stream(background_filter(noise.constants.slope, events.sfreq), 63, background_rng)
    rhythm = _Stream(alpha_filter(noise.alpha_frequency, events.sfreq), len(noise.alpha), alpha_rng)
    sfreq, duration = events.sfreq, events.n_samples / events.sfreq
    coloured.take(round(WARM_UP * sfreq))
    rhythm.take(round(WARM_UP * sfreq))
    blinks = blink_course(events, noise.constants, slow_rng)
    knots = slow_rng.normal(size=(len(events.joins), len(noise.drift), int(duration / KNOT) + 3))
    phase = slow_rng.uniform(0, 2 * np.pi)
    frequency = noise.constants.line_frequency + slow_rng.normal(0, 0.01)
    for first in range(0, events.n_samples, CHUNK):
        sample = np.arange(first, min(first + CHUNK, events.n_samples))
        part = mixing @ coloured.take(len(sample))
        part += noise.alpha.T.astype(np.float32) @ (
            rhythm.take(len(sample)) * alpha_envelope(events, noise.constants.alpha_gap, sample)
        )
        white = sensor_rng.standard_normal(part.shape, dtype=np.float32)
        part += np.float32(noise.constants.sensor) * white
        mains = np.sin(2 * np.pi * frequency * sample / sfreq + phase)
        slow = np.stack([mains, blinks[sample], *_drift(events, knots, sample)])
        patterns = np.stack([noise.line, noise.blink, *noise.drift])
        data[:, first : first + CHUNK] += part + patterns.T @ slow


def background_filter(slope: float, sfreq: float) -> np.ndarray:
    """Second-order sections that turn white noise into ``f ** -slope`` noise of variance one.

    Poles and zeros alternate evenly on the logarithmic frequency axis, from ``SLOWEST`` to the
    amplifier's low-pass, which is included (Butterworth, order 2).

    Parameters
    ----------
    slope : float
        Exponent of the power spectrum.
    sfreq : float
        In Hz.

    Returns
    -------
    ndarray, shape (sections, 6)
    """
    spacing = 0.55
    decades = np.arange(np.log10(SLOWEST), np.log10(0.45 * sfreq), spacing)
    poles = np.exp(-2 * np.pi * 10**decades / sfreq)
    zeros = np.exp(-2 * np.pi * 10 ** (decades + spacing * slope / 2) / sfreq)
    pink = zpk2sos(zeros, poles, 1.0)
    return _unit(np.concatenate([pink, butter(2, LOWPASS, fs=sfreq, output="sos")]), sfreq)


def alpha_filter(frequency: float, sfreq: float) -> np.ndarray:
    """Second-order sections that turn white noise into a rhythm of variance one; shape (1, 6)."""
    return _unit(tf2sos(*iirpeak(frequency, 5.0, fs=sfreq)), sfreq)


def alpha_envelope(events: Events, gap: float, sample: np.ndarray) -> np.ndarray:
    """Amplitude of the alpha rhythm: 1 within sequences, ``gap`` between them; shape (samples,)."""
    last, first = _gaps(events)
    moves = np.array([0.3, 0.7]) * events.sfreq
    knots = np.column_stack([last[:, None] + moves, first[:, None] + moves - 0.3 * events.sfreq])
    heights = np.tile([1.0, gap, gap, 1.0], len(knots))
    return np.interp(sample, knots.ravel(), heights, left=gap, right=gap).astype(np.float32)


def blink_course(events: Events, noise: Noise, rng: np.random.Generator) -> np.ndarray:
    """Time course of blinks, of height one or so: mostly in gaps, few elsewhere; shape (samples,)."""
    last, first = _gaps(events)
    at = last + rng.uniform(0.35, 0.8, len(last)) * (first - last)
    at = at[rng.random(len(at)) < noise.blink_gap]
    stray = rng.poisson(noise.blink_rate * events.n_samples / events.sfreq)
    at = np.concatenate([at, rng.uniform(0, events.n_samples, stray)]).clip(0).astype(int)
    length = round(0.4 * events.sfreq)
    shape = np.sin(np.pi * (np.arange(length) / length) ** 0.7) ** 2
    course = np.zeros(events.n_samples + length, np.float32)
    for start, height in zip(at, np.exp(rng.normal(0, 0.25, len(at))), strict=True):
        course[start : start + length] += height * shape
    return course[: events.n_samples]


def _gaps(events: Events) -> tuple[np.ndarray, np.ndarray]:
    """Last onset before and first onset after each gap, before the first sequence and after the last."""
    ends = events.ends_sequence
    last = np.append(-round(events.sfreq), events.samples[ends])
    return last, np.append(events.samples[np.append(True, ends[:-1])], events.n_samples)


def _background(
    noise: Noise, gains: np.ndarray, person: np.random.Generator, day: np.random.Generator
) -> np.ndarray:
    sources = np.concatenate([smooth_patterns(6, 0.5, person), smooth_patterns(6, 0.5, day)])
    covariance = 0.55 * smooth_kernel(noise.smoothness) + 0.2 * smooth_kernel(0.25)
    covariance += 0.04 * sources.T @ sources + 0.02 * np.eye(len(gains))
    covariance *= np.outer(gains, gains)
    return covariance * noise.background**2 / np.mean(np.diag(covariance))


def _drift(events: Events, knots: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Slow courses that start anew in each run; shape (sources, samples)."""
    run = np.searchsorted(events.joins, sample, side="right") - 1
    drift = np.empty((knots.shape[1], len(sample)))
    grid = np.arange(knots.shape[2]) * KNOT * events.sfreq
    for which in np.unique(run):
        inside = run == which
        for course, heights in zip(drift, knots[which], strict=True):
            course[inside] = np.interp(sample[inside], grid, heights)
    return drift


def _unit(sections: np.ndarray, sfreq: float) -> np.ndarray:
    """The filter, scaled so that white noise of variance one leaves it with variance one."""
    impulse = np.zeros(round(60 * sfreq))
    impulse[0] = 1
    sections = sections.copy()
    sections[0, :3] /= np.linalg.norm(sosfilt(sections, impulse))
    return sections


class _Stream:
    """Filtered white noise that can be taken piece by piece."""

    def __init__(self, sections: np.ndarray, rows: int, rng: np.random.Generator) -> None:
        self.sections, self.rows, self.rng = sections, rows, rng
        self.state = np.zeros((len(sections), rows, 2))

    def take(self, n: int) -> np.ndarray:
        """The next ``n`` samples; float32, shape (rows, n)."""
        taken = []
        for start in range(0, n, CHUNK):
            white = self.rng.standard_normal((self.rows, min(CHUNK, n - start)), dtype=np.float32)
            filtered, self.state = sosfilt(self.sections, white, zi=self.state)
            taken.append(filtered.astype(np.float32))
        return np.concatenate(taken, axis=1)

"""What the sensors of a helmet pick up: responses to images, and everything else.

Amplitudes are in units of the background's standard deviation: the published trials are z-scored on their
baseline, so that no other unit could be told from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .brain import Brain, add_responses, kernels, moments
from .constants import Response
from .meg_design import SFREQ, MEGRun
from .meg_helmet import helmet, helmet_bump, helmet_kernel, helmet_patterns
from .seeds import generator

BAND = (0.1, 40.0)  # Hz
SLOPE = 1.0  # of the power spectrum of the background
ALPHA = 0.5  # standard deviation of the alpha rhythm
FIRST, LAST = -20, 260  # samples of an epoch: -0.1 to 1.3 s
EARLY, LATE = "MLO MRO MZO", "MLT MRT MLP MRP"


def meg_brain(
    response: Response, dims: tuple[int, int], subject: int, seed: int, every: int
) -> Brain:
    """The responses of each so many-th sensor to images, of what all share and what is a subject's own."""
    rng = generator(seed, "meg", "brain", subject)
    gain = np.exp(rng.normal(0, response.gain_sd) - response.gain_sd**2 / 2)
    shift = rng.normal(0, response.latency_sd)
    times = np.arange(round(response.duration * SFREQ)) / SFREQ
    share = np.sqrt([1 - response.individuality, response.individuality])
    patterns = share[0] * _patterns(dims, generator(seed, "meg", "brain", "all"))
    patterns = (patterns + share[1] * _patterns(dims, rng))[:, ::every]
    peaks, widths = moments(response, dims, generator(seed, "kernels"))
    amplitude = gain * np.repeat([response.early_gain, response.late_gain], dims)
    courses = kernels(times, peaks + shift, widths)
    evoked = kernels(times, np.array([0.1, 0.17]) + shift, np.array([0.02, 0.03]))
    places = [helmet_bump(EARLY, 0.5), -helmet_bump(LATE, 0.5)]
    common = response.common_gain * gain * np.einsum("kc,kt->ct", places, evoked)[::every]
    wave = kernels(times, np.array([0.42]) + shift, np.array([0.07]))[0]
    target = response.target_gain * np.outer(helmet_bump("MLP MRP MZP", 0.6)[::every], wave)
    return Brain(
        weights=np.einsum("k,kc,kt->kct", amplitude, patterns, courses).astype(np.float32),
        common=common.astype(np.float32),
        target=target.astype(np.float32),
    )


def run_epochs(
    run: MEGRun, features: np.ndarray, brain: Brain, mixing: np.ndarray, alpha: np.ndarray, rng
) -> np.ndarray:
    """The epochs of a run, z-scored on their baseline as the published ones are.

    Parameters
    ----------
    run : MEGRun
    features : ndarray, shape (n_images, dims)
        What the eye gets of the images.
    mixing : ndarray, shape (chans, chans)
        From independent sources to the background of this session.
    alpha : ndarray, shape (sources, chans)
        Patterns of the alpha rhythm.
    rng : Generator
        Of the run.

    Returns
    -------
    ndarray of float32, shape (n_trials, chans, 281)
    """
    catch = run.images < 0
    shown = np.where(catch[:, None], 0, features[run.images])
    data = mixing @ spectral_noise(len(mixing), run.n_samples, rng, background)
    data += ALPHA * alpha.T @ spectral_noise(len(alpha), run.n_samples, rng, rhythm)
    add_responses(data, run.samples, shown, catch, brain)
    windows = np.lib.stride_tricks.sliding_window_view(data, LAST - FIRST + 1, axis=1)
    epochs = windows[:, run.samples + FIRST].swapaxes(0, 1).copy()
    rest = epochs[:, :, : 1 - FIRST]
    epochs -= rest.mean(axis=2, keepdims=True)
    epochs /= rest.std(axis=2, keepdims=True)
    return epochs


def subject_epochs(
    runs: list[MEGRun], features: np.ndarray, brain: Brain, subject: int, seed: int, every: int
) -> Iterator[np.ndarray]:
    """The epochs of all runs of a subject, run by run; noise changes with the session."""
    person = generator(seed, "meg", "noise", subject)
    sources, alpha = helmet_patterns(8, 0.5, person), helmet_patterns(4, 0.6, person)
    alpha *= 0.3 + helmet_bump("MLP MRP MLO MRO", 0.5)
    for run in runs:
        day = generator(seed, "meg", "noise", subject, run.session)
        gains = np.exp(day.normal(0, 0.15, len(helmet()[0])))
        mixing = _mixing(sources, gains, every)
        rng = generator(seed, "meg", "run", subject, run.session, run.run)
        yield run_epochs(run, features, brain, mixing, alpha[:, ::every].astype(np.float32), rng)


def spectral_noise(
    rows: int, n: int, rng: np.random.Generator, amplitude: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Noise of variance one with a given spectrum; float32, shape (rows, n)."""
    from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

    length = next_fast_len(n, real=True)
    gain = amplitude(rfftfreq(length, 1 / SFREQ)).astype(np.float32)
    gain *= np.sqrt(len(gain) / np.sum(gain**2))
    white = rng.standard_normal((rows, length), dtype=np.float32)
    return irfft(rfft(white, axis=1) * gain, length, axis=1)[:, :n]


def background(frequency: np.ndarray) -> np.ndarray:
    """Amplitude of the 1/f background between 0.1 and 40 Hz."""
    inside = (frequency >= BAND[0]) & (frequency <= BAND[1])
    return np.where(inside, np.maximum(frequency, 1.0) ** (-SLOPE / 2), 0)


def rhythm(frequency: np.ndarray) -> np.ndarray:
    """Amplitude of the alpha rhythm: a peak at 10 Hz."""
    return np.exp(-((frequency - 10.0) ** 2) / 2)


def _mixing(sources: np.ndarray, gains: np.ndarray, every: int) -> np.ndarray:
    covariance = 0.5 * helmet_kernel(0.5) + 0.2 * helmet_kernel(0.2) + 0.15 * np.eye(len(gains))
    covariance = (covariance + 0.05 * sources.T @ sources) * np.outer(gains, gains)
    covariance = covariance[::every, ::every]
    covariance /= np.mean(np.diag(covariance))
    return np.linalg.cholesky(covariance).astype(np.float32)


def _patterns(dims: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Early patterns over occipital, late ones over temporal and parietal sensors; (dims, 271)."""
    early = helmet_patterns(dims[0], 0.35, rng) * helmet_bump(EARLY, 0.45)
    late = helmet_patterns(dims[1], 0.5, rng) * helmet_bump(LATE, 0.4)
    return np.concatenate([early, late])

"""Simulated brains: topographies and time courses of responses to image features, and an ideal observer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from ..files import one_thread
from ..labels import Label
from ..preprocessing.channels import THINGS_EEG_63_RAW
from .presets import Response, generator

EARLY_CENTERS = ["O1", "Oz", "O2", "PO7", "PO8", "POz"]
LATE_CENTERS = ["P7", "P8", "TP9", "TP10", "PO7", "PO8", "P5", "P6"]
CHUNK = 256  # presentations whose responses are in memory at once
SHRINKAGE = 1e-3


# -- patterns over the 63 channels of THINGS-EEG2 -----------------------------------------------------------


@cache
def channel_positions() -> np.ndarray:
    """Positions of the channels in the order of the raw files, on the unit sphere, shape (63, 3).

    x points to the right, y to the front, z up; from MNE's montage ``easycap-M1``.
    """
    from mne.channels import make_standard_montage

    places = make_standard_montage("easycap-M1").get_positions()["ch_pos"]
    positions = np.array([places[name] for name in THINGS_EEG_63_RAW])
    positions /= np.linalg.norm(positions, axis=1, keepdims=True)
    positions.setflags(write=False)
    return positions


def smooth_kernel(positions: np.ndarray, length: float) -> np.ndarray:
    """Gaussian correlation between places ``(n, 3)`` at a length constant in head radii; shape (n, n)."""
    squared = np.sum((positions[:, None] - positions[None]) ** 2, axis=-1)
    return np.exp(-squared / (2 * length**2))


def random_patterns(
    positions: np.ndarray, n: int, length: float, rng: np.random.Generator
) -> np.ndarray:
    """``n`` random patterns of variance one over places, smooth at a length in head radii."""
    kernel = smooth_kernel(positions, length) + 1e-6 * np.eye(len(positions))
    return rng.normal(size=(n, len(kernel))) @ np.linalg.cholesky(kernel).T


def nearness(positions: np.ndarray, centers: np.ndarray, width: float) -> np.ndarray:
    """A Gaussian of the distance of each place to the nearest center, 1 there; shape (n,)."""
    squared = np.sum((positions[:, None] - centers[None]) ** 2, axis=-1).min(axis=1)
    return np.exp(-squared / (2 * width**2))


def smooth_patterns(n: int, length: float, rng: np.random.Generator) -> np.ndarray:
    """Random patterns of variance one, smooth over the scalp; shape (n, 63)."""
    return random_patterns(channel_positions(), n, length, rng)


def bump(centers: list[str], width: float) -> np.ndarray:
    """How near each channel is to the nearest of some channels, see :func:`nearness`; shape (63,)."""
    positions = channel_positions()
    at = positions[[THINGS_EEG_63_RAW.index(name) for name in centers]]
    return nearness(positions, at, width)


# -- responses -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Brain:
    """The responses of a subject, float32 in volts, sampled from image onset on."""

    weights: np.ndarray  # response to one unit of each feature, (dims, chans, times)
    common: np.ndarray  # response to any image, (chans, times)
    target: np.ndarray  # additional response to a target, (chans, times)

    def respond(self, features: np.ndarray) -> np.ndarray:
        """Responses ``(n, chans, times)`` to images with features ``(n, dims)``, float32."""
        dims, *shape = self.weights.shape
        specific = features.astype(np.float32) @ self.weights.reshape(dims, -1)
        return specific.reshape(-1, *shape) + self.common


def subject_brain(
    response: Response, dims: tuple[int, int], subject: Label, seed: int, sfreq: float
) -> Brain:
    """The brain of a subject.

    The topography of each feature is a mixture of a shared and an individual pattern; latencies are shifted
    as a whole and a little for each feature; the gain is individual. ``dims`` are the early and late feature
    dimensions.
    """
    rng = generator(seed, "brain", subject)
    gain = np.exp(rng.normal(0, response.gain_sd) - response.gain_sd**2 / 2)
    shift = rng.normal(0, response.latency_sd)
    times = np.arange(round(response.duration * sfreq)) / sfreq
    share = np.sqrt([1 - response.individuality, response.individuality])
    shared = _patterns(dims, generator(seed, "brain", "all"))
    own = _patterns(dims, rng)
    peaks, widths = moments(response, dims, generator(seed, "kernels"))
    peaks = peaks + shift + rng.normal(0, 0.004, len(peaks))
    amplitude = np.repeat([response.early_gain, response.late_gain], dims)
    weights = np.einsum(
        "k,kc,kt->kct",
        gain * amplitude,
        share[0] * shared + share[1] * own,
        kernels(times, peaks, widths),
    )
    return Brain(
        weights=weights.astype(np.float32),
        common=gain * _common(response, times, shift),
        target=gain * _target(response, times, shift),
    )


def _patterns(dims: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Early patterns over occipital, late ones over parietal and temporal channels; (dims, chans)."""
    early = smooth_patterns(dims[0], 0.35, rng) * bump(EARLY_CENTERS, 0.45)
    late = smooth_patterns(dims[1], 0.5, rng) * bump(LATE_CENTERS, 0.5)
    return np.concatenate([early, late])


def moments(
    response: Response, dims: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Peak latencies and widths of the kernels of all dimensions, in seconds."""
    early, late = dims
    peaks = [rng.uniform(*response.early_peak, early), rng.uniform(*response.late_peak, late)]
    widths = [rng.uniform(*response.early_width, early), rng.uniform(*response.late_width, late)]
    return np.concatenate(peaks), np.concatenate(widths)


def kernels(times: np.ndarray, peaks: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Time courses with a peak of height one, a slower rebound, and zero at onset; shape (n, times)."""
    after = times[None] - peaks[:, None]
    peak = np.exp(-(after**2) / (2 * widths[:, None] ** 2))
    delay, slow = 2.6 * widths[:, None], 1.5 * widths[:, None]
    rebound = 0.5 * np.exp(-((after - delay) ** 2) / (2 * slow**2))
    onset = np.clip((times - 0.03) / 0.02, 0, 1)
    ending = np.clip((times[-1] - times) / 0.05, 0, 1)
    courses = (peak - rebound) * onset * ending
    return courses / courses.max(axis=1, keepdims=True)


def _common(response: Response, times: np.ndarray, shift: float) -> np.ndarray:
    """P1, N1 and P2 of every image over the back of the head; shape (chans, times)."""
    places = np.stack([bump(["O1", "Oz", "O2"], 0.5), bump(["P7", "P8"], 0.5), bump(["Pz"], 0.6)])
    waves = kernels(times, np.array([0.1, 0.165, 0.23]) + shift, np.array([0.018, 0.024, 0.04]))
    common = np.einsum("k,kc,kt->ct", np.array([1.0, -0.9, 0.6]), places, waves)
    return (response.common_gain * common).astype(np.float32)


def _target(response: Response, times: np.ndarray, shift: float) -> np.ndarray:
    """The P3 to a target; shape (chans, times)."""
    wave = kernels(times, np.array([0.42]) + shift, np.array([0.07]))[0]
    return (response.target_gain * np.outer(bump(["Pz", "CPz"], 0.6), wave)).astype(np.float32)


def add_responses(
    data: np.ndarray, samples: np.ndarray, features: np.ndarray, targets: np.ndarray, brain: Brain
) -> None:
    """Add the overlapping responses to all presentations to a recording ``(chans, samples)``, in place.

    Presentations begin at ``samples`` and show images with features ``(n, dims)``, some of them targets.
    Responses beyond the end of the recording are cut.
    """
    length = brain.common.shape[1]
    for first in range(0, len(samples), CHUNK):
        part = slice(first, first + CHUNK)
        responses = brain.respond(features[part])
        responses[targets[part]] += brain.target
        for sample, response in zip(samples[part].tolist(), responses, strict=True):
            window = data[:, sample : sample + length]
            window += response[:, : window.shape[1]]


# -- an ideal observer, who knows the true responses --------------------------------------------------------


def separable_covariance(residuals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covariance of trials ``(n, chans, times)``, as factors over channels and over times.

    The second is estimated after whitening the channels, so its trace is about ``times``; the Kronecker
    product of both is the covariance of a trial.
    """
    n_times = residuals.shape[2]
    by_channel = residuals.swapaxes(0, 1).reshape(residuals.shape[1], -1)
    spatial = _shrunk(by_channel @ by_channel.T / by_channel.shape[1])
    inverse = np.linalg.inv(np.linalg.cholesky(spatial)).astype(residuals.dtype)
    white = (inverse @ by_channel).reshape(-1, n_times)
    return spatial, _shrunk(white.T @ white / len(white))


def _shrunk(covariance: np.ndarray) -> np.ndarray:
    """Shrink a covariance a little toward a multiple of the identity, in float64."""
    size = len(covariance)
    mean = np.trace(covariance) / size
    return (1 - SHRINKAGE) * covariance.astype(np.float64) + SHRINKAGE * mean * np.eye(size)


def log_likelihoods(
    trials: np.ndarray, rows: np.ndarray, templates: np.ndarray, used: np.ndarray
) -> np.ndarray:
    """Log likelihood of each candidate, summed over the trials of each image.

    Parameters
    ----------
    trials : ndarray, shape (n, chans, times)
        All trials of one session, from which the observer knows the noise.
    rows : ndarray of int, shape (n,)
        Which image each trial shows.
    templates : ndarray, shape (images, chans, times)
        True responses.
    used : ndarray of bool, shape (n,)
        Which trials are scored.

    Returns
    -------
    ndarray, shape (images, images)
        Queries by candidates, up to a constant per query.
    """
    residuals = trials - templates[rows]
    common = residuals.mean(axis=0)
    spatial, temporal = separable_covariance(residuals - common)
    n_images, n_chans, n_times = templates.shape
    # divide templates by the covariance in two large products
    by_channel = templates.swapaxes(0, 1).reshape(n_chans, -1)
    whiter = (np.linalg.inv(spatial) @ by_channel).reshape(n_chans, n_images, n_times)
    whiter = np.ascontiguousarray(whiter.swapaxes(0, 1)).reshape(-1, n_times)
    filters = (whiter @ np.linalg.inv(temporal)).reshape(n_images, -1)
    power = (filters * templates.reshape(n_images, -1)).sum(axis=1)
    shows = (np.arange(n_images)[:, None] == rows[used]).astype(trials.dtype)
    sums = shows @ (trials[used] - common).reshape(shows.shape[1], -1)
    return sums @ filters.T - shows.sum(axis=1, keepdims=True) * power / 2


def top_accuracy(scores: np.ndarray, k: int) -> float:
    """Share of queries whose own candidate, on the diagonal, is among the first ``k``; ties are misses."""
    ahead = (scores >= np.diag(scores)[:, None]).sum(axis=1) - 1
    return float(np.mean(ahead < k))


def ceiling(
    sessions: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], templates: np.ndarray
) -> dict[str, float]:
    """The accuracy of the ideal observer: ``ceiling_top1`` and ``ceiling_top5``, in 0..1.

    Parameters
    ----------
    sessions : iterable of (trials, rows, used)
        Of each session, as for :func:`log_likelihoods`.
    templates : ndarray, shape (images, chans, times)
        True responses, cut as the trials are.
    """
    scores = np.zeros((len(templates), len(templates)))
    for trials, rows, used in sessions:
        with one_thread():
            scores += log_likelihoods(trials, rows, templates, used)
    return {"ceiling_top1": top_accuracy(scores, 1), "ceiling_top5": top_accuracy(scores, 5)}

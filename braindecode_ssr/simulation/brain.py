"""What the brain makes of what the eye gets: responses of 63 channels, added up over a recording."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .constants import Response
from .scalp import bump, smooth_patterns
from .seeds import generator

EARLY_CENTRES = ["O1", "Oz", "O2", "PO7", "PO8", "POz"]
LATE_CENTRES = ["P7", "P8", "TP9", "TP10", "PO7", "PO8", "P5", "P6"]
CHUNK = 256  # showings whose responses are in memory at once


@dataclass(frozen=True, eq=False)
class Brain:
    """The responses of a subject, in volts, sampled from image onset on.

    Parameters
    ----------
    weights : ndarray of float32, shape (dims, chans, times)
        Response to one unit of each feature.
    common : ndarray of float32, shape (chans, times)
        Response to any image.
    target : ndarray of float32, shape (chans, times)
        What is added to it by a target.
    """

    weights: np.ndarray
    common: np.ndarray
    target: np.ndarray

    def respond(self, features: np.ndarray) -> np.ndarray:
        """Specific and common responses to images.

        Parameters
        ----------
        features : ndarray, shape (n, dims)

        Returns
        -------
        ndarray of float32, shape (n, chans, times)
        """
        dims, *shape = self.weights.shape
        specific = features.astype(np.float32) @ self.weights.reshape(dims, -1)
        return specific.reshape(-1, *shape) + self.common


def subject_brain(
    response: Response, dims: tuple[int, int], subject: int, seed: int, sfreq: float
) -> Brain:
    """The brain of a subject: what all share, bent by what is their own.

    The topography of each feature is a mixture of a shared and an own pattern; latencies are shifted
    as a whole and a little for each feature; the gain is the subject's.

    Parameters
    ----------
    response : Response
        The constants.
    dims : tuple of int
        Early and late feature dimensions there are.
    subject, seed : int
        Whose brain, in which experiment.
    sfreq : float
        Samples per second of the responses.

    Returns
    -------
    Brain
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


def kernels(times: np.ndarray, peaks: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Time courses: a peak of height one and a slower rebound, nothing at onset; shape (n, times)."""
    after = times[None] - peaks[:, None]
    peak = np.exp(-(after**2) / (2 * widths[:, None] ** 2))
    delay, slow = 2.6 * widths[:, None], 1.5 * widths[:, None]
    rebound = 0.5 * np.exp(-((after - delay) ** 2) / (2 * slow**2))
    onset = np.clip((times - 0.03) / 0.02, 0, 1)
    ending = np.clip((times[-1] - times) / 0.05, 0, 1)
    courses = (peak - rebound) * onset * ending
    return courses / courses.max(axis=1, keepdims=True)


def add_responses(
    data: np.ndarray, samples: np.ndarray, features: np.ndarray, targets: np.ndarray, brain: Brain
) -> None:
    """Add the responses to all showings to a recording, in place; they overlap as they may.

    Parameters
    ----------
    data : ndarray, shape (chans, samples)
        Changed in place; responses that reach beyond its end are cut.
    samples : ndarray of int, shape (n_showings,)
        Onsets.
    features : ndarray, shape (n_showings, dims)
        Of what was shown.
    targets : ndarray of bool, shape (n_showings,)
        Which showings are targets.
    brain : Brain
        Who saw it.
    """
    length = brain.common.shape[1]
    for first in range(0, len(samples), CHUNK):
        part = slice(first, first + CHUNK)
        responses = brain.respond(features[part])
        responses[targets[part]] += brain.target
        for sample, response in zip(samples[part].tolist(), responses, strict=True):
            window = data[:, sample : sample + length]
            window += response[:, : window.shape[1]]


def _patterns(dims: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Early patterns over occipital, late ones over parietal and temporal channels; (dims, chans)."""
    early = smooth_patterns(dims[0], 0.35, rng) * bump(EARLY_CENTRES, 0.45)
    late = smooth_patterns(dims[1], 0.5, rng) * bump(LATE_CENTRES, 0.5)
    return np.concatenate([early, late])


def moments(
    response: Response, dims: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Peak latencies and widths of the kernels of all dimensions, in seconds."""
    peaks = [rng.uniform(*response.early_peak, dims[0]), rng.uniform(*response.late_peak, dims[1])]
    widths = [
        rng.uniform(*response.early_width, dims[0]),
        rng.uniform(*response.late_width, dims[1]),
    ]
    return np.concatenate(peaks), np.concatenate(widths)


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

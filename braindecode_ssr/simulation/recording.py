"""Simulated recordings: which image is shown when, as in THINGS-EEG2, and the noise around responses.

A session has runs, a run has blocks, a block has sequences of images at a fast pace with a gap between
sequences; at most one image of a sequence is a target. Sessions 1 and 2 split the training concepts between
them, and sessions 3 and 4 split them differently, so that every training image is in exactly two sessions.
The constants are in :mod:`.presets`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, iirpeak, sosfilt, tf2sos, zpk2sos

from ..labels import Label
from .brain import Brain, add_responses, bump, channel_positions, smooth_kernel, smooth_patterns
from .presets import SHOWINGS, Noise, Preset, Run, Timing, generator

TARGET = 99999  # its image number
CHUNK = 2**17  # samples in memory at once
LOWPASS = 100.0  # Hz, of the amplifier
SLOWEST = 0.05  # Hz, below which the 1/f spectrum is flat
KNOT = 8.0  # seconds between the knots of the drift
WARM_UP = 20.0  # seconds of filtering that are discarded


def simulate(
    preset: Preset,
    seed: int,
    subject: Label,
    session: int,
    split: str,
    features: np.ndarray,
    brain: Brain,
) -> tuple[np.ndarray, Events]:
    """The recording of one split in one session.

    Parameters
    ----------
    preset : Preset
        The experiment.
    seed, subject, session : int
        Seed of the experiment; subject and session from 1.
    split : {"train", "test"}
        Which part of the session.
    features : ndarray, shape (n_images, dims)
        The eye's features of the images of the split, in image-number order.
    brain : Brain
        Of the subject.

    Returns
    -------
    data : ndarray of float64, shape (64, samples)
        63 channels in volts, then the stimulus channel: the image number at each onset, else zero.
    events : Events
    """
    events = session_events(preset, split, subject, session, seed)
    data = np.zeros((64, events.n_samples))
    shown = features[np.where(events.is_target, 1, events.numbers) - 1]
    shown[events.is_target] = 0
    add_responses(data[:-1], events.samples, shown, events.is_target, brain)
    noise = session_noise(preset.noise, subject, session, seed)
    add_noise(data[:-1], events, noise, generator(seed, "recording", subject, session, split))
    data[-1, events.samples] = events.numbers
    return data, events


# -- events --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Events:
    """What is shown in the recording of one split in one session."""

    samples: np.ndarray  # onsets in samples, (n_presentations,)
    numbers: np.ndarray  # image numbers, TARGET for targets, (n_presentations,)
    positions: np.ndarray  # run, block, sequence, position in it, each from 1, (n_presentations, 4)
    joins: np.ndarray  # first sample of each run, and the number of samples, (runs + 1,)
    sfreq: float  # Hz

    @property
    def n_samples(self) -> int:
        """Length of the recording."""
        return int(self.joins[-1])

    @property
    def is_target(self) -> np.ndarray:
        """Which presentations are targets."""
        return self.numbers == TARGET

    @property
    def ends_sequence(self) -> np.ndarray:
        """Which presentations are the last of their sequence."""
        return np.append(np.any(np.diff(self.positions[:, :3], axis=0) != 0, axis=1), True)


def session_events(preset: Preset, split: str, subject: Label, session: int, seed: int) -> Events:
    """The events of one split in one session of a subject."""
    run: Run = getattr(preset, split)
    rng = generator(seed, "design", subject, session, split)
    images = _session_numbers(preset, subject, session, split, seed)
    order = _presentations(images, run.slots(preset.sequence), split, rng)
    laid = _place_targets(order, run, preset.sequence, rng)
    samples, joins = [], [0]
    for _ in range(run.runs):
        onsets = sequence_onsets(run, preset.timing, preset.sequence, rng)
        samples.append(joins[-1] + np.rint(onsets.ravel() * preset.sfreq).astype(np.int64))
        joins.append(int(samples[-1][-1]) + int(preset.timing.tail * preset.sfreq))
    return Events(
        samples=np.concatenate(samples),
        numbers=laid.ravel(),
        positions=np.argwhere(laid > 0) + 1,
        joins=np.array(joins),
        sfreq=preset.sfreq,
    )


def session_concepts(preset: Preset, subject: Label, session: int, seed: int) -> np.ndarray:
    """The training concepts of a session, as sorted indices from 0.

    Sessions 1 and 2 are the halves of one random split, sessions 3 and 4 those of another.
    """
    pair, half = divmod(session - 1, 2)
    order = generator(seed, "halves", subject, pair).permutation(preset.concepts)
    return np.sort(order[half * preset.concepts // 2 : (half + 1) * preset.concepts // 2])


def _session_numbers(
    preset: Preset, subject: Label, session: int, split: str, seed: int
) -> np.ndarray:
    """The numbers of the images of a session, in ascending order."""
    if split == "test":
        return np.arange(1, preset.test_images + 1)
    concepts = session_concepts(preset, subject, session, seed)
    within = np.arange(1, preset.images_per_concept + 1)
    return (concepts[:, None] * preset.images_per_concept + within).ravel()


def _presentations(
    numbers: np.ndarray, slots: int, split: str, rng: np.random.Generator
) -> np.ndarray:
    """Image numbers in the random order in which they fill the slots of a session.

    Training images are shown twice, and images drawn at random fill the rest; test images are shown equally
    often, and different ones of them fill the rest.
    """
    each = SHOWINGS if split == "train" else slots // len(numbers)
    rest = slots - each * len(numbers)
    extra = rng.choice(numbers, rest, replace=split == "train" or rest > len(numbers))
    return rng.permutation(np.concatenate([np.tile(numbers, each), extra]))


def _place_targets(
    numbers: np.ndarray, run: Run, length: int, rng: np.random.Generator
) -> np.ndarray:
    """Image numbers with targets inserted; shape (runs, blocks, sequences, length).

    In each block ``run.targets`` random sequences get one target at position 2 or later.
    """
    shape = (run.runs, run.blocks, run.sequences)
    chosen = np.broadcast_to(np.arange(run.sequences) < run.targets, shape)
    chosen = rng.permuted(chosen, axis=-1)
    places = np.where(chosen, rng.integers(1, length, shape), -1)
    filled = np.arange(length) == places[..., None]
    laid = np.full((*shape, length), TARGET, dtype=np.int64)
    laid[~filled] = numbers
    return laid


def sequence_onsets(run: Run, timing: Timing, length: int, rng: np.random.Generator) -> np.ndarray:
    """Onsets in seconds from the start of one run; shape (blocks, sequences, length)."""
    shape = (run.blocks, run.sequences, length)
    steps = rng.normal(timing.soa, timing.soa_sd, shape)
    slips = rng.random(shape) < timing.slip
    steps += slips * rng.uniform(0.3, 1.0, shape) * timing.slip_length
    scale = (timing.gap_mean - timing.gap_floor) / timing.gap_shape
    gaps = timing.gap_floor + rng.gamma(timing.gap_shape, scale, shape[:2])
    steps[..., 0] = np.minimum(gaps, timing.gap_ceiling)
    steps[1:, 0, 0] += rng.gamma(2.0, timing.rest / 2, run.blocks - 1)
    steps[0, 0, 0] = timing.lead
    return np.cumsum(steps).reshape(shape)


# -- noise ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SessionNoise:
    """The noise of a subject in a session; patterns in volts over the 63 channels."""

    background: (
        np.ndarray
    )  # symmetric covariance of the 1/f activity in square volts, (chans, chans)
    alpha: np.ndarray  # patterns of the alpha sources, (sources, chans)
    alpha_frequency: float  # Hz
    blink: np.ndarray  # peak of a blink, (chans,)
    line: np.ndarray  # amplitude of the line noise, (chans,)
    drift: np.ndarray  # patterns of the slow drift, (sources, chans)
    constants: Noise


def session_noise(noise: Noise, subject: Label, session: int, seed: int) -> SessionNoise:
    """The noise of a session: that of the subject, changed by how the cap sits that day."""
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
    """Add noise to a recording ``(chans, samples)`` in volts, in place, chunk by chunk in time."""
    background_rng, alpha_rng, sensor_rng, slow_rng = rng.spawn(4)
    mixing = np.linalg.cholesky(noise.background).astype(np.float32)
    colored = _Stream(background_filter(noise.constants.slope, events.sfreq), 63, background_rng)
    rhythm = _Stream(alpha_filter(noise.alpha_frequency, events.sfreq), len(noise.alpha), alpha_rng)
    sfreq, duration = events.sfreq, events.n_samples / events.sfreq
    colored.take(round(WARM_UP * sfreq))
    rhythm.take(round(WARM_UP * sfreq))
    blinks = blink_course(events, noise.constants, slow_rng)
    knots = slow_rng.normal(size=(len(events.joins), len(noise.drift), int(duration / KNOT) + 3))
    phase = slow_rng.uniform(0, 2 * np.pi)
    frequency = noise.constants.line_frequency + slow_rng.normal(0, 0.01)
    for first in range(0, events.n_samples, CHUNK):
        sample = np.arange(first, min(first + CHUNK, events.n_samples))
        part = mixing @ colored.take(len(sample))
        part += noise.alpha.T.astype(np.float32) @ (
            rhythm.take(len(sample)) * alpha_envelope(events, noise.constants.alpha_gap, sample)
        )
        white = sensor_rng.standard_normal(part.shape, dtype=np.float32)
        part += np.float32(noise.constants.sensor) * white
        line = np.sin(2 * np.pi * frequency * sample / sfreq + phase)
        slow = np.stack([line, blinks[sample], *_drift(events, knots, sample)])
        patterns = np.stack([noise.line, noise.blink, *noise.drift])
        data[:, first : first + CHUNK] += part + patterns.T @ slow


def background_filter(slope: float, sfreq: float) -> np.ndarray:
    """Second-order sections ``(sections, 6)`` from white noise to ``f ** -slope`` power of variance one.

    Poles and zeros alternate evenly on the logarithmic frequency axis, from ``SLOWEST`` to the amplifier's
    low-pass, which is included (Butterworth, order 2).
    """
    spacing = 0.55
    decades = np.arange(np.log10(SLOWEST), np.log10(0.45 * sfreq), spacing)
    poles = np.exp(-2 * np.pi * 10**decades / sfreq)
    zeros = np.exp(-2 * np.pi * 10 ** (decades + spacing * slope / 2) / sfreq)
    pink = zpk2sos(zeros, poles, 1.0)
    return _unit_variance(np.concatenate([pink, butter(2, LOWPASS, fs=sfreq, output="sos")]), sfreq)


def alpha_filter(frequency: float, sfreq: float) -> np.ndarray:
    """Second-order sections that turn white noise into a rhythm of variance one; shape (1, 6)."""
    return _unit_variance(tf2sos(*iirpeak(frequency, 5.0, fs=sfreq)), sfreq)


def alpha_envelope(events: Events, gap: float, sample: np.ndarray) -> np.ndarray:
    """Amplitude of the alpha rhythm: 1 within sequences, ``gap`` between them; shape (samples,)."""
    last, first = _gaps(events)
    moves = np.array([0.3, 0.7]) * events.sfreq
    knots = np.column_stack([last[:, None] + moves, first[:, None] + moves - 0.3 * events.sfreq])
    heights = np.tile([1.0, gap, gap, 1.0], len(knots))
    return np.interp(sample, knots.ravel(), heights, left=gap, right=gap).astype(np.float32)


def blink_course(events: Events, noise: Noise, rng: np.random.Generator) -> np.ndarray:
    """Time course of blinks, of height about one: mostly in gaps, few elsewhere; shape (samples,)."""
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
    positions = channel_positions()
    sources = np.concatenate([smooth_patterns(6, 0.5, person), smooth_patterns(6, 0.5, day)])
    covariance = 0.55 * smooth_kernel(positions, noise.smoothness)
    covariance = covariance + 0.2 * smooth_kernel(positions, 0.25)
    covariance += 0.04 * sources.T @ sources + 0.02 * np.eye(len(gains))
    covariance *= np.outer(gains, gains)
    return covariance * noise.background**2 / np.mean(np.diag(covariance))


def _drift(events: Events, knots: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Slow time courses that restart in each run; shape (sources, samples)."""
    run = np.searchsorted(events.joins, sample, side="right") - 1
    drift = np.empty((knots.shape[1], len(sample)))
    grid = np.arange(knots.shape[2]) * KNOT * events.sfreq
    for which in np.unique(run):
        inside = run == which
        for course, heights in zip(drift, knots[which], strict=True):
            course[inside] = np.interp(sample[inside], grid, heights)
    return drift


def _unit_variance(sections: np.ndarray, sfreq: float) -> np.ndarray:
    """The filter, scaled to keep the variance of white noise."""
    impulse = np.zeros(round(60 * sfreq))
    impulse[0] = 1
    sections = sections.copy()
    sections[0, :3] /= np.linalg.norm(sosfilt(sections, impulse))
    return sections


class _Stream:
    """Filtered white noise, chunk by chunk."""

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

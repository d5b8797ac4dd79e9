"""Simulated recordings: responses of a brain to images, the noise around them, and an ideal observer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, iirpeak, sosfilt, tf2sos, zpk2sos
from scipy.sparse import csr_array

from ..files import one_thread
from ..preprocessing.channels import THINGS_EEG_63_RAW
from ..preprocessing.epochs import running_count
from ..registry import Label
from .experiment import Events, LivelyResponse, Noise, Preset, Response, generator, session_events

EARLY, LATE = "O1 Oz O2 PO7 PO8 POz", "P7 P8 TP9 TP10 PO7 PO8 P5 P6"
AT_ONCE = 256  # presentations whose responses are in memory at once
COURSES = 16  # time courses of the response that is an image's own
COURSES_SLOPE = 0.9  # the k-th has k half cycles and an amplitude of k ** -COURSES_SLOPE
COURSES_SPAN = (0.04, 0.5)  # seconds
SHRINKAGE = 1e-3
ENOUGH = 600  # trials of a session from which an observer knows its noise
CHUNK = 2**17  # samples in memory at once
LOWPASS = 100.0  # Hz, of the amplifier
SLOWEST = 0.05  # Hz, below which the 1/f spectrum is flat
KNOT = 8.0  # seconds between the knots of the drift
STEP = 1e-7  # volts, of the amplifier in version 2
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
    """The recording of one split in one session: float64 (64, samples), 63 channels in volts and the events.

    ``features`` (n_images, dims) are what the brain gets of the images of the split, in image-number
    order; the last channel is the image number at each onset, else zero.
    """
    events = session_events(preset, split, subject, session, seed)
    data = np.zeros((64, events.n_samples))
    features = with_own(features, brain, subject, split, seed)
    shown = features[np.where(events.is_target, 1, events.numbers) - 1]
    shown[events.is_target] = 0
    noise = session_noise(preset.noise, subject, session, seed)
    rng = generator(seed, "recording", subject, session, split)
    if not isinstance(brain.response, LivelyResponse):
        add_responses(data[:-1], events.samples, shown, events.is_target, brain)
        add_noise(data[:-1], events, noise, rng)
    else:
        state = generator(seed, "state", subject, session, split)
        samples, gains = presentations(events, brain.response, state)
        with one_thread():
            add_responses(data[:-1], samples, shown, events.is_target, brain, gains)
            add_noise(data[:-1], events, noise, rng, np.float64)
        data[:-1] = np.rint(data[:-1] / STEP) * STEP
    data[-1, events.samples] = events.numbers
    return data, events


def presentations(
    events: Events, response: LivelyResponse, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Sample at which each response begins, and its gain: attention, and suppression by repetition."""
    n = len(events.numbers)
    shift = np.rint(rng.normal(0, response.jitter, n) * events.sfreq).astype(np.int64)
    attention = np.exp(rng.normal(0, response.attention, n) - response.attention**2 / 2)
    showing = running_count(events.numbers) + 1
    return events.samples + shift, attention * showing**-response.suppression


# -- patterns over the sensors -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Sensors:
    """Names of sensors and their positions (n, 3) on the unit sphere: x right, y front, z up."""

    names: tuple[str, ...]
    positions: np.ndarray

    def correlation(self, length: float) -> np.ndarray:
        """Gaussian correlation between sensors at a length constant in head radii; shape (n, n)."""
        squared = np.sum((self.positions[:, None] - self.positions[None]) ** 2, axis=-1)
        return np.exp(-squared / (2 * length**2))

    def patterns(self, n: int, length: float, rng: np.random.Generator) -> np.ndarray:
        """Random patterns of variance one with this correlation; shape (n, sensors)."""
        kernel = self.correlation(length) + 1e-6 * np.eye(len(self.names))
        return rng.normal(size=(n, len(kernel))) @ np.linalg.cholesky(kernel).T

    def near(self, centers: str, width: float) -> np.ndarray:
        """A Gaussian of the distance to the nearest of the sensors whose names begin so; shape (sensors,)."""
        starts = tuple(centers.split())
        at = self.positions[[name.startswith(starts) for name in self.names]]
        squared = np.sum((self.positions[:, None] - at[None]) ** 2, axis=-1).min(axis=1)
        return np.exp(-squared / (2 * width**2))

    def topographies(
        self, dims: tuple[int, int], rng: np.random.Generator, early: str, late: str, width: float
    ) -> np.ndarray:
        """Patterns of early features near some sensors, and of late ones near others; (dims, sensors)."""
        first = self.patterns(dims[0], 0.35, rng) * self.near(early, 0.45)
        return np.concatenate([first, self.patterns(dims[1], 0.5, rng) * self.near(late, width)])


@cache
def scalp() -> Sensors:
    """The 63 channels of THINGS-EEG2, where MNE's ``easycap-M1`` has them."""
    from mne.channels import make_standard_montage

    places = make_standard_montage("easycap-M1").get_positions()["ch_pos"]
    positions = np.array([places[name] for name in THINGS_EEG_63_RAW])
    positions /= np.linalg.norm(positions, axis=1, keepdims=True)
    positions.setflags(write=False)
    return Sensors(THINGS_EEG_63_RAW, positions)


# -- responses -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Brain:
    """The responses of a subject in volts, sampled from image onset on: float32, in version 2 float64."""

    weights: np.ndarray  # response to one unit of each feature, (dims, chans, times)
    common: np.ndarray  # response to any image, (chans, times)
    target: np.ndarray  # additional response to a target, (chans, times)
    response: Response = Response()
    courses: np.ndarray | None = None  # of what is an image's own, (COURSES, times)

    def respond(self, features: np.ndarray) -> np.ndarray:
        """Responses ``(n, chans, times)`` to images with features ``(n, dims)``, unique ones included."""
        dims, *shape = self.weights.shape
        specific = features[:, :dims].astype(self.weights.dtype) @ self.weights.reshape(dims, -1)
        responses = specific.reshape(-1, *shape) + self.common
        if self.courses is not None and features.shape[1] > dims:
            responses += features[:, dims:].reshape(-1, shape[0], COURSES) @ self.courses
        return responses

    def expected(self, features: np.ndarray, sfreq: float, showings: int) -> np.ndarray:
        """:meth:`respond`, averaged over ``showings`` presentations of each image in a recording."""
        response, responses = self.response, self.respond(features)
        if not isinstance(response, LivelyResponse):
            return responses
        gain = np.mean(np.arange(1, showings + 1.0) ** -response.suppression)
        return gain * gaussian_filter1d(responses, response.jitter * sfreq, axis=2)


def subject_brain(
    response: Response, dims: tuple[int, int], subject: Label, seed: int, sfreq: float
) -> Brain:
    """The brain of a subject; ``dims`` are the early and late feature dimensions.

    Topographies are partly shared, latencies shifted as a whole and a little for each feature.
    """
    rng = generator(seed, "brain", subject)
    gain = np.exp(rng.normal(0, response.gain_sd) - response.gain_sd**2 / 2)
    shift = rng.normal(0, response.latency_sd)
    times = np.arange(round(response.duration * sfreq)) / sfreq
    share = np.sqrt([1 - response.individuality, response.individuality])
    everybody = generator(seed, "brain", "all")
    shared, own = (scalp().topographies(dims, r, EARLY, LATE, 0.5) for r in (everybody, rng))
    peaks, widths = moments(response, dims, generator(seed, "kernels"))
    peaks = peaks + shift + rng.normal(0, 0.004, len(peaks))
    amplitude = np.repeat([response.early_gain, response.late_gain], dims)
    kind: type = np.float32
    rebound = 0.5
    if isinstance(response, LivelyResponse):
        kind, rebound = np.float64, response.rebound
        amplitude = amplitude * np.exp(rng.normal(0, response.weight_sd, sum(dims)))
    weights = np.einsum(
        "k,kc,kt->kct",
        gain * amplitude,
        share[0] * shared + share[1] * own,
        kernels(times, peaks, widths, rebound),
    )
    return Brain(
        weights=weights.astype(kind),
        common=gain * _common(response, times, shift),
        target=gain * _target(response, times, shift),
        response=response,
        courses=_courses(response, times),
    )


def _courses(response: Response, times: np.ndarray) -> np.ndarray | None:
    """Time courses of the response unique to an image, strongest when slow; None if there is none."""
    if not isinstance(response, LivelyResponse) or not response.own_gain:
        return None
    order = np.arange(1, COURSES + 1)[:, None]
    heights = order**-COURSES_SLOPE
    start, stop = COURSES_SPAN
    span = np.clip((times - start) / (stop - start), 0, 1)
    waves = heights * np.cos(np.pi * order * span) * np.sin(np.pi * span) ** 0.5
    return response.own_gain * waves / np.sqrt(np.sum(heights**2) / 2)


def with_own(
    features: np.ndarray, brain: Brain, subject: Label, split: str, seed: int
) -> np.ndarray:
    """Features of the images of a split, followed by those unique to one image and one subject.

    These are drawn: what an image evokes and no feature explains. Shape (n_images, dims + chans * COURSES).
    """
    if brain.courses is None:
        return features
    rng = generator(seed, "own", subject, split)
    own = rng.standard_normal((len(features), COURSES, 63), dtype=np.float32)
    covariance = (_covariance() + 0.02 * np.eye(63)) / 0.77
    with one_thread():
        own = own @ np.linalg.cholesky(covariance).T.astype(np.float32)
    own = np.round(own.swapaxes(1, 2), 4).reshape(len(features), -1)
    return np.hstack([features, own])


def moments(
    response: Response, dims: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Peak latencies and widths of the kernels of all dimensions, in seconds."""
    early, late = dims
    peaks = [rng.uniform(*response.early_peak, early), rng.uniform(*response.late_peak, late)]
    widths = [rng.uniform(*response.early_width, early), rng.uniform(*response.late_width, late)]
    return np.concatenate(peaks), np.concatenate(widths)


def kernels(
    times: np.ndarray, peaks: np.ndarray, widths: np.ndarray, rebound: float = 0.5
) -> np.ndarray:
    """Time courses with a peak of height one, a slower rebound, and zero at onset; shape (n, times)."""
    after = times[None] - peaks[:, None]
    peak = np.exp(-(after**2) / (2 * widths[:, None] ** 2))
    delay, slow = 2.6 * widths[:, None], 1.5 * widths[:, None]
    after = rebound * np.exp(-((after - delay) ** 2) / (2 * slow**2))
    onset = np.clip((times - 0.03) / 0.02, 0, 1)
    ending = np.clip((times[-1] - times) / 0.05, 0, 1)
    courses = (peak - after) * onset * ending
    return courses / courses.max(axis=1, keepdims=True)


def _common(response: Response, times: np.ndarray, shift: float) -> np.ndarray:
    """P1, N1 and P2 of every image over the back of the head; shape (chans, times)."""
    near = scalp().near
    places = np.stack([near("O1 Oz O2", 0.5), near("P7 P8", 0.5), near("Pz", 0.6)])
    waves = kernels(times, np.array([0.1, 0.165, 0.23]) + shift, np.array([0.018, 0.024, 0.04]))
    common = np.einsum("k,kc,kt->ct", np.array([1.0, -0.9, 0.6]), places, waves)
    return (response.common_gain * common).astype(np.float32)


def _target(response: Response, times: np.ndarray, shift: float) -> np.ndarray:
    """The P3 to a target; shape (chans, times)."""
    wave = kernels(times, np.array([0.42]) + shift, np.array([0.07]))[0]
    place = scalp().near("Pz CPz", 0.6)
    return (response.target_gain * np.outer(place, wave)).astype(np.float32)


def add_responses(
    data: np.ndarray,
    samples: np.ndarray,
    features: np.ndarray,
    targets: np.ndarray,
    brain: Brain,
    gains: np.ndarray | None = None,
) -> None:
    """Add overlapping responses to all presentations to a recording (chans, samples), in place."""
    length = brain.common.shape[1]
    for first in range(0, len(samples), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        responses = brain.respond(features[part])
        responses[targets[part]] += brain.target
        if gains is not None:
            responses *= gains[part, None, None]
        for sample, response in zip(samples[part].tolist(), responses, strict=True):
            window = data[:, sample : sample + length]
            window += response[:, : window.shape[1]]


# -- noise ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SessionNoise:
    """The noise of a subject in a session; patterns in volts over the 63 channels."""

    background: np.ndarray  # covariance of the 1/f activity in square volts, (chans, chans)
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
    patterns, near = scalp().patterns, scalp().near
    alpha = patterns(4, 0.6, person) + 0.3 * patterns(4, 0.6, day)
    alpha = strength * noise.alpha / 2 * alpha * (0.25 + near("POz Oz Pz", 0.6))
    return SessionNoise(
        background=_background(noise, gains, person, day),
        alpha=alpha,
        alpha_frequency=float(np.clip(person.normal(10, 0.7), 8.5, 11.5)),
        blink=noise.blink * np.exp(day.normal(0, 0.1)) * near("Fp1 Fp2", 0.5),
        line=noise.line * patterns(1, 0.8, day)[0],
        drift=noise.drift / 2 * patterns(4, 0.8, day),
        constants=noise,
    )


def add_noise(
    data: np.ndarray,
    events: Events,
    noise: SessionNoise,
    rng: np.random.Generator,
    kind: type = np.float32,
) -> None:
    """Add noise to a recording ``(chans, samples)`` in volts, in place, chunk by chunk in time."""
    background_rng, alpha_rng, sensor_rng, slow_rng = rng.spawn(4)
    mixing: np.ndarray = np.linalg.cholesky(noise.background).astype(kind)
    colored = _Stream(background_filter(noise.constants.slope, events.sfreq), 63, background_rng)
    peak = tf2sos(*iirpeak(noise.alpha_frequency, 5.0, fs=events.sfreq))
    rhythm = _Stream(_unit_variance(peak, events.sfreq), len(noise.alpha), alpha_rng)
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
        part += noise.alpha.T.astype(kind) @ (
            rhythm.take(len(sample)) * alpha_envelope(events, noise.constants.alpha_gap, sample)
        )
        white = sensor_rng.standard_normal(part.shape, dtype=np.float32)
        part += kind(noise.constants.sensor) * white
        line = np.sin(2 * np.pi * frequency * sample / sfreq + phase)
        slow = np.stack([line, blinks[sample], *_drift(events, knots, sample)])
        patterns = np.stack([noise.line, noise.blink, *noise.drift])
        data[:, first : first + CHUNK] += part + patterns.T @ slow


def background_filter(slope: float, sfreq: float) -> np.ndarray:
    """Second-order sections (n, 6) that give white noise variance one and power ``f ** -slope``.

    Poles and zeros alternate evenly on the logarithmic frequency axis, from ``SLOWEST`` to the
    amplifier's low-pass, which is included (Butterworth, order 2).
    """
    spacing = 0.55
    decades = np.arange(np.log10(SLOWEST), np.log10(0.45 * sfreq), spacing)
    poles = np.exp(-2 * np.pi * 10**decades / sfreq)
    zeros = np.exp(-2 * np.pi * 10 ** (decades + spacing * slope / 2) / sfreq)
    pink = zpk2sos(zeros, poles, 1.0)
    return _unit_variance(np.concatenate([pink, butter(2, LOWPASS, fs=sfreq, output="sos")]), sfreq)


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
    sources = np.concatenate([scalp().patterns(6, 0.5, rng) for rng in (person, day)])
    covariance = _covariance(noise.smoothness)
    covariance += 0.04 * sources.T @ sources + 0.02 * np.eye(len(gains))
    covariance *= np.outer(gains, gains)
    return covariance * noise.background**2 / np.mean(np.diag(covariance))


def _covariance(length: float = 0.6) -> np.ndarray:
    """Covariance over the scalp of all background activity."""
    return 0.55 * scalp().correlation(length) + 0.2 * scalp().correlation(0.25)


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


# -- an ideal observer, who knows the true responses --------------------------------------------------------


def separable_covariance(residuals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covariance of trials ``(n, chans, times)`` as factors over channels, and over times (of that trace)."""
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
    """Log likelihood of each candidate, summed over the trials of each image; (images, images), by query.

    Of trials ``(n, chans, times)`` of one session, ``rows`` says which image each shows, ``used`` which are
    scored; ``templates`` ``(images, chans, times)`` are true responses.
    """
    residuals = trials - templates[rows]
    common = residuals.mean(axis=0)
    some = residuals[:: max(1, len(trials) // ENOUGH)]
    spatial, temporal = separable_covariance(some - common)
    n_images, n_chans, n_times = templates.shape
    # divide templates by the covariance in two large products
    by_channel = templates.swapaxes(0, 1).reshape(n_chans, -1)
    whiter = (np.linalg.inv(spatial) @ by_channel).reshape(n_chans, n_images, n_times)
    whiter = np.ascontiguousarray(whiter.swapaxes(0, 1)).reshape(-1, n_times)
    filters = (whiter @ np.linalg.inv(temporal)).reshape(n_images, -1)
    power = (filters * templates.reshape(n_images, -1)).sum(axis=1)
    shown = rows[used]
    counts = np.bincount(shown, minlength=n_images)[:, None]
    ones = np.ones(len(shown), trials.dtype)
    shows = csr_array((ones, (shown, np.arange(len(shown)))), shape=(n_images, len(shown)))
    sums = shows @ trials[used].reshape(len(shown), -1) - counts * common.ravel()
    return sums @ filters.T - counts * power / 2


def top_accuracy(scores: np.ndarray, k: int) -> float:
    """Share of queries whose own candidate, on the diagonal, is among the first ``k``; ties are misses."""
    ahead = (scores >= np.diag(scores)[:, None]).sum(axis=1) - 1
    return float(np.mean(ahead < k))


def ceiling(
    sessions: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    templates: np.ndarray,
    mapped: Callable[..., Iterable[np.ndarray]] = map,
) -> dict[str, float]:
    """The accuracy of the ideal observer: ``ceiling_top1`` and ``ceiling_top5``, in 0..1.

    Sessions are trials, rows and used as for :func:`log_likelihoods`; ``mapped`` is ``map`` or
    ``in_threads``.
    """

    def of_session(session: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
        with one_thread():
            trials, rows, used = session
            return log_likelihoods(trials, rows, templates, used)

    scores = sum(mapped(of_session, sessions), np.zeros((len(templates), len(templates))))
    return {"ceiling_top1": top_accuracy(scores, 1), "ceiling_top5": top_accuracy(scores, 5)}

"""The simulated experiment: its constants, and which image is shown when, as in THINGS-EEG2.

A session has runs, a run has blocks, a block has sequences of images at a fast pace with a gap between
sequences; at most one image of a sequence is a target. Sessions 1 and 2 split the training concepts between
them, and sessions 3 and 4 split them differently, so that every training image is in exactly two sessions.
Names of fields are part of the digests that identify simulated data: renaming one makes old files foreign.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import numpy as np

from ..errors import UsageError
from ..files import sha256
from ..registry import Label, unknown_name

TARGET = 99999  # its image number
N_SESSIONS = 4
SHOWINGS = 2  # of each training image in each of its two sessions


@dataclass(frozen=True)
class Run:
    """The runs of one split in one session."""

    runs: int
    blocks: int  # per run
    sequences: int  # per block
    targets: int  # sequences of a block with a target, one each

    def slots(self, length: int) -> int:
        """Image presentations per session without targets, at ``length`` images per sequence."""
        return self.runs * self.blocks * (self.sequences * length - self.targets)


@dataclass(frozen=True)
class Timing:
    """The timing of image onsets, in seconds; the defaults are from the 240 event lists of THINGS-EEG2."""

    soa: float = 0.19992  # stimulus onset asynchrony within a sequence
    soa_sd: float = 0.00042  # without slips
    slip: float = 1.0e-4  # probability of a delayed frame
    slip_length: float = 0.167  # longest delay
    gap_floor: float = 1.532  # last onset of a sequence to the first of the next: this
    gap_mean: float = 2.283
    gap_shape: float = 3.0  # plus a gamma variable of this shape
    gap_ceiling: float = 3.7
    lead: float = 15.0  # before the first onset of a run
    rest: float = 20.0  # mean, between blocks
    tail: float = 5.0  # after the last onset of a run


@dataclass(frozen=True)
class Response:
    """The brain's responses to image features; amplitudes in volts, times in seconds.

    The early component is visual. Features have a standard deviation of ``k ** -spectrum`` in the k-th
    dimension of a component; gains are peak responses to one standard deviation of the first.
    """

    early_dims: int = 32
    late_dims: int = 16
    spectrum: float = 0.3
    early_gain: float = 0.6e-6
    late_gain: float = 0.48e-6
    early_peak: tuple[float, float] = (0.09, 0.13)  # range of peak latencies
    late_peak: tuple[float, float] = (0.18, 0.40)
    early_width: tuple[float, float] = (0.012, 0.025)  # range of standard deviations of the kernels
    late_width: tuple[float, float] = (0.03, 0.06)
    common_gain: float = 4e-6  # peak response to any image
    target_gain: float = 6e-6  # peak of the additional response to targets
    duration: float = 0.8
    individuality: float = 0.68  # share of the variance of topographies that is a subject's own
    gain_sd: float = 0.2  # over subjects, of the logarithm of the gain
    latency_sd: float = 0.008  # over subjects


@dataclass(frozen=True)
class LivelyResponse(Response):
    """Responses of version 2: part of them is to what a picture means, and none is the same twice.

    The late dimensions are the meaning of the picture, which the generator draws: the category, the concept
    and the exemplar each have a share of its variance.
    """

    early_dims: int = 24
    late_dims: int = 32
    early_width: tuple[float, float] = (0.0075, 0.015)
    late_width: tuple[float, float] = (0.016, 0.032)
    rebound: float = 0.66  # of a kernel, relative to its peak: about as much below zero as above
    shares: tuple[float, float, float] = (0.3, 0.4, 0.3)
    weight_sd: float = 0.5  # over subjects and dimensions, of the log gain of a dimension
    saturation: float = 2.0  # standard deviations at which a dimension levels off
    jitter: float = 0.006  # seconds, standard deviation of the latency over presentations
    attention: float = 0.3  # over presentations, of the logarithm of the gain
    suppression: float = 0.1  # the n-th presentation in a recording has a gain of n ** -suppression
    own_gain: float = 0.0  # volts, of the part that belongs to one image and one subject alone


@dataclass(frozen=True)
class Noise:
    """Everything else that is recorded; amplitudes in volts RMS unless stated otherwise."""

    background: float = 9e-6  # 1/f activity, mean over channels
    slope: float = 1.2  # its power falls as f ** -slope
    smoothness: float = 0.6  # length constant of its correlation over the scalp, in head radii
    alpha: float = 2.5e-6  # alpha rhythm within sequences
    alpha_gap: float = 2.0  # factor by which it grows in gaps
    sensor: float = 0.7e-6  # white noise of each channel
    blink: float = 90e-6  # peak at the frontal pole
    blink_gap: float = 0.7  # probability of a blink in a gap
    blink_rate: float = 0.01  # blinks per second elsewhere
    line: float = 1.5e-6  # peak amplitude of line noise
    line_frequency: float = 50.0  # Hz
    drift: float = 10e-6
    session_sd: float = 0.2  # over channels and sessions, of the log of a channel's noise gain


@dataclass(frozen=True)
class Preset:
    """A simulated experiment; UsageError if the images do not fit into the runs, or a count is impossible."""

    name: str
    concepts: int  # training concepts
    images_per_concept: int
    test_images: int  # each of a concept of its own
    train: Run
    test: Run
    sfreq: float = 1000.0  # Hz
    image_size: int = 128  # height and width in pixels
    subjects: int = 10
    sequence: int = 20  # images in a sequence, including the target
    timing: Timing = field(default_factory=Timing)
    response: Response = field(default_factory=Response)
    noise: Noise = field(default_factory=Noise)

    def __post_init__(self) -> None:
        n, both = self.concepts, (self.train, self.test)
        limits = {
            "at least 4 training concepts, an even number": n >= 4 and n % 2 == 0,
            "1 to 99 images per concept": 1 <= self.images_per_concept <= 99,
            "at least 2 test images": self.test_images >= 2,
            "at least 1 subject": self.subjects >= 1,
            "images of 16 pixels or more": self.image_size >= 16,
            "a sampling rate of 125 Hz or more": self.sfreq >= 125,
            "sequences of at least 2 images": self.sequence >= 2,
            "no more targets than sequences": all(run.targets <= run.sequences for run in both),
        }
        for limit, holds in limits.items():
            if not holds:
                raise UsageError(f"the preset {self.name!r} needs {limit}", "change the preset")
        shown = {"train": SHOWINGS * (n // 2) * self.images_per_concept, "test": self.test_images}
        for split, needed in shown.items():
            slots = getattr(self, split).slots(self.sequence)
            if slots < needed:
                raise UsageError(
                    f"the preset {self.name!r} needs room for {needed} presentations in the {split} runs "
                    f"of a session, and has {slots}",
                    f"give {split} more runs, blocks or sequences",
                )

    @property
    def version(self) -> int:
        """Of the simulator: 1, or 2 with a :class:`LivelyResponse`."""
        return 2 if isinstance(self.response, LivelyResponse) else 1

    @cached_property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of all constants but the name."""
        constants = {key: value for key, value in asdict(self).items() if key != "name"}
        return sha256(json.dumps(constants, sort_keys=True))[:16]


BRIEF = Timing(lead=2.0, rest=4.0, tail=2.0)


SIZES: list[tuple[Preset, LivelyResponse]] = [
    (
        Preset(
            name="tiny",
            concepts=24,
            images_per_concept=4,
            test_images=16,
            train=Run(runs=2, blocks=1, sequences=3, targets=1),
            test=Run(runs=1, blocks=1, sequences=5, targets=2),
            sfreq=250.0,
            image_size=64,
            timing=BRIEF,
            response=Response(early_gain=3e-6, late_gain=2.4e-6),
        ),
        LivelyResponse(early_gain=3e-6, late_gain=2.4e-6),
    ),
    (
        Preset(
            name="small",
            concepts=160,
            images_per_concept=10,
            test_images=200,
            train=Run(runs=3, blocks=3, sequences=9, targets=1),
            test=Run(runs=1, blocks=1, sequences=41, targets=5),
            sfreq=250.0,
            timing=BRIEF,
            response=Response(early_gain=0.9e-6, late_gain=0.7e-6),
        ),
        LivelyResponse(
            early_gain=9e-6, late_gain=7.2e-6, own_gain=3.5e-6, individuality=0.5, weight_sd=0.35
        ),
    ),
    (
        Preset(
            name="full",
            concepts=1654,
            images_per_concept=10,
            test_images=200,
            train=Run(runs=5, blocks=3, sequences=56, targets=6),
            test=Run(runs=1, blocks=4, sequences=51, targets=6),
        ),
        LivelyResponse(),
    ),
]
"""What the versions of the simulator have in common, with the responses of version 1; those of version 2."""

PRESETS: dict[str, Preset] = {
    size.name: replace(size, response=lively, noise=Noise(slope=1.8)) for size, lively in SIZES
}
PRESETS["small"] = replace(
    PRESETS["small"],
    concepts=120,
    train=Run(runs=3, blocks=3, sequences=7, targets=1),
    test=Run(runs=1, blocks=1, sequences=62, targets=8),
)
PRESETS |= {f"{size.name}-v1": replace(size, name=f"{size.name}-v1") for size, _ in SIZES}


def preset_named(preset: str | Preset) -> Preset:
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise unknown_name("preset", preset, list(PRESETS))
    return PRESETS[preset]


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A random generator for one purpose, such as ``"noise", subject, session``, of an experiment's seed."""
    words = [zlib.crc32(str(part).encode()) for part in purpose]
    return np.random.default_rng([seed, len(words), *words])


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
        return int(self.joins[-1])

    @property
    def is_target(self) -> np.ndarray:
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
    """Indices of the training concepts of a session: halves of a split in 1 and 2, of another in 3 and 4."""
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
    """Image numbers in random order: training images twice, test images equally often, then random ones."""
    each = SHOWINGS if split == "train" else slots // len(numbers)
    rest = slots - each * len(numbers)
    extra = rng.choice(numbers, rest, replace=split == "train" or rest > len(numbers))
    return rng.permutation(np.concatenate([np.tile(numbers, each), extra]))


def _place_targets(
    numbers: np.ndarray, run: Run, length: int, rng: np.random.Generator
) -> np.ndarray:
    """Image numbers with a target in some sequences of each block, (runs, blocks, sequences, length)."""
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

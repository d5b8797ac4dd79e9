"""The events of a session: which image is shown when, as in THINGS-EEG2.

A session has runs, a run has blocks, a block has sequences of images at a fast pace with a gap between
sequences; at most one image of a sequence is a target. Sessions 1 and 2 share the training concepts
between them, and so do sessions 3 and 4 in another way, so that every training image is in exactly two
sessions. The constants are in :mod:`.presets`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .constants import Run, Timing
from .presets import SHOWINGS, Preset
from .seeds import generator

TARGET = 99999


@dataclass(frozen=True, eq=False)
class Events:
    """What is shown in the recording of one split in one session.

    Parameters
    ----------
    samples : ndarray of int, shape (n_showings,)
        Onsets in samples.
    numbers : ndarray of int, shape (n_showings,)
        Image numbers; ``TARGET`` for targets.
    positions : ndarray of int, shape (n_showings, 4)
        Run, block, sequence and place in the sequence, each from 1.
    joins : ndarray of int, shape (runs + 1,)
        First sample of each run, and the number of samples.
    sfreq : float
        Samples per second.
    """

    samples: np.ndarray
    numbers: np.ndarray
    positions: np.ndarray
    joins: np.ndarray
    sfreq: float

    @property
    def n_samples(self) -> int:
        """Length of the recording."""
        return int(self.joins[-1])

    @property
    def is_target(self) -> np.ndarray:
        """Which showings are targets; bool, shape (n_showings,)."""
        return self.numbers == TARGET

    @property
    def ends_sequence(self) -> np.ndarray:
        """Which showings are the last of their sequence; bool, shape (n_showings,)."""
        return np.append(np.any(np.diff(self.positions[:, :3], axis=0) != 0, axis=1), True)


def session_concepts(preset: Preset, subject: int, session: int, seed: int) -> np.ndarray:
    """The training concepts of a session, as sorted indices from 0.

    Sessions 1 and 2 are the halves of one random split, sessions 3 and 4 those of another.
    """
    pair, half = divmod(session - 1, 2)
    order = generator(seed, "halves", subject, pair).permutation(preset.concepts)
    return np.sort(order[half * preset.concepts // 2 : (half + 1) * preset.concepts // 2])


def session_numbers(
    preset: Preset, subject: int, session: int, split: str, seed: int
) -> np.ndarray:
    """The numbers of the images of a session, in ascending order."""
    if split == "test":
        return np.arange(1, preset.test_images + 1)
    concepts = session_concepts(preset, subject, session, seed)
    within = np.arange(1, preset.images_per_concept + 1)
    return (concepts[:, None] * preset.images_per_concept + within).ravel()


def showings(numbers: np.ndarray, slots: int, split: str, rng: np.random.Generator) -> np.ndarray:
    """Image numbers in the random order in which they fill the slots of a session.

    Training images are shown twice, and images drawn at random fill the rest; test images are shown
    equally often but for the rest, which goes to different images.
    """
    each = SHOWINGS if split == "train" else slots // len(numbers)
    rest = slots - each * len(numbers)
    extra = rng.choice(numbers, rest, replace=split == "train" or rest > len(numbers))
    return rng.permutation(np.concatenate([np.tile(numbers, each), extra]))


def place_targets(
    numbers: np.ndarray, run: Run, length: int, rng: np.random.Generator
) -> np.ndarray:
    """Image numbers with targets put in; shape (runs, blocks, sequences, length).

    In each block ``run.targets`` sequences, drawn at random, get one target at place 2 or later.
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


def session_events(preset: Preset, split: str, subject: int, session: int, seed: int) -> Events:
    """The events of one split in one session of a subject."""
    run: Run = getattr(preset, split)
    rng = generator(seed, "design", subject, session, split)
    images = session_numbers(preset, subject, session, split, seed)
    order = showings(images, run.slots(preset.sequence), split, rng)
    laid = place_targets(order, run, preset.sequence, rng)
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

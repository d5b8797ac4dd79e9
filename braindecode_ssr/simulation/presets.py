"""The constants of a simulated experiment: structure of runs, timing, responses, noise."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import asdict, dataclass, field

import numpy as np

from ..errors import UsageError
from ..registry import unknown_name


@dataclass(frozen=True)
class Run:
    """The structure of the runs of one split in one session.

    Parameters
    ----------
    runs, blocks, sequences : int
        Recorded runs per session, blocks per run, sequences per block.
    targets : int
        Target sequences per block; each holds one target.
    """

    runs: int
    blocks: int
    sequences: int
    targets: int

    def slots(self, length: int) -> int:
        """Image showings per session, targets left out, at ``length`` images per sequence."""
        return self.runs * self.blocks * (self.sequences * length - self.targets)


@dataclass(frozen=True)
class Timing:
    """The timing of image onsets, in seconds.

    The defaults are read off the 240 event lists of THINGS-EEG2.

    Parameters
    ----------
    soa, soa_sd : float
        Onset asynchrony within a sequence and its spread without slips.
    slip, slip_length : float
        Probability of a slipped frame sequence, and the longest slip.
    gap_floor, gap_mean, gap_shape, gap_ceiling : float
        Last onset of a sequence to the first of the next: floor plus a gamma variable of that shape.
    lead, rest, tail : float
        Before the first onset of a run, between blocks (mean), after the last onset of a run.
    """

    soa: float = 0.19992
    soa_sd: float = 0.00042
    slip: float = 1.0e-4
    slip_length: float = 0.167
    gap_floor: float = 1.532
    gap_mean: float = 2.283
    gap_shape: float = 3.0
    gap_ceiling: float = 3.7
    lead: float = 15.0
    rest: float = 20.0
    tail: float = 5.0


@dataclass(frozen=True)
class Response:
    """What the brain makes of what the eye gets; amplitudes in volts, times in seconds.

    Parameters
    ----------
    early_dims, late_dims : int
        Feature dimensions of the early (visual) and the late component.
    spectrum : float
        Standard deviation of the k-th dimension of a component is ``k ** -spectrum``.
    early_gain, late_gain : float
        Peak response to one standard deviation of the first dimension.
    early_peak, late_peak : tuple of float
        Range of peak latencies.
    early_width, late_width : tuple of float
        Range of the standard deviations of the Gaussian kernels.
    common_gain : float
        Peak of the response that all images share.
    target_gain : float
        Peak of the additional response to targets.
    duration : float
        Length of a response.
    individuality : float
        Share of the variance of each topography that is a subject's own.
    gain_sd : float
        Standard deviation over subjects of the logarithm of the gain.
    latency_sd : float
        Standard deviation over subjects of the latency shift.
    """

    early_dims: int = 32
    late_dims: int = 16
    spectrum: float = 0.3
    early_gain: float = 0.6e-6
    late_gain: float = 0.48e-6
    early_peak: tuple[float, float] = (0.09, 0.13)
    late_peak: tuple[float, float] = (0.18, 0.40)
    early_width: tuple[float, float] = (0.012, 0.025)
    late_width: tuple[float, float] = (0.03, 0.06)
    common_gain: float = 4e-6
    target_gain: float = 6e-6
    duration: float = 0.8
    individuality: float = 0.68
    gain_sd: float = 0.2
    latency_sd: float = 0.008


@dataclass(frozen=True)
class Noise:
    """What is recorded besides the responses; amplitudes in volts rms where nothing else is said.

    Parameters
    ----------
    background : float
        1/f activity, mean over channels.
    slope : float
        Its power falls as ``f ** -slope``.
    smoothness : float
        Length constant of the correlation over the scalp, in head radii.
    alpha, alpha_gap : float
        Alpha rhythm within sequences, and the factor by which it grows in gaps.
    sensor : float
        White noise of each channel.
    blink : float
        Peak of a blink at the frontal pole.
    blink_gap, blink_rate : float
        Probability of a blink in a gap; blinks per second elsewhere.
    line, line_frequency : float
        Amplitude (peak) and frequency in Hz of the mains.
    drift : float
        Slow drift.
    session_sd : float
        Standard deviation over channels and sessions of the logarithm of the gain of a channel's noise.
    """

    background: float = 9e-6
    slope: float = 1.2
    smoothness: float = 0.6
    alpha: float = 2.5e-6
    alpha_gap: float = 2.0
    sensor: float = 0.7e-6
    blink: float = 90e-6
    blink_gap: float = 0.7
    blink_rate: float = 0.01
    line: float = 1.5e-6
    line_frequency: float = 50.0
    drift: float = 10e-6
    session_sd: float = 0.2


N_SESSIONS = 4
SHOWINGS = 2  # of each training image in each of its two sessions


@dataclass(frozen=True)
class Preset:
    """A simulated experiment.

    Parameters
    ----------
    concepts, images_per_concept : int
        Training concepts, and images of each.
    test_images : int
        Test images, each of a concept of its own.
    train, test : Run
        Structure of a session.
    sfreq : float
        Sampling rate in Hz.
    image_size : int
        Edge of the square images, in pixels.
    subjects : int
        How many there are.
    sequence : int
        Images in a sequence, the target included.
    timing, response, noise : Timing, Response, Noise
        The constants of these.

    Raises
    ------
    UsageError
        If the images do not fit into the runs, or a count is not admissible.
    """

    name: str
    concepts: int
    images_per_concept: int
    test_images: int
    train: Run
    test: Run
    sfreq: float = 1000.0
    image_size: int = 128
    subjects: int = 10
    sequence: int = 20
    timing: Timing = field(default_factory=Timing)
    response: Response = field(default_factory=Response)
    noise: Noise = field(default_factory=Noise)

    def __post_init__(self) -> None:
        check_preset(self)

    @property
    def digest(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of all constants but the name."""
        constants = {key: value for key, value in asdict(self).items() if key != "name"}
        text = json.dumps(constants, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def session_images(self) -> int:
        """Different training images in a session."""
        return self.concepts // 2 * self.images_per_concept


def check_preset(preset: Preset) -> None:
    """Refuse counts that cannot be laid out.

    Raises
    ------
    UsageError
        Naming the first constant that does not fit.
    """
    counts = {
        "an even number of at least 4 training concepts": preset.concepts >= 4
        and preset.concepts % 2 == 0,
        "1 to 99 images per concept": 1 <= preset.images_per_concept <= 99,
        "at least 2 test images": preset.test_images >= 2,
        "at least 1 subject": preset.subjects >= 1,
        "images of 16 pixels or more": preset.image_size >= 16,
        "a sampling rate of 125 Hz or more": preset.sfreq >= 125,
        "sequences of at least 2 images": preset.sequence >= 2,
        "no more targets than sequences": all(
            run.targets <= run.sequences for run in (preset.train, preset.test)
        ),
    }
    for expected, holds in counts.items():
        if not holds:
            raise UsageError(expected, f"another in preset {preset.name!r}", "change the preset")
    for split, needed in (
        ("train", SHOWINGS * preset.session_images),
        ("test", preset.test_images),
    ):
        slots = getattr(preset, split).slots(preset.sequence)
        if slots < needed:
            raise UsageError(
                f"room for {needed} showings in the {split} runs of a session",
                f"{slots} in preset {preset.name!r}",
                f"give {split} more runs, blocks or sequences",
            )


BRIEF = Timing(lead=2.0, rest=4.0, tail=2.0)

PRESETS: dict[str, Preset] = {
    "tiny": Preset(
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
    "small": Preset(
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
    "full": Preset(
        name="full",
        concepts=1654,
        images_per_concept=10,
        test_images=200,
        train=Run(runs=5, blocks=3, sequences=56, targets=6),
        test=Run(runs=1, blocks=4, sequences=51, targets=6),
    ),
}


def preset_named(preset: str | Preset) -> Preset:
    """A preset by name, or the preset itself.

    Raises
    ------
    UsageError
        If there is none of that name.
    """
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise unknown_name("preset", preset, list(PRESETS))
    return PRESETS[preset]


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A generator for one purpose.

    Parameters
    ----------
    seed : int
        Seed of the whole experiment.
    *purpose : str or int
        What it is for, from coarse to fine: ``("noise", subject, session, split)``.
    """
    words = [zlib.crc32(str(part).encode()) for part in purpose]
    return np.random.default_rng([seed, len(words), *words])

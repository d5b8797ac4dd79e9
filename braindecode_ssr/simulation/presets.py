"""The sizes and constants of simulated experiments: frozen, documented, by name.

``tiny`` is for tests, ``small`` for a first look, ``full`` has the counts of THINGS-EEG2. The smaller the
preset, the stronger its responses, so that fewer training images teach as much; all else is equal.

Calibration, as measured with these constants and seed 0 (200-way, 17 occipital and parietal channels, image
features of the encoder ``pyramid``; trials averaged per test image: all, 10, 1; ridge regression on the
averages, or the contrastive loss with EEGProject; measured once while the gains were set, by a decoder
that is not part of this package, at one fixed ridge penalty; ``docs/numbers.rst`` has what a command gives):

=========================================  ==========  ========  =======
preset and decoder, top-1 in %             all trials  10        1
=========================================  ==========  ========  =======
small, ideal observer, subject 5           100         100       40.0
small, ridge, subjects 1-10, mean          17.9        15.4      3.9
small, ridge, subjects 1-10, range         11.5-24.5   9.0-21.5  2.5-6.5
small, ridge, leave one subject out, mean  6.4         5.7       1.7
full at 250 Hz, ideal observer, subject 1  100         96.0      21.0
full at 250 Hz, contrastive, subject 1     77.5        43.0      4.0
full at 250 Hz, ridge, subject 1           26.0        11.0      2.0
=========================================  ==========  ========  =======
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field

from ..errors import UsageError
from ..registry import unknown_name
from .constants import Noise, Response, Run, Timing

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

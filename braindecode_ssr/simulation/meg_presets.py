"""Sizes of the simulated MEG experiment, named as those of the EEG one.

=======  ========  ==================  ===========  ======  =======  ===================
preset   concepts  images per concept  test images  epochs  sensors  bytes of a subject
=======  ========  ==================  ===========  ======  =======  ===================
tiny     40        3                   16           336     34       13 MB
small    360       6                   100          3,600   136      0.55 GB
full     1,854     12                  200          27,048  271      8.25 GB
=======  ========  ==================  ===========  ======  =======  ===================

All have twelve sessions and four subjects.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UsageError
from ..registry import unknown_name
from .constants import Response

SESSIONS = 12


@dataclass(frozen=True)
class MEGPreset:
    """A simulated MEG experiment; concepts are those of the EEG experiment of the same name.

    Parameters
    ----------
    images_per_concept : int
        Images of each concept that are shown once, by type ``exp``; tested concepts have them too.
    test_images : int
        Images, each of a concept of its own, that are shown in every session.
    catch : int
        Catch trials of a session.
    runs : int
        Recordings of a session.
    every : int
        Each so many-th of the 271 sensors is there.
    response : Response
        What the brain makes of images; amplitudes in units of the background.
    subjects : int
        How many there are.
    """

    name: str
    images_per_concept: int
    test_images: int
    catch: int
    runs: int
    every: int
    response: Response
    subjects: int = 4


def _response(gain: float) -> Response:
    return Response(early_gain=gain, late_gain=0.8 * gain, common_gain=1.0, target_gain=1.0)


PRESETS = {
    preset.name: preset
    for preset in (
        MEGPreset("tiny", 3, test_images=16, catch=2, runs=1, every=8, response=_response(1.0)),
        MEGPreset("small", 6, test_images=100, catch=20, runs=2, every=2, response=_response(0.35)),
        MEGPreset(
            "full", 12, test_images=200, catch=200, runs=10, every=1, response=_response(0.15)
        ),
    )
}


def meg_preset(name: str) -> MEGPreset:
    """A preset by name.

    Raises
    ------
    UsageError
        If there is none of that name.
    """
    if name not in PRESETS:
        raise unknown_name("preset of the MEG layout", name, list(PRESETS))
    return PRESETS[name]


def check_meg_subject(preset: MEGPreset, subject: int) -> int:
    """The subject, if the experiment has it.

    Raises
    ------
    UsageError
        If it has not.
    """
    if not 1 <= subject <= preset.subjects:
        raise UsageError(
            f"a subject of the MEG layout (1 to {preset.subjects})",
            f"subject {subject}",
            "choose one of these with --subject",
        )
    return subject

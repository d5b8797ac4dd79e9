"""Where the BIDS datasets can be had that are read but not fetched."""

from __future__ import annotations

from ..download.source import Source

EEG1_IMAGES = Source(
    what="the images of THINGS, with the password that its page gives",
    place="stimuli",
    urls=("https://osf.io/jum2f/",),
    size=0,
    licence="research use only, not to be redistributed; the owners keep their copyright",
    about=12_000_000_000,
)


def eeg1_source(subject: int) -> Source:
    """The recording of a subject of THINGS-EEG1, at OpenNeuro."""
    label = f"sub-{subject:02d}"
    return Source(
        what=f"THINGS-EEG1 of subject {subject}; for example "
        f"`openneuro-py download --dataset ds003825 --include {label}`",
        place=f"{label}/eeg",
        urls=("https://openneuro.org/datasets/ds003825",),
        size=0,
        licence="CC0",
        about=900_000_000,
    )

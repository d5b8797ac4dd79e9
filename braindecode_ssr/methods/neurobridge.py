"""NeuroBridge: contrast with the mean of four views of the image."""

from .base import Method

NEUROBRIDGE = Method(
    name="neurobridge",
    title="NeuroBridge",
    year=2026,
    source="NeuroBridge, AAAI 2026, arXiv:2511.06836",
    views=("blur", "noise", "low-resolution", "mosaic"),
    settings={"loss": {"name": "neurobridge"}},
    published={
        "things-eeg": {"intra": (63.2, 89.9), "inter": (19.0, 45.9)},
        "things-meg": {"intra": (32.2, 60.8), "inter": (3.4, 12.8)},
    },
    known_to_differ=(
        "The released scripts report the epoch of lowest test loss against a gallery of altered "
        "test images, one seed; the default run keeps the last epoch and ranks original images.",
    ),
)

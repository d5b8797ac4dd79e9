"""Plain contrast with the original images: the baseline every other method adds to."""

from .base import Method

CONTRAST = Method(
    name="contrast",
    title="Contrast",
    year=2021,
    source="symmetric InfoNCE between brain and original image, as CLIP, arXiv:2103.00020",
    settings={"loss": {"name": "contrast"}},
    parameters={
        "things-eeg": {"intra": 0, "inter": 0},
        "things-meg": {"intra": 0, "inter": 0},
    },
    known_to_differ=(
        "Not a published recipe: NeuroBridge without its views. Three publications give 40 to 42 % "
        "top-1 for its like on THINGS-EEG, intra: UBP (vanilla) 42.1, NeuroBridge (no prior) 40.5, "
        "Shallow Alignment (last layer) 40.3.",
    ),
)

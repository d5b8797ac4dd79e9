"""Plain contrast with the original images: the baseline every other method adds to."""

from .base import BACKBONE_BY_PROTOCOL, Method

CONTRAST = Method(
    name="contrast",
    title="Contrast",
    year=2021,
    source="symmetric InfoNCE between brain and original image, as CLIP, arXiv:2103.00020",
    settings={"loss": {"name": "contrast"}},
    settings_of=BACKBONE_BY_PROTOCOL,
    parameters={
        "things-eeg": {"intra": 6_454_272, "inter": 3_680_512},
        "things-meg": {"intra": 57_603_072, "inter": 3_603_712},
    },
    known_to_differ=(
        "Not a published recipe: NeuroBridge without its views. Three publications give 40 to 42 % "
        "top-1 for its like on THINGS-EEG, intra: UBP (vanilla) 42.1, NeuroBridge (no prior) 40.5, "
        "Shallow Alignment (last layer) 40.3.",
    ),
)

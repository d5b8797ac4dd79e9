"""Plain contrast with the original images: the baseline every other method adds to."""

from .base import Method

CONTRAST = Method(
    name="contrast",
    title="Contrast",
    year=2021,
    source="symmetric InfoNCE between brain and original image, as CLIP, arXiv:2103.00020",
    settings={"loss": {"name": "contrast"}},
)

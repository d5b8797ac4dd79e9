"""NeuroBridge's loss: brain embeddings against the pooled views of the images."""

from __future__ import annotations

from .contrast import Contrast
from .similarity import Regime


class NeuroBridge(Contrast):
    """Symmetric contrast of brain embeddings with those of pooled views.

    Source: NeuroBridge (AAAI 2026, arXiv 2511.06836); the original image takes no part.

    Parameters
    ----------
    regime : {"free", "unit"}
        As published, ``"free"``: brain free, image of unit length, scale 2.727.
    """

    def __init__(self, regime: Regime = "free") -> None:
        super().__init__("view", regime)

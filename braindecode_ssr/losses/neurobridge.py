"""NeuroBridge's loss: brain embeddings against the pooled views of the images."""

from __future__ import annotations

from .contrast import Contrast
from .duplicates import Duplicates
from .similarity import Regime


class NeuroBridge(Contrast):
    """Symmetric contrast of brain embeddings with those of pooled views.

    Source: NeuroBridge (AAAI 2026, arXiv 2511.06836); the original image takes no part.

    Parameters
    ----------
    regime : str
        As published, ``"free"``: brain free, image of unit length, scale 2.727.
    scale, duplicates
        As for :class:`~braindecode_ssr.losses.contrast.Contrast`.
    """

    def __init__(
        self,
        regime: Regime = "free",
        scale: float | None = None,
        duplicates: Duplicates = "negatives",
    ) -> None:
        super().__init__("view", regime, scale, duplicates)

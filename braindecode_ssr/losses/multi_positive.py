"""Contrast in which all trials of an image and all its copies in the batch are partners."""

from __future__ import annotations

from .contrast import Contrast, Target
from .duplicates import Duplicates
from .similarity import Regime


class MultiPositive(Contrast):
    """Symmetric contrast that knows which rows show the same image.

    An image shown to several subjects, or several times to one, occurs more than once in a batch. Plain
    contrast then pushes a trial away from the very image it belongs to. With one trial an image, as in
    averaged training data of one subject, this is plain contrast.

    Source: see :func:`~braindecode_ssr.losses.duplicates.duplicate_info_nce`.

    Parameters
    ----------
    target : {"original", "view"}
        Which image embeddings.
    regime, scale
        As for :class:`~braindecode_ssr.losses.contrast.Contrast`.
    duplicates : {"positives", "ignored", "negatives"}
        All partners of each other, or neither partner nor negative.
    """

    def __init__(
        self,
        target: Target = "original",
        regime: Regime = "free",
        scale: float | None = None,
        duplicates: Duplicates = "positives",
    ) -> None:
        super().__init__(target, regime, scale, duplicates)

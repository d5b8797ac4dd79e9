"""Contrast by distances in hyperbolic space."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from ..errors import UsageError
from ..retrieval.hyperbolic import CURVATURE, expmap0, pairwise_distance
from .base import (
    Duplicates,
    as_number,
    check_choice,
    check_duplicates,
    check_embeddings,
    full_precision,
)
from .contrast import Target, contrast_of_logits, symmetric_cross_entropy

SCALE = 100.0


def hyperbolic_info_nce(
    x: Tensor, y: Tensor, scale: float = SCALE, curvature: float = CURVATURE
) -> Tensor:
    r"""Cross-entropy of picking the partner by its Lorentz distance, from x to y and from y to x.

    :func:`~braindecode_ssr.losses.contrast.symmetric_cross_entropy` of
    :math:`S_{ij} = -\mathrm{scale} \cdot d_c(\exp_0 x_i, \exp_0 y_j)`.

    Source: HyFI (AAAI 2026, arXiv 2603.22721).

    Parameters
    ----------
    x, y : Tensor, shape (b, e)
        Tangent vectors at the origin; row i of one belongs to row i of the other.
    scale : float
        Inverse temperature.
    curvature : float
        :math:`c` of a space of curvature :math:`-c`.

    Returns
    -------
    Tensor, shape ()
    """
    return symmetric_cross_entropy(hyperbolic_logits(x, y, scale, curvature))


def hyperbolic_logits(
    x: Tensor, y: Tensor, scale: float = SCALE, curvature: float = CURVATURE
) -> Tensor:
    """Minus the scaled Lorentz distances of the points of tangent vectors (n, e), (m, e); shape (n, m)."""
    points = (expmap0(full_precision(rows), curvature) for rows in (x, y))
    return -scale * pairwise_distance(*points, curvature)


class HyperbolicContrast(nn.Module):
    """Symmetric contrast of brain embeddings with one kind of image embeddings, by their Lorentz distance.

    For models whose embeddings are compared in hyperbolic space, ``space="hyperbolic"``: ranking goes by the
    same distance. The curvature is that of :mod:`braindecode_ssr.retrieval.hyperbolic`.

    Source: HyFI (AAAI 2026, arXiv 2603.22721).

    Parameters
    ----------
    target : {"view", "original"}
        Which image embeddings: of pooled views, as published, or of the original images.
    scale : float
        Constant inverse temperature; published: 100.
    duplicates : {"negatives", "ignored", "positives"}
        What rows of the same image are to each other, see
        :func:`~braindecode_ssr.losses.base.duplicate_info_nce`.
    """

    space: ClassVar[str] = "hyperbolic"

    def __init__(
        self, target: Target = "view", scale: float = SCALE, duplicates: Duplicates = "negatives"
    ) -> None:
        super().__init__()
        self.target = check_choice("target", target, ("original", "view"))
        self.scale = _positive(scale)
        self.duplicates = check_duplicates(duplicates)

    def forward(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The contrast as ``"loss"`` and under the name of its pair.

        Parameters
        ----------
        brain, original, view : Tensor, shape (b, e)
            Tangent vectors at the origin.
        image : Tensor of int, shape (b,), optional
            Index of the image of each row; needed unless duplicates are negatives.

        Returns
        -------
        dict of str to Tensor
            ``"loss"`` and ``"brain_view"`` or ``"brain_original"``.
        """
        check_embeddings(brain, original, view)
        images = original if self.target == "original" else view
        logits = hyperbolic_logits(brain, images, self.scale)
        part = contrast_of_logits(logits, self.duplicates, image)
        return {"loss": part, f"brain_{self.target}": part}


def _positive(scale: float) -> float:
    if not 0 < as_number(scale) < float("inf"):
        raise UsageError(
            "a scale (inverse temperature) above 0", repr(scale), "leave it out for 100"
        )
    return float(scale)

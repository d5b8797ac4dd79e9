"""Contrast by distances in hyperbolic space."""

from __future__ import annotations

from torch import Tensor

from ..retrieval.hyperbolic import CURVATURE, expmap0, pairwise_distance
from .base import ContrastiveLoss, check_choice, check_number, full_precision
from .contrast import DUPLICATES, Duplicates, Target, contrast_of_logits, symmetric_cross_entropy


def hyperbolic_info_nce(
    x: Tensor, y: Tensor, scale: float = 100.0, curvature: float = CURVATURE
) -> Tensor:
    r"""Cross-entropy of picking the partner by its Lorentz distance, from x to y and from y to x.

    The logits are :math:`S_{ij} = -\mathrm{scale} \cdot d_c(\exp_0 x_i, \exp_0 y_j)`.

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


def hyperbolic_logits(x: Tensor, y: Tensor, scale: float, curvature: float = CURVATURE) -> Tensor:
    """Minus the scaled Lorentz distances of the points of tangent vectors (n, e), (m, e); shape (n, m)."""
    x, y = (expmap0(full_precision(rows), curvature) for rows in (x, y))
    return -scale * pairwise_distance(x, y, curvature)


class HyperbolicContrast(ContrastiveLoss):
    """Symmetric contrast of brain embeddings with one kind of image embeddings, by their Lorentz distance.

    For models whose embeddings, tangent vectors at the origin, are compared in hyperbolic space,
    ``space="hyperbolic"``: ranking uses the same distance. The curvature is that of
    :mod:`braindecode_ssr.retrieval.hyperbolic`.

    Source: HyFI (AAAI 2026, arXiv 2603.22721).

    Parameters
    ----------
    target : {"view", "original"}
        Which image embeddings: of pooled views, as published, or of the original images.
    scale : float
        Constant inverse temperature; published: 100.
    duplicates : {"negatives", "ignored", "positives"}
        How rows of the same image count for each other, see
        :func:`~braindecode_ssr.losses.contrast.duplicate_info_nce`.
    """

    space = "hyperbolic"

    def __init__(
        self, target: Target = "view", scale: float = 100.0, duplicates: Duplicates = "negatives"
    ) -> None:
        super().__init__()
        self.target = check_choice("target", target, ("original", "view"))
        self.scale = check_number("scale", scale, "(0, inf)")
        self.duplicates = check_choice("duplicates", duplicates, DUPLICATES)

    def parts(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None
    ) -> dict[str, Tensor]:
        """``brain_view`` or ``brain_original``."""
        images = original if self.target == "original" else view
        logits = hyperbolic_logits(brain, images, self.scale)
        return {f"brain_{self.target}": contrast_of_logits(logits, self.duplicates, image)}

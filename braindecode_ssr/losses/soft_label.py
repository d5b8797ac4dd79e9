"""Contrast with soft labels: similar images share the label."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import Regime, check_choice, check_sizes, full_precision, unit
from .contrast import Contrast, Target, same_image

Among = Literal["image", "all"]


def soft_labels(features: Tensor, top_k: int = 7, same: Tensor | None = None) -> Tensor:
    r"""How the label of each row is distributed over rows.

    .. math:: L_{ij} \propto \max(0, \cos(f_i, f_j)) \; [j = i \,\vee\, j \in \text{top}_k(i)]
              \; [i, j \text{ of the same image}], \qquad \sum_j L_{ij} = 1

    Source: CognitionCapturer (AAAI 2025), soft-label contrast.

    Parameters
    ----------
    features : Tensor, shape (b, d)
    top_k : int
        How many other rows, the most similar ones, may have a share.
    same : Tensor of bool, shape (b, b), optional
        Which rows may share a label; default: all.

    Returns
    -------
    Tensor, shape (b, b)
        Without a gradient.
    """
    with torch.no_grad():
        direction = unit(full_precision(features))
        cosines = (direction @ direction.T).clamp_min(0).fill_diagonal_(1)
        others = cosines.clone().fill_diagonal_(-1)
        nearest = others.topk(min(top_k, len(cosines) - 1), dim=1).indices
        kept = torch.eye(len(cosines), device=cosines.device).scatter_(1, nearest, 1.0)
        shares = cosines * kept if same is None else cosines * kept * same
        return shares / shares.sum(1, keepdim=True)


def soft_info_nce(x: Tensor, y: Tensor, scale: Tensor | float, labels: Tensor) -> Tensor:
    r"""Cross-entropy with labels that are distributed over rows, from x to y and from y to x.

    With :math:`S = \mathrm{scale} \cdot x y^\top`,

    .. math:: L = \frac{1}{2b} \sum_i \Big( \log\sum_j e^{S_{ij}} - \sum_j L_{ij} S_{ij} \Big)
                + \frac{1}{2b} \sum_i \Big( \log\sum_j e^{S_{ji}} - \sum_j L_{ij} S_{ji} \Big).

    Parameters
    ----------
    x, y : Tensor, shape (b, e)
    scale : Tensor or float
    labels : Tensor, shape (b, b)
        Rows sum to 1.

    Returns
    -------
    Tensor, shape ()
    """
    logits = scale * (x @ y.T)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


class SoftLabel(Contrast):
    """Contrast in which rows with similar images share the label.

    As published, only rows of the same image do, and they all get the same share; where each image has one
    row, as in averaged training data of one subject, this is plain contrast. ``among="all"`` gives a share
    to the most similar other images of the batch.

    Source: CognitionCapturer (AAAI 2025). Similarity is that of the embeddings of the originals, detached.

    Parameters
    ----------
    target : {"original", "view"}
        Which image embeddings brains are compared with.
    regime, scale
        As for :class:`~braindecode_ssr.losses.contrast.Contrast`; published: ``"raw"``.
    top_k : int
        How many other rows may share a label; published: 7.
    among : {"image", "all"}
        Which rows may share a label: those of the same image, or all. Without an index of images, each row
        counts as another image.
    """

    def __init__(
        self,
        target: Target = "original",
        regime: Regime = "raw",
        scale: float | None = None,
        top_k: int = 7,
        among: Among = "image",
    ) -> None:
        super().__init__(target, regime, scale)
        check_sizes(top_k=top_k)
        self.top_k, self.among = top_k, check_choice("among", among, ("image", "all"))

    def parts(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None
    ) -> dict[str, Tensor]:
        """``brain_original`` or ``brain_view``."""
        if image is None:
            image = torch.arange(len(brain), device=brain.device)
        same = same_image(image, len(brain)) if self.among == "image" else None
        labels = soft_labels(original, self.top_k, same)
        x, y, scale = self.similarity(brain, self.images(original, view))
        return {f"brain_{self.target}": soft_info_nce(x, y, scale, labels.to(x.dtype))}

"""Contrast with soft labels: alike images share the label."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import (
    Regime,
    Similarity,
    check_choice,
    check_embeddings,
    check_sizes,
    full_precision,
    same_image,
    unit,
)
from .contrast import Contrast, Target

Among = Literal["image", "all"]


def soft_labels(features: Tensor, top_k: int = 7, same: Tensor | None = None) -> Tensor:
    r"""How much of the label of each row belongs to which row.

    .. math:: L_{ij} \propto \max(0, \cos(f_i, f_j)) \; [j = i \,\vee\, j \in \text{top}_k(i)]
              \; [i, j \text{ of the same image}], \qquad \sum_j L_{ij} = 1

    Source: CognitionCapturer (AAAI 2025), soft-label contrast.

    Parameters
    ----------
    features : Tensor, shape (b, d)
    top_k : int
        How many other rows, the most alike ones, may have a share.
    same : Tensor of bool, shape (b, b), optional
        Which rows may share a label; all, if left out.

    Returns
    -------
    Tensor, shape (b, b)
        Without a gradient.
    """
    with torch.no_grad():
        direction = unit(full_precision(features))
        alike = (direction @ direction.T).clamp_min(0).fill_diagonal_(1)
        others = alike.clone().fill_diagonal_(-1)
        nearest = others.topk(min(top_k, len(alike) - 1), dim=1).indices
        kept = torch.eye(len(alike), device=alike.device).scatter_(1, nearest, 1.0)
        shares = alike * kept if same is None else alike * kept * same
        return shares / shares.sum(1, keepdim=True)


def soft_info_nce(x: Tensor, y: Tensor, scale: Tensor | float, labels: Tensor) -> Tensor:
    r"""Cross-entropy between labels that are spread over rows and what is picked, both ways.

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


class SoftLabel(nn.Module):
    """Contrast in which rows whose images are alike share the label.

    As published, only rows of the same image do, and their images' features all weigh the same then; where
    each image has one row, as in averaged training data of one subject, this is plain contrast.
    ``among="all"`` lets the most alike other images of the batch have a share.

    Source: CognitionCapturer (AAAI 2025), with the embeddings of the originals, detached, for the
    features that decide who is alike.

    Parameters
    ----------
    target : {"original", "view"}
        Which image embeddings brains are compared with.
    regime, scale
        As for :class:`~braindecode_ssr.losses.contrast.Contrast`; published: ``"raw"``.
    top_k : int
        How many other rows may share a label; published: 7.
    among : {"image", "all"}
        Which rows may.
    """

    def __init__(
        self,
        target: Target = "original",
        regime: Regime = "raw",
        scale: float | None = None,
        top_k: int = 7,
        among: Among = "image",
    ) -> None:
        super().__init__()
        check_sizes(top_k=top_k)
        self.target = check_choice("target", target, Contrast.targets)
        self.top_k, self.among = top_k, check_choice("among", among, ("image", "all"))
        self.similarity = Similarity(regime, scale)

    def forward(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The contrast as ``"loss"`` and under the name of its pair.

        Parameters
        ----------
        brain, original, view : Tensor, shape (b, e)
        image : Tensor of int, shape (b,), optional
            Index of the image of each row; left out, each row shows another image.

        Returns
        -------
        dict of str to Tensor
        """
        check_embeddings(brain, original, view)
        if image is None:
            image = torch.arange(len(brain), device=brain.device)
        same = same_image(image, len(brain)) if self.among == "image" else None
        labels = soft_labels(original, self.top_k, same)
        images = original if self.target == "original" else view
        x, y, scale = self.similarity(brain, images)
        part = soft_info_nce(x, y, scale, labels.to(x.dtype))
        return {"loss": part, f"brain_{self.target}": part}

"""The InfoNCE family: each trial against the images of the batch, each image against the trials."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..registry import check_choice
from ..retrieval.hyperbolic import CURVATURE, expmap0, pairwise_distance
from .base import (
    Anchor,
    ContrastiveLoss,
    Direction,
    Duplicates,
    Parts,
    Regime,
    Similarity,
    check_number,
    check_sizes,
    check_weights,
    contrast_of_logits,
    full_precision,
    same_image,
    symmetric_cross_entropy,
    unit,
    without_duplicates,
)

Target = Literal["original", "view"]


def squared_distance(x: Tensor, y: Tensor) -> Tensor:
    r"""Squared distance between rows of shape (b, e), :math:`\frac{1}{b}\sum_i |x_i - y_i|^2`."""
    return (x - y).square().sum(1).mean()


class Contrast(ContrastiveLoss):
    """Symmetric contrast of brain embeddings with one kind of image embeddings.

    Parameters
    ----------
    target : {"original", "view"}
        Which image embeddings: those of the original images or of their pooled views.
    regime : str
        Normalization and scale, see :class:`~braindecode_ssr.losses.base.Similarity`.
    scale : float, optional
        Initial (or fixed) scale; default: that of the regime.
    duplicates : {"negatives", "ignored", "positives"}
        How rows of the same image count for each other, see :func:`duplicate_info_nce`.
    direction : {"both", "brain-to-image"}
        Each trial picks its image and each image its trial, or only the former, as images are retrieved. With
        ``regime="raw"`` and ``scale=1`` that is the loss of NeuralBench: only images have unit length, and
        the temperature is 1.
    """

    def __init__(
        self,
        target: Target = "original",
        regime: Regime = "unit",
        scale: float | None = None,
        duplicates: Duplicates = "negatives",
        direction: Direction = "both",
    ) -> None:
        super().__init__()
        self.target = check_choice("target", target, Target)
        self.duplicates = check_choice("duplicates", duplicates, Duplicates)
        self.direction = check_choice("direction", direction, Direction)
        self.similarity = Similarity(regime, scale)

    def images(self, original: Tensor, view: Tensor) -> Tensor:
        """The embeddings that brains are compared with."""
        return original if self.target == "original" else view

    def contrast(self, brain: Tensor, images: Tensor, image: Tensor | None) -> Tensor:
        """Contrast of two sides, normalized and scaled by the regime."""
        x, y, scale = self.similarity(brain, images)
        return contrast_of_logits(scale * (x @ y.T), self.duplicates, image, self.direction)

    def parts(self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None) -> Parts:
        """``brain_original`` or ``brain_view``."""
        part = self.contrast(brain, self.images(original, view), image)
        return {f"brain_{self.target}": part}


class NeuroBridge(Contrast):
    """Symmetric contrast of brain embeddings with those of pooled views.

    Source: NeuroBridge (AAAI 2026, arXiv 2511.06836); the original image takes no part.

    Parameters
    ----------
    regime : str
        As published, ``"free"``: brain not normalized, image of unit length, scale 2.727.
    scale, duplicates
        As for :class:`Contrast`.
    """

    def __init__(
        self,
        regime: Regime = "free",
        scale: float | None = None,
        duplicates: Duplicates = "negatives",
    ) -> None:
        super().__init__("view", regime, scale, duplicates)


class MultiPositive(Contrast):
    """Symmetric contrast in which rows that show the same image are positives of each other.

    Plain contrast pushes a trial away from its own image where that occurs more than once in a batch. With
    one trial per image, as in averaged training data of one subject, this is plain contrast.

    Source: see :func:`duplicate_info_nce`.

    Parameters
    ----------
    target, regime, scale
        As for :class:`Contrast`.
    duplicates : {"positives", "ignored", "negatives"}
        Rows of one image are all partners of each other, or neither partners nor negatives.
    """

    def __init__(
        self,
        target: Target = "original",
        regime: Regime = "unit",
        scale: float | None = None,
        duplicates: Duplicates = "positives",
    ) -> None:
        super().__init__(target, regime, scale, duplicates)


class ContrastMSE(Contrast):
    r"""Symmetric contrast plus the squared distance of partners.

    :math:`L = w_1 \, \mathrm{NCE}(b, o) + w_2 \, \frac{1}{b}\sum_i |b_i - o_i|^2`, both on the vectors as
    the regime normalizes them. The image side of the distance is detached: otherwise an image head could
    reduce the distance by shrinking its output.

    Source: the loss of ATM (Li et al., NeurIPS 2024), a contrast and a mean squared error with one weight
    between them; the weights here are ours, for vectors of unit length.

    Parameters
    ----------
    target, scale, duplicates
        As for :class:`Contrast`.
    regime : str
        ``"unit"`` by default: where brains keep their lengths, the distance pulls them to length 1, at which
        the small scale of ``"free"`` cannot tell images apart.
    contrast, distance : float
        Weights of the parts; a part of weight 0 is left out.
    """

    def __init__(
        self,
        target: Target = "original",
        regime: Regime = "unit",
        scale: float | None = None,
        contrast: float = 1.0,
        distance: float = 1.0,
        duplicates: Duplicates = "negatives",
    ) -> None:
        super().__init__(target, regime, scale, duplicates)
        self.weights = check_weights({f"brain_{target}": contrast, "distance": distance})

    def parts(self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None) -> Parts:
        """``brain_original`` or ``brain_view``, and ``distance``."""
        x, y, scale = self.similarity(brain, self.images(original, view))
        parts = {}
        if self.weights[f"brain_{self.target}"]:
            logits = scale * (x @ y.T)
            parts[f"brain_{self.target}"] = contrast_of_logits(logits, self.duplicates, image)
        if self.weights["distance"]:
            parts["distance"] = squared_distance(x, y.detach())
        return parts


def single_anchor_contrast(
    brain: Tensor,
    original: Tensor,
    view: Tensor,
    scale: Tensor | float = 1.0,
    same: Tensor | None = None,
) -> dict[str, Tensor]:
    r"""InfoNCE with the originals as anchors, and their brain responses and views as positives.

    With :math:`B = \mathrm{scale} \cdot o b^\top`, :math:`A = \mathrm{scale} \cdot o a^\top` and
    :math:`Z_i = \sum_j e^{B_{ij}} + e^{A_{ij}}`, the two parts are

    .. math:: \frac{1}{b} \sum_i (\log Z_i - B_{ii}), \qquad \frac{1}{b} \sum_i (\log Z_i - A_{ii}).

    Their mean is L_out of Khosla et al. (2020), Supervised Contrastive Learning, eq. 2, for the
    original as anchor and the two others as its positives.

    Parameters
    ----------
    brain, original, view : Tensor, shape (b, e)
        Normalization is left to the caller.
    scale : Tensor or float
        Inverse temperature.
    same : Tensor of bool, shape (b, b), optional
        Rows of the same image, which are then no candidates for each other.

    Returns
    -------
    dict of str to Tensor of shape ()
        ``brain_original`` and ``view_original``. If all embeddings are equal, each is log 2b; their mean
        is log 2 at best, because the positives compete with each other too.
    """
    to_brain, to_view = scale * (original @ brain.T), scale * (original @ view.T)
    if same is not None:
        to_brain, to_view = (without_duplicates(part, same) for part in (to_brain, to_view))
    total = torch.logsumexp(torch.cat([to_brain, to_view], 1), 1)
    return {
        "brain_original": (total - to_brain.diagonal()).mean(),
        "view_original": (total - to_view.diagonal()).mean(),
    }


class SingleAnchor(ContrastiveLoss):
    """The original of each image as anchor, its brain response and its view as positives.

    Brains and views of other images are candidates side by side, so they should have the same length: the
    default regime is ``"unit"``. In regimes that let the first side keep its lengths, that is the brain.

    Parameters
    ----------
    regime, scale
        As for :class:`Contrast`.
    brain_original, view_original : float
        Weights of the two positives.
    anchor : {"trained", "detached"}
        Whether the originals get a gradient.
    duplicates : {"negatives", "ignored"}
        Whether other rows of the same image are candidates.
    """

    def __init__(
        self,
        regime: Regime = "unit",
        scale: float | None = None,
        brain_original: float = 0.5,
        view_original: float = 0.5,
        anchor: Anchor = "trained",
        duplicates: Duplicates = "negatives",
    ) -> None:
        super().__init__()
        self.anchor = check_choice("anchor", anchor, Anchor)
        self.duplicates = check_choice("duplicates", duplicates, Literal["negatives", "ignored"])
        self.weights = check_weights(
            {"brain_original": brain_original, "view_original": view_original}
        )
        self.similarity = Similarity(regime, scale)

    def parts(self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None) -> Parts:
        """``brain_original`` and ``view_original``."""
        same = same_image(image, len(brain)) if self.duplicates == "ignored" else None
        anchor = original if self.anchor == "trained" else original.detach()
        brain, anchor, scale = self.similarity(brain, anchor)
        parts = single_anchor_contrast(brain, anchor, unit(full_precision(view)), scale, same)
        return {name: part for name, part in parts.items() if self.weights[name]}


Among = Literal["image", "all"]


def soft_labels(features: Tensor, top_k: int = 7, same: Tensor | None = None) -> Tensor:
    r"""Soft labels: how the label of each row is spread over the rows of a batch.

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
    r"""Cross-entropy with soft labels, from x to y and from y to x.

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
        self.top_k, self.among = top_k, check_choice("among", among, Among)

    def parts(self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None) -> Parts:
        """``brain_original`` or ``brain_view``."""
        if image is None:
            image = torch.arange(len(brain), device=brain.device)
        same = same_image(image, len(brain)) if self.among == "image" else None
        labels = soft_labels(original, self.top_k, same)
        x, y, scale = self.similarity(brain, self.images(original, view))
        return {f"brain_{self.target}": soft_info_nce(x, y, scale, labels.to(x.dtype))}


def hyperbolic_info_nce(
    x: Tensor, y: Tensor, scale: float = 100.0, curvature: float = CURVATURE
) -> Tensor:
    r"""Symmetric InfoNCE with minus the Lorentz distance as similarity.

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

    Embeddings are tangent vectors at the origin, ranked by the same distance (``model.space="hyperbolic"``),
    see :mod:`braindecode_ssr.retrieval.hyperbolic`.

    Source: HyFI (AAAI 2026, arXiv 2603.22721).

    Parameters
    ----------
    target : {"view", "original"}
        Which image embeddings: of pooled views, as published, or of the original images.
    scale : float
        Constant inverse temperature; published: 100.
    duplicates : {"negatives", "ignored", "positives"}
        How rows of the same image count for each other, see
        :func:`~braindecode_ssr.losses.base.duplicate_info_nce`.
    """

    space = "hyperbolic"

    def __init__(
        self, target: Target = "view", scale: float = 100.0, duplicates: Duplicates = "negatives"
    ) -> None:
        super().__init__()
        self.target = check_choice("target", target, Target)
        self.scale = check_number("scale", scale, "(0, inf)")
        self.duplicates = check_choice("duplicates", duplicates, Duplicates)

    def parts(self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None) -> Parts:
        """``brain_view`` or ``brain_original``."""
        images = original if self.target == "original" else view
        logits = hyperbolic_logits(brain, images, self.scale)
        return {f"brain_{self.target}": contrast_of_logits(logits, self.duplicates, image)}

"""Contrastive losses: each trial against the images of the batch, each image against the trials."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..errors import UsageError
from .base import (
    ContrastiveLoss,
    Regime,
    Similarity,
    check_choice,
    check_weights,
    full_precision,
    unit,
)

Target = Literal["original", "view"]
Anchor = Literal["trained", "detached"]
Duplicates = Literal["negatives", "ignored", "positives"]
Direction = Literal["both", "brain-to-image"]
DUPLICATES = ("negatives", "ignored", "positives")


def symmetric_info_nce(x: Tensor, y: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    r"""Cross-entropy of picking the partner, from x to y and from y to x.

    With :math:`S = \mathrm{scale} \cdot x y^\top`,

    .. math:: L = \frac{1}{2b} \sum_i \Big( \log\sum_j e^{S_{ij}} + \log\sum_j e^{S_{ji}}
                  - 2 S_{ii} \Big).

    Source: Radford et al. (2021), CLIP.

    Parameters
    ----------
    x, y : Tensor, shape (b, e)
        Row i of one belongs to row i of the other. Normalization is left to the caller.
    scale : Tensor or float
        Inverse temperature.

    Returns
    -------
    Tensor, shape ()
    """
    return symmetric_cross_entropy(scale * (x @ y.T))


def duplicate_info_nce(
    x: Tensor,
    y: Tensor,
    scale: Tensor | float,
    same: Tensor,
    duplicates: Duplicates = "positives",
) -> Tensor:
    r"""Symmetric contrast in which a row may have several partners.

    With :math:`S = \mathrm{scale} \cdot x y^\top` and :math:`P_i` the rows that show the image of
    row i (i among them), from x to y

    .. math:: \text{positives}: \; \frac{1}{b} \sum_i \Big( \log\sum_j e^{S_{ij}}
                  - \frac{1}{|P_i|} \sum_{p \in P_i} S_{ip} \Big), \qquad
              \text{ignored}: \; \frac{1}{b} \sum_i \Big( \log\!\!\sum_{j = i \,\vee\, j \notin P_i}
                  \!\! e^{S_{ij}} - S_{ii} \Big),

    and the mean of this and of the same from y to x. Without duplicates both are
    :func:`symmetric_info_nce`.

    Source: ``"positives"`` is L_out of Khosla et al. (2020), Supervised Contrastive Learning, eq. 2,
    with images as labels and both modalities as views; ``"ignored"`` takes false negatives out of the
    sum, as Huynh et al. (2022), Boosting Contrastive Self-Supervised Learning with False Negative
    Cancellation, section 3.2.

    Parameters
    ----------
    x, y : Tensor, shape (b, e)
        Normalization is left to the caller.
    scale : Tensor or float
        Inverse temperature.
    same : Tensor of bool, shape (b, b)
        Which rows show the same image, see :func:`same_image`.
    duplicates : {"negatives", "ignored", "positives"}
        How rows of the same image count for each other.

    Returns
    -------
    Tensor, shape ()
    """
    return symmetric_cross_entropy(scale * (x @ y.T), same, duplicates)


def symmetric_cross_entropy(
    logits: Tensor,
    same: Tensor | None = None,
    duplicates: Duplicates = "negatives",
    direction: Direction = "both",
) -> Tensor:
    """Cross-entropy of picking the partner by logits (b, b), mean over rows and columns, or over rows."""
    if same is not None and duplicates == "ignored":
        logits = without_duplicates(logits, same)
    if direction == "brain-to-image":
        own = logits.diagonal()
        if same is not None and duplicates == "positives":
            own = (logits * same).sum(1) / same.sum(1)
        return (torch.logsumexp(logits, 1) - own).mean()
    both = torch.logsumexp(logits, 1).mean() + torch.logsumexp(logits, 0).mean()
    if same is not None and duplicates == "positives":
        pull = (logits * same).sum(1) / same.sum(1)
        back = (logits * same).sum(0) / same.sum(0)
        return (both - pull.mean() - back.mean()) / 2
    return both / 2 - logits.diagonal().mean()


def without_duplicates(logits: Tensor, same: Tensor) -> Tensor:
    """Logits (b, b) with minus infinity for other rows of the same image."""
    itself = torch.eye(len(same), dtype=torch.bool, device=same.device)
    return logits.masked_fill(same & ~itself, float("-inf"))


def same_image(image: Tensor | None, rows: int) -> Tensor:
    """Which rows show the same image: index of images (b,) to bool (b, b)."""
    if image is None or tuple(image.shape) != (rows,):
        found = "is missing" if image is None else f"has shape {tuple(image.shape)}"
        raise UsageError(
            f"the loss needs the image index of each of the {rows} rows, but image {found}",
            "train on a TrainingSet, or choose duplicates='negatives'",
        )
    return image[:, None] == image[None, :]


def contrast_of_logits(
    logits: Tensor, duplicates: Duplicates, image: Tensor | None, direction: Direction = "both"
) -> Tensor:
    """Contrast of logits (b, b); the image index is only needed if duplicates matter."""
    same = None if duplicates == "negatives" else same_image(image, len(logits))
    return symmetric_cross_entropy(logits, same, duplicates, direction)


def squared_distance(x: Tensor, y: Tensor) -> Tensor:
    r"""Squared distance between rows of shape (b, e), :math:`\frac{1}{b}\sum_i |x_i - y_i|^2`.

    Summed over the width, so that a weight means the same for embeddings of any width.
    """
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
        self.target = check_choice("target", target, ("original", "view"))
        self.duplicates = check_choice("duplicates", duplicates, DUPLICATES)
        self.direction = check_choice("direction", direction, ("both", "brain-to-image"))
        self.similarity = Similarity(regime, scale)

    def images(self, original: Tensor, view: Tensor) -> Tensor:
        """The embeddings that brains are compared with."""
        return original if self.target == "original" else view

    def contrast(self, brain: Tensor, images: Tensor, image: Tensor | None) -> Tensor:
        """Contrast of two sides, normalized and scaled by the regime."""
        x, y, scale = self.similarity(brain, images)
        return contrast_of_logits(scale * (x @ y.T), self.duplicates, image, self.direction)

    def parts(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None
    ) -> dict[str, Tensor]:
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
    """Symmetric contrast that knows which rows show the same image.

    An image shown to several subjects, or several times to one, occurs more than once in a batch. Plain
    contrast then pushes a trial away from the very image it belongs to. With one trial per image, as in
    averaged training data of one subject, this is plain contrast.

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

    def parts(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None
    ) -> dict[str, Tensor]:
        """``brain_original`` or ``brain_view``, and ``distance``."""
        x, y, scale = self.similarity(brain, self.images(original, view))
        parts = {}
        if self.weights[f"brain_{self.target}"]:
            logits = scale * (x @ y.T)
            parts[f"brain_{self.target}"] = contrast_of_logits(logits, self.duplicates, image)
        if self.weights["distance"]:
            parts["distance"] = squared_distance(x, y.detach())
        return parts


class TripleContrast(ContrastiveLoss):
    """The three pairwise contrasts of SSR's figure, with the original as semantic anchor.

    In regimes that let the first side keep its lengths, that is the side which the name of the pair begins
    with.

    Source: the figure of SSR (one similarity matrix for each pair); equal weights are our reading.

    Parameters
    ----------
    regime, scale, duplicates
        As for :class:`Contrast`; one similarity for all pairs.
    brain_view, brain_original, view_original : float
        Weights of the pairs; a pair of weight 0 is left out.
    anchor : {"trained", "detached"}
        Whether the contrast of view and original sends a gradient to the original.
    """

    def __init__(
        self,
        regime: Regime = "unit",
        brain_view: float = 1.0,
        brain_original: float = 1.0,
        view_original: float = 1.0,
        anchor: Anchor = "trained",
        scale: float | None = None,
        duplicates: Duplicates = "negatives",
    ) -> None:
        super().__init__()
        self.anchor = check_choice("anchor", anchor, ("trained", "detached"))
        self.duplicates = check_choice("duplicates", duplicates, DUPLICATES)
        self.weights = check_weights(
            {
                "brain_view": brain_view,
                "brain_original": brain_original,
                "view_original": view_original,
            }
        )
        self.similarity = Similarity(regime, scale)

    def parts(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None
    ) -> dict[str, Tensor]:
        """``brain_view``, ``brain_original`` and ``view_original``."""
        anchor = original if self.anchor == "trained" else original.detach()
        pairs = {
            "brain_view": (brain, view),
            "brain_original": (brain, original),
            "view_original": (view, anchor),
        }
        parts = {}
        for name, pair in pairs.items():
            if self.weights[name]:
                x, y, scale = self.similarity(*pair)
                parts[name] = contrast_of_logits(scale * (x @ y.T), self.duplicates, image)
        return parts


def single_anchor_contrast(
    brain: Tensor,
    original: Tensor,
    view: Tensor,
    scale: Tensor | float = 1.0,
    same: Tensor | None = None,
) -> dict[str, Tensor]:
    r"""Cross-entropy of picking the own brain and the own view among those of all images.

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

    In contrast to the three pairs, brains and views of other images are candidates side by side, so they
    should have the same length: the default regime is ``"unit"``. In regimes that let the first side keep
    its lengths, that is the brain.

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
        self.anchor = check_choice("anchor", anchor, ("trained", "detached"))
        self.duplicates = check_choice("duplicates", duplicates, ("negatives", "ignored"))
        self.weights = check_weights(
            {"brain_original": brain_original, "view_original": view_original}
        )
        self.similarity = Similarity(regime, scale)

    def parts(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None
    ) -> dict[str, Tensor]:
        """``brain_original`` and ``view_original``."""
        same = same_image(image, len(brain)) if self.duplicates == "ignored" else None
        anchor = original if self.anchor == "trained" else original.detach()
        brain, anchor, scale = self.similarity(brain, anchor)
        parts = single_anchor_contrast(brain, anchor, unit(full_precision(view)), scale, same)
        return {name: part for name, part in parts.items() if self.weights[name]}

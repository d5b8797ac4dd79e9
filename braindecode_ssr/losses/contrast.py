"""Plain contrast: each trial against the images of the batch, each image against the trials."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from .base import (
    Duplicates,
    Regime,
    Similarity,
    check_choice,
    check_duplicates,
    check_embeddings,
    check_weights,
    duplicate_cross_entropy,
    full_precision,
    same_image,
    unit,
    weighted_total,
    without_duplicates,
)

Target = Literal["original", "view"]


def symmetric_info_nce(x: Tensor, y: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    r"""Cross-entropy of picking the partner, from x to y and from y to x.

    With :math:`S = \mathrm{scale} \cdot x y^\top`,

    .. math:: L = \frac{1}{2b} \sum_i \Big( \log\sum_j e^{S_{ij}} + \log\sum_j e^{S_{ji}}
                  - 2 S_{ii} \Big).

    Source: Radford et al. (2021), CLIP.

    Parameters
    ----------
    x, y : Tensor, shape (b, e)
        Row i of one belongs to row i of the other; normalised by the caller, or not.
    scale : Tensor or float
        Inverse temperature.

    Returns
    -------
    Tensor, shape ()
    """
    return symmetric_cross_entropy(scale * (x @ y.T))


def symmetric_cross_entropy(logits: Tensor) -> Tensor:
    """Cross-entropy of picking the diagonal of logits (b, b), by rows and by columns; their mean."""
    both = torch.logsumexp(logits, 1).mean() + torch.logsumexp(logits, 0).mean()
    return both / 2 - logits.diagonal().mean()


class Contrast(nn.Module):
    """Symmetric contrast of brain embeddings with one kind of image embeddings.

    Parameters
    ----------
    target : {"original", "view"}
        Which image embeddings: of the original images or of their pooled views.
    regime : str
        Normalisation and scale, see :class:`~braindecode_ssr.losses.base.Similarity`.
    scale : float, optional
        Where the scale starts, or stays; default: that of the regime.
    duplicates : {"negatives", "ignored", "positives"}
        What rows of the same image are to each other, see
        :func:`~braindecode_ssr.losses.base.duplicate_info_nce`.
    """

    targets: ClassVar[tuple[str, ...]] = ("original", "view")

    def __init__(
        self,
        target: Target = "original",
        regime: Regime = "free",
        scale: float | None = None,
        duplicates: Duplicates = "negatives",
    ) -> None:
        super().__init__()
        self.target = check_choice("target", target, self.targets)
        self.duplicates = check_duplicates(duplicates)
        self.similarity = Similarity(regime, scale)

    def forward(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The contrast as ``"loss"`` and under the name of its pair.

        Parameters
        ----------
        brain, original, view : Tensor, shape (b, e)
        image : Tensor of int, shape (b,), optional
            Index of the image of each row; needed unless duplicates are negatives.

        Returns
        -------
        dict of str to Tensor
            ``"loss"`` and ``"brain_original"`` or ``"brain_view"``.
        """
        check_embeddings(brain, original, view)
        images = original if self.target == "original" else view
        part = pair_contrast(*self.similarity(brain, images), self.duplicates, image)
        return {"loss": part, f"brain_{self.target}": part}


def pair_contrast(
    x: Tensor,
    y: Tensor,
    scale: Tensor | float,
    duplicates: Duplicates = "negatives",
    image: Tensor | None = None,
) -> Tensor:
    """Symmetric contrast of two sides, duplicates taken as chosen.

    Parameters
    ----------
    x, y, scale
        As for :func:`symmetric_info_nce`.
    duplicates, image
        As for :class:`Contrast`.

    Returns
    -------
    Tensor, shape ()
    """
    return contrast_of_logits(scale * (x @ y.T), duplicates, image)


def contrast_of_logits(
    logits: Tensor, duplicates: Duplicates = "negatives", image: Tensor | None = None
) -> Tensor:
    """Symmetric contrast of logits (b, b), duplicates taken as chosen; as :func:`pair_contrast`."""
    if duplicates == "negatives":
        return symmetric_cross_entropy(logits)
    return duplicate_cross_entropy(logits, same_image(image, len(logits)), duplicates)


def squared_distance(x: Tensor, y: Tensor) -> Tensor:
    r"""Squared distance between rows of shape (b, e), :math:`\frac{1}{b}\sum_i |x_i - y_i|^2`.

    Summed over the width, so that the weight means the same for embeddings of any width.
    """
    return (x - y).square().sum(1).mean()


class ContrastMSE(nn.Module):
    r"""Symmetric contrast plus the squared distance of partners.

    :math:`L = w_1 \, \mathrm{NCE}(b, o) + w_2 \, \frac{1}{b}\sum_i |b_i - o_i|^2`, both on the vectors as
    the regime compares them. The image side of the distance is detached: with a projector of its own it could
    else come near by shrinking.

    Source: the loss of ATM (Li et al., NeurIPS 2024), a contrast and a mean squared error with one weight
    between them; the weights here are ours, for vectors of unit length.

    Parameters
    ----------
    target : {"original", "view"}
        Which image embeddings.
    regime : str
        ``"unit"`` unless another is asked for: where brains keep their lengths, the distance pulls them to
        length 1, at which the small scale of ``"free"`` cannot tell images apart.
    scale : float, optional
        Where the scale starts, or stays; default: that of the regime.
    contrast, distance : float
        Weights of the parts; a part of weight 0 is left out.
    duplicates : {"negatives", "ignored", "positives"}
        What rows of the same image are to each other in the contrast.
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
        super().__init__()
        self.target = check_choice("target", target, Contrast.targets)
        self.duplicates = check_duplicates(duplicates)
        names = (f"brain_{target}", "distance")
        self.weights = check_weights(dict(zip(names, (contrast, distance), strict=True)))
        self.similarity = Similarity(regime, scale)

    def forward(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The weighted sum as ``"loss"``, then ``brain_original`` (or ``brain_view``) and ``distance``.

        Parameters
        ----------
        brain, original, view : Tensor, shape (b, e)
        image : Tensor of int, shape (b,), optional
            Index of the image of each row; needed unless duplicates are negatives.

        Returns
        -------
        dict of str to Tensor
        """
        check_embeddings(brain, original, view)
        x, y, scale = self.similarity(brain, original if self.target == "original" else view)
        contrast, distance = self.weights
        parts = {}
        if self.weights[contrast]:
            parts[contrast] = pair_contrast(x, y, scale, self.duplicates, image)
        if self.weights[distance]:
            parts[distance] = squared_distance(x, y.detach())
        return weighted_total(parts, self.weights)


class MultiPositive(Contrast):
    """Symmetric contrast that knows which rows show the same image.

    An image shown to several subjects, or several times to one, occurs more than once in a batch. Plain
    contrast then pushes a trial away from the very image it belongs to. With one trial an image, as in
    averaged training data of one subject, this is plain contrast.

    Source: see :func:`~braindecode_ssr.losses.base.duplicate_info_nce`.

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


PAIRS = ("brain_view", "brain_original", "view_original")
Anchor = Literal["trained", "detached"]
ANCHORS = ("trained", "detached")


def triple_contrast(
    brain: Tensor,
    original: Tensor,
    view: Tensor,
    similarity: Similarity,
    *,
    pairs: Collection[str] = PAIRS,
    anchor: Anchor = "trained",
    duplicates: Duplicates = "negatives",
    image: Tensor | None = None,
) -> dict[str, Tensor]:
    """The symmetric contrast of each pair, by name.

    In the regime ``"free"`` the side that keeps its length is the one that the name of the pair
    begins with.

    Parameters
    ----------
    brain, original, view : Tensor, shape (b, e)
    similarity : Similarity
        One for all pairs.
    pairs : collection of str
        Which of ``PAIRS`` to compute.
    anchor : {"trained", "detached"}
        Whether the contrast of view and original moves the original, the semantic anchor.
    duplicates : {"negatives", "ignored", "positives"}
        What rows of the same image are to each other.
    image : Tensor of int, shape (b,), optional
        Index of the image of each row; needed unless duplicates are negatives.

    Returns
    -------
    dict of str to Tensor of shape ()
    """
    anchored = original if anchor == "trained" else original.detach()
    sides = {
        "brain_view": (brain, view),
        "brain_original": (brain, original),
        "view_original": (view, anchored),
    }
    return {
        name: pair_contrast(*similarity(*sides[name]), duplicates, image)
        for name in PAIRS
        if name in pairs
    }


class TripleContrast(nn.Module):
    """The three pairwise contrasts of SSR's figure, with the original as semantic anchor.

    Source: the figure of SSR (one similarity matrix for each pair); equal weights are our reading.

    Parameters
    ----------
    regime : str
        Normalisation and scale, see :class:`~braindecode_ssr.losses.base.Similarity`.
    brain_view, brain_original, view_original : float
        Weights of the pairs; a pair of weight 0 is left out.
    anchor : {"trained", "detached"}
        Whether the contrast of view and original moves the original.
    scale : float, optional
        Where the scale starts, or stays; default: that of the regime.
    duplicates : {"negatives", "ignored", "positives"}
        What rows of the same image are to each other, see
        :func:`~braindecode_ssr.losses.base.duplicate_info_nce`.
    """

    def __init__(
        self,
        regime: Regime = "free",
        brain_view: float = 1.0,
        brain_original: float = 1.0,
        view_original: float = 1.0,
        anchor: Anchor = "trained",
        scale: float | None = None,
        duplicates: Duplicates = "negatives",
    ) -> None:
        super().__init__()
        self.anchor = check_choice("anchor", anchor, ANCHORS)
        self.duplicates = check_duplicates(duplicates)
        self.weights = check_weights(
            dict(zip(PAIRS, (brain_view, brain_original, view_original), strict=True))
        )
        self.similarity = Similarity(regime, scale)

    def forward(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The weighted sum of the pairs as ``"loss"``, then each pair.

        Parameters
        ----------
        brain, original, view : Tensor, shape (b, e)
        image : Tensor of int, shape (b,), optional
            Index of the image of each row; needed unless duplicates are negatives.

        Returns
        -------
        dict of str to Tensor
        """
        check_embeddings(brain, original, view)
        parts = triple_contrast(
            brain,
            original,
            view,
            self.similarity,
            pairs=[name for name, weight in self.weights.items() if weight],
            anchor=self.anchor,
            duplicates=self.duplicates,
            image=image,
        )
        return weighted_total(parts, self.weights)


POSITIVES = ("brain_original", "view_original")


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
        Normalised by the caller, or not.
    scale : Tensor or float
        Inverse temperature.
    same : Tensor of bool, shape (b, b), optional
        Rows of the same image, which are then no candidates of each other.

    Returns
    -------
    dict of str to Tensor of shape ()
        ``brain_original`` and ``view_original``. With both candidates alike for all images, each is
        log 2b; their mean is log 2 at best, as the positives compete with each other too.
    """
    to_brain, to_view = scale * (original @ brain.T), scale * (original @ view.T)
    if same is not None:
        to_brain, to_view = (without_duplicates(part, same) for part in (to_brain, to_view))
    total = torch.logsumexp(torch.cat([to_brain, to_view], 1), 1)
    sides = zip(POSITIVES, (to_brain, to_view), strict=True)
    return {name: (total - logits.diagonal()).mean() for name, logits in sides}


class SingleAnchor(nn.Module):
    """The original of each image as anchor, its brain response and its view as positives.

    In contrast to the three pairs, brains and views of other images are candidates side by side, so that
    they should be of one length: the regime is ``"unit"`` unless another is asked for. In regimes that let
    the first side keep its lengths, that is the brain's.

    Parameters
    ----------
    regime, scale
        As for :class:`~braindecode_ssr.losses.contrast.Contrast`.
    brain_original, view_original : float
        Weights of the two positives.
    anchor : {"trained", "detached"}
        Whether the originals are moved.
    duplicates : {"negatives", "ignored"}
        Whether candidates of the same image count as others.
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
        self.anchor = check_choice("anchor", anchor, ANCHORS)
        self.duplicates = check_duplicates(duplicates)
        if duplicates == "positives":
            check_choice("duplicates of a single anchor", duplicates, ("negatives", "ignored"))
        self.weights = check_weights(
            dict(zip(POSITIVES, (brain_original, view_original), strict=True))
        )
        self.similarity = Similarity(regime, scale)

    def forward(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The weighted sum of both positives as ``"loss"``, then each.

        Parameters
        ----------
        brain, original, view : Tensor, shape (b, e)
        image : Tensor of int, shape (b,), optional
            Index of the image of each row; needed unless duplicates are negatives.

        Returns
        -------
        dict of str to Tensor
        """
        check_embeddings(brain, original, view)
        same = same_image(image, len(brain)) if self.duplicates == "ignored" else None
        anchored = original if self.anchor == "trained" else original.detach()
        brain, anchored, scale = self.similarity(brain, anchored)
        parts = single_anchor_contrast(brain, anchored, unit(full_precision(view)), scale, same)
        return weighted_total(
            {name: part for name, part in parts.items() if self.weights[name]}, self.weights
        )

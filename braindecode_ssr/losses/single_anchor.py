"""Contrast around one anchor: brain and view compete for the original image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .duplicates import Duplicates, check_duplicates, same_image, without_duplicates
from .parts import check_choice, check_embeddings, check_weights, weighted_total
from .similarity import Regime, Similarity, full_precision, unit
from .triple import ANCHORS, Anchor

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

"""Contrast and squared distance: partners are told apart, and brought together."""

from __future__ import annotations

from torch import Tensor, nn

from .contrast import Contrast, Target, pair_contrast
from .duplicates import Duplicates, check_duplicates
from .parts import check_choice, check_embeddings, check_weights, weighted_total
from .similarity import Regime, Similarity


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

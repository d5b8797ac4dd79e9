"""Plain contrast: each trial against the images of the batch, each image against the trials."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from .duplicates import Duplicates, check_duplicates, duplicate_cross_entropy, same_image
from .parts import check_choice, check_embeddings
from .similarity import Regime, Similarity

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
        Normalisation and scale, see :class:`~braindecode_ssr.losses.similarity.Similarity`.
    scale : float, optional
        Where the scale starts, or stays; default: that of the regime.
    duplicates : {"negatives", "ignored", "positives"}
        What rows of the same image are to each other, see
        :func:`~braindecode_ssr.losses.duplicates.duplicate_info_nce`.
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

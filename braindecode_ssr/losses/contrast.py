"""Plain contrast: each trial against the images of the batch, each image against the trials."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from .parts import check_choice, check_embeddings
from .similarity import Regime, Similarity


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
    logits = scale * (x @ y.T)
    both = torch.logsumexp(logits, 1).mean() + torch.logsumexp(logits, 0).mean()
    return both / 2 - logits.diagonal().mean()


class Contrast(nn.Module):
    """Symmetric contrast of brain embeddings with one kind of image embeddings.

    Parameters
    ----------
    target : {"original", "view"}
        Which image embeddings: of the original images or of their pooled views.
    regime : {"free", "unit"}
        Normalisation and scale, see :class:`~braindecode_ssr.losses.similarity.Similarity`.
    """

    targets: ClassVar[tuple[str, ...]] = ("original", "view")

    def __init__(
        self, target: Literal["original", "view"] = "original", regime: Regime = "free"
    ) -> None:
        super().__init__()
        self.target = check_choice("target", target, self.targets)
        self.similarity = Similarity(regime)

    def forward(self, brain: Tensor, original: Tensor, view: Tensor) -> dict[str, Tensor]:
        """The contrast as ``"loss"`` and under the name of its pair.

        Parameters
        ----------
        brain, original, view : Tensor, shape (b, e)

        Returns
        -------
        dict of str to Tensor
            ``"loss"`` and ``"brain_original"`` or ``"brain_view"``.
        """
        check_embeddings(brain, original, view)
        images = original if self.target == "original" else view
        part = symmetric_info_nce(*self.similarity(brain, images))
        return {"loss": part, f"brain_{self.target}": part}

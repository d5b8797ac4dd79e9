"""How alike two batches of embeddings are: what is normalised, and on what scale."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .parts import check_choice

Regime = Literal["free", "unit"]

START = math.log(1 / 0.07)
FREE_SCALE = math.log1p(math.exp(START))
LARGEST_LOG_SCALE = math.log(100.0)


class Similarity(nn.Module):
    r"""Two batches made ready for comparison, and the scale of their dot products.

    Two regimes are known to work; they do not mix.

    * ``"free"`` (UBP, NeuroBridge): the first side keeps its length, the second is brought to unit
      length; the scale is the constant :math:`\mathrm{softplus}(\ln(1 / 0.07)) = 2.727`.
    * ``"unit"`` (Brain-HIVE, VE-SDN): both sides have unit length; the scale is
      :math:`\exp(s)`, learned from :math:`1 / 0.07` on and kept within 1 and 100.

    Parameters
    ----------
    regime : {"free", "unit"}
    """

    def __init__(self, regime: Regime = "free") -> None:
        super().__init__()
        self.regime = check_choice("regime", regime, ("free", "unit"))
        if regime == "unit":
            self.log_scale = nn.Parameter(torch.tensor(START))

    def scale(self) -> Tensor | float:
        """What dot products are multiplied by.

        A learned scale is put back to its bounds first, as CLIP does after each step, so that it
        can come back from there; a clamp in the graph would leave it without a gradient.
        """
        if self.regime == "free":
            return FREE_SCALE
        with torch.no_grad():
            self.log_scale.clamp_(0.0, LARGEST_LOG_SCALE)
        return self.log_scale.exp()

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor | float]:
        """The two sides as they are compared, in at least float32, and the scale.

        Parameters
        ----------
        x, y : Tensor, shape (b, e)

        Returns
        -------
        tuple of Tensor (b, e), Tensor (b, e), Tensor or float
        """
        x, y = full_precision(x), full_precision(y)
        return (x if self.regime == "free" else unit(x)), unit(y), self.scale()


def unit(x: Tensor) -> Tensor:
    """Rows of shape (b, e) brought to unit length; rows of zeros stay zeros."""
    return F.normalize(x, dim=-1)


def full_precision(x: Tensor) -> Tensor:
    """Half precision raised to float32; anything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x

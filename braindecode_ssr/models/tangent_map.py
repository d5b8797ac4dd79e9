# License: BSD-3
"""The brain's last map in hyperbolic space: linear, with a length of its own that starts small."""

from __future__ import annotations

import math

import torch
from torch import nn


class TangentMap(nn.Linear):
    r"""A linear map to tangent vectors times a learned number, :math:`y = e^s\,(W x + b)`.

    :math:`e^s` starts at :math:`1 / \sqrt{e}` for e outputs. Vectors as long as a linear map makes them of a
    layer norm (18, for 1024) are all far from the origin, where their lengths decide what is near to what,
    and nothing is learned; the number shortens them to about 1, and leaves the weights their rates.

    Source: HyFI (AAAI 2026, arXiv 2603.22721), after MERU (arXiv:2304.09172), whose embeddings start so.

    Parameters
    ----------
    in_features, out_features : int
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.log_length = nn.Parameter(torch.tensor(-0.5 * math.log(out_features)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tangent vectors, shape (..., in_features) to (..., out_features)."""
        return self.log_length.exp() * nn.functional.linear(x, self.weight, self.bias)

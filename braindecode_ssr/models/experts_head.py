# License: BSD-3
"""Experts: a Gaussian in the shared space from each vector of an image's features, and their product."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .image_head import check_width


class ExpertsHead(nn.Module):
    r"""The image side of BraVL: a perceptron for each vector tells mean and variance, and these are joined.

    An image's embedding is the mean of the product of the Gaussians, of one vector alone its mean:

    .. math:: \mu = \sum_k \mu_k \sigma_k^{-2} \big/ \sum_k \sigma_k^{-2}

    Vectors are brought to a root mean square of 1 first.

    Source: BraVL (Du et al., TPAMI 2023, arXiv 2210.06756), where the vectors are those of CORnet-S and of
    the text encoder of CLIP, each multiplied by a fixed number.

    Parameters
    ----------
    widths : sequence of int
        Of the vectors that stand side by side in a feature.
    n_outputs : int
        Width of the shared space.
    hidden : int
        Width of the two hidden layers.
    """

    def __init__(self, widths: Sequence[int], n_outputs: int, hidden: int = 256) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.encoders = nn.ModuleList(_encoder(width, hidden) for width in self.widths)
        self.means = nn.ModuleList(nn.Linear(hidden, n_outputs) for _ in self.widths)
        self.log_variances = nn.ModuleList(nn.Linear(hidden, n_outputs) for _ in self.widths)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Image embeddings, shape (..., sum of widths) to (..., n_outputs).

        Raises
        ------
        UsageError
            If the features are of another width.
        """
        mean, log_variance = self.posteriors(features).unbind(-2)
        return (torch.softmax(-log_variance, -2) * mean).sum(-2)

    def posteriors(self, features: torch.Tensor) -> torch.Tensor:
        """Mean and log-variance from each vector, shape (..., sum of widths) to (..., m, 2, n_outputs).

        Raises
        ------
        UsageError
            If the features are of another width.
        """
        check_width(features.shape[-1], sum(self.widths))
        found = []
        for k, vector in enumerate(features.split(self.widths, -1)):
            size = vector.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-12)
            inside = self.encoders[k](vector / size)
            found.append(torch.stack([self.means[k](inside), self.log_variances[k](inside)], -2))
        return torch.stack(found, -3)


def _encoder(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())

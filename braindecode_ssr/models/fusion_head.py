# License: BSD-3
"""Fusion: the features of several image encoders mapped, added and refined."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .brain_mlp import ResidualBlock
from .image_head import check_width


class FusionHead(nn.Module):
    r"""The image side of Brain-HIVE: a linear map for each vector, their sum, residual layers, a layer norm.

    .. math:: h = \sum_k W_k f_k + b_k, \qquad
              y = \mathrm{LayerNorm}(h + W_2\,\mathrm{drop}(\sigma(W_1 h)) + b_2)

    Source: Brain-HIVE (ICLR 2026, arXiv 2602.07495), where the vectors are those of CLIP RN50, CLIP ViT-B/32
    and the autoencoder of SDXL.

    Parameters
    ----------
    widths : sequence of int
        Of the vectors that stand side by side in a feature.
    n_outputs : int
        Width of the shared space.
    n_blocks : int
        Number of residual layers.
    drop_prob : float
        Drop-out probability inside the residual layers.
    """

    def __init__(
        self, widths: Sequence[int], n_outputs: int, n_blocks: int = 1, drop_prob: float = 0.1
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.maps = nn.ModuleList(nn.Linear(width, n_outputs) for width in self.widths)
        blocks = [ResidualBlock(n_outputs, nn.GELU, drop_prob) for _ in range(n_blocks)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(n_outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Image embeddings, shape (..., sum of widths) to (..., n_outputs).

        Raises
        ------
        UsageError
            If the features are of another width.
        """
        check_width(features.shape[-1], sum(self.widths))
        vectors = features.split(self.widths, -1)
        mapped = [to(vector) for to, vector in zip(self.maps, vectors, strict=True)]
        return self.norm(self.blocks(torch.stack(mapped).sum(0)))

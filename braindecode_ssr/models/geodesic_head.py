# License: BSD-3
"""Geodesic: two views of an image as two points of hyperbolic space, and a point between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from ..errors import UsageError
from ..hyperbolic import expmap0, geodesic, logmap0
from ..registry import unknown_name
from .image_head import check_width

LENGTHS = ("raw", "unit")


class GeodesicHead(nn.Module):
    r"""The image side of HyFI: a semantic and a perceptual vector, mapped, lifted and interpolated.

    With the semantic vector :math:`s`, the perceptual one :math:`p`, and maps between points and tangent
    vectors at the origin as in :mod:`braindecode_ssr.hyperbolic`,

    .. math:: y = \log_0 \gamma_t\big(\exp_0(W_1 \tfrac{s}{|s|} + b_1),\; \exp_0(W_2\, p + b_2)\big), \qquad
              t = \sigma(w \cdot s + b),

    where :math:`\gamma_t` is the point at share t of the geodesic from the first to the second.

    Source: HyFI (AAAI 2026, arXiv 2603.22721), where s is the feature of a foveal blur and p that of a strong
    Gaussian blur; only s is brought to unit length, and only for its map.

    Image points should start within a few units of the origin: further out, the length of a vector says more
    than its direction, and originals, whose features are not as long as those of blurred copies, get lost.

    Parameters
    ----------
    widths : sequence of int
        Of the vectors that stand side by side in a feature: first the semantic, then the perceptual one, of
        one width. A single vector stands for both.
    n_outputs : int
        Width of the shared space. Published: 1024, as wide as the features.
    perceptual : {"raw", "unit"}
        Whether the perceptual vector keeps its length, as published, or is brought to unit length, for
        encoders whose features are long (those of ``pyramid`` are 28).

    Raises
    ------
    UsageError
        If there are more than two vectors, or two of different widths, or there is no such choice.
    """

    def __init__(
        self, widths: Sequence[int], n_outputs: int, perceptual: Literal["raw", "unit"] = "raw"
    ) -> None:
        super().__init__()
        if perceptual not in LENGTHS:
            raise unknown_name("length of the perceptual vector", perceptual, list(LENGTHS))
        self.length = perceptual
        self.widths = _checked(tuple(widths))
        width = self.widths[0]
        self.semantic = nn.Linear(width, n_outputs)
        self.perceptual = nn.Linear(width, n_outputs)
        self.share = nn.Linear(width, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Image embeddings, tangent vectors at the origin; shape (..., sum of widths) to (..., n_outputs).

        Raises
        ------
        UsageError
            If the features are of another width.
        """
        check_width(features.shape[-1], sum(self.widths))
        vectors = features.split(self.widths, -1)
        semantic, perceptual = vectors[0], vectors[-1]
        if self.length == "unit":
            perceptual = F.normalize(perceptual, dim=-1)
        start = expmap0(self.semantic(F.normalize(semantic, dim=-1)))
        end = expmap0(self.perceptual(perceptual))
        return logmap0(geodesic(start, end, self.share(semantic).sigmoid()))


def _checked(widths: tuple[int, ...]) -> tuple[int, ...]:
    if len(widths) > 2 or len(set(widths)) != 1:
        raise UsageError(
            "one vector, or a semantic and a perceptual one of one width, for the image head geodesic",
            f"{len(widths)} of widths {', '.join(map(str, widths))}",
            'give one encoder, and two views with images.pool="side-by-side"',
        )
    return widths

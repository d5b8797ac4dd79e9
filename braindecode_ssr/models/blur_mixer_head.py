# License: BSD-3
"""Blur mixer: features of several blur levels, mixed number by number, through a bottleneck."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..errors import UsageError
from .image_head import check_width


def mix(vectors: torch.Tensor, defaults: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    r"""Vectors and learned defaults as one, each of its numbers weighted by a softmax of its own.

    .. math:: y_j = \sum_{i \le k} w_{ij} v_{ij} + \sum_{i > k} w_{ij} u_{i-k,j}, \qquad
              w_{ij} = e^{s_{ij}} \big/ \sum_l e^{s_{lj}}

    Parameters
    ----------
    vectors : Tensor, shape (..., k, d)
        Of an image.
    defaults : Tensor, shape (m, d)
        The same for every image.
    scores : Tensor, shape (k + m, d)
        Before the softmax, those of the vectors first.

    Returns
    -------
    Tensor, shape (..., d)
    """
    shares = scores.softmax(0)
    n_vectors = vectors.shape[-2]
    return (vectors * shares[:n_vectors]).sum(-2) + (defaults * shares[n_vectors:]).sum(0)


class BlurMixerHead(nn.Module):
    r"""The image side of VED: a learned mixture of blur levels, a bottleneck, a linear map.

    Each number of a feature is a weighted mean of that number at every blur level and in a few default
    features, which are learned and the same for all images; a number that blur does not help can so be
    replaced by a constant. Then :math:`W_2\,\mathrm{drop}(\sigma(W_1 x + b_1)) + b_2`, with ELU.

    Source: VED (Liu et al., AAAI 2026). Not in the text, and as in the public code: four default features
    that start at 0, scores that start uniformly between 0 and 1, no residual around the bottleneck, whose
    width is 768 there and 1024 in the supplement. The linear map to ``n_outputs`` is ours: in VED the brain
    is compared with the bottleneck's output.

    Parameters
    ----------
    widths : sequence of int
        Of the vectors that stand side by side in a feature: all the same.
    n_outputs : int
        Width of the shared space.
    n_defaults : int
        Number of default features; 0 for none.
    n_hidden : int
        Width of the bottleneck.
    drop_prob : float
        Drop-out probability inside it.

    Raises
    ------
    UsageError
        If the widths differ.
    """

    def __init__(
        self,
        widths: Sequence[int],
        n_outputs: int,
        n_defaults: int = 4,
        n_hidden: int = 768,
        drop_prob: float = 0.85,
    ) -> None:
        super().__init__()
        self.n_vectors, self.width = len(widths), _one_width(widths)
        self.defaults = nn.Parameter(torch.zeros(n_defaults, self.width))
        self.scores = nn.Parameter(torch.rand(self.n_vectors + n_defaults, self.width))
        self.adapter = nn.Sequential(
            nn.Linear(self.width, n_hidden),
            nn.ELU(),
            nn.Dropout(drop_prob),
            nn.Linear(n_hidden, self.width),
        )
        self.to_shared = nn.Linear(self.width, n_outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Image embeddings, shape (..., sum of widths) to (..., n_outputs).

        Raises
        ------
        UsageError
            If the features are of another width.
        """
        if not torch.jit.is_scripting():
            self._check(features.shape[-1])
        vectors = features.unflatten(-1, [self.n_vectors, self.width])
        return self.to_shared(self.adapter(mix(vectors, self.defaults, self.scores)))

    @torch.jit.unused
    def _check(self, width: int) -> None:
        check_width(width, self.n_vectors * self.width)


def _one_width(widths: Sequence[int]) -> int:
    """The width of all vectors."""
    if len(set(widths)) != 1:
        raise UsageError(
            "vectors of one width for a blur mixer, which are mixed number by number",
            f"widths {', '.join(map(str, widths)) or '(none)'}",
            "give one encoder with --encoder, or choose another model.image_head",
        )
    return widths[0]

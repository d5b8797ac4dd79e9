# License: BSD-3
"""Layer mixer: layers of an image encoder mapped, and added by weights that are learned."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import UsageError
from .image_head import check_width


def depth_prior(n_layers: int, centre: float | None = None, strength: float = 1.0) -> Tensor:
    r"""Where the logits of a mixture start: :math:`-\mathrm{strength} \cdot |k - \mathrm{centre}|`.

    Parameters
    ----------
    n_layers : int
    centre : float, optional
        Place of the layer that weighs most, counted from 0; default: the middle.
    strength : float
        By how much a logit falls from one layer to the next; 0 weighs all alike.

    Returns
    -------
    Tensor, shape (n_layers,)

    Raises
    ------
    UsageError
        If the centre lies outside the layers or the strength is negative.
    """
    centre = (n_layers - 1) / 2 if centre is None else centre
    if not (0 <= centre <= n_layers - 1 and strength >= 0):
        raise UsageError(
            f"a centre of 0 to {n_layers - 1}, the places of {n_layers} layers, and a strength of 0 or more",
            f"centre {centre}, strength {strength}",
            "mend image_head_params, or leave them out",
        )
    return -strength * (torch.arange(n_layers) - centre).abs().float()


class LayerMixerHead(nn.Module):
    r"""The image side of SAMGA: two linear maps of each layer, and their weighted mean.

    .. math:: y = \sum_k \mathrm{softmax}(\ell)_k \, (W_k (P f_k + p) + b_k)

    The first map :math:`P` is one for all layers if they are of one width, else there is one for each.
    Nothing lies between the two maps, as published, so that together they are linear.

    Source: SAMGA (arXiv 2604.17782), where the vectors are layers 20, 24, 28, 32 and 36 of InternViT-6B.
    There the logits also have a part for each subject, left out at test, and a linear map follows that brain
    and image share.

    Parameters
    ----------
    widths : sequence of int
        Of the layers, whose vectors stand side by side in a feature.
    n_outputs : int
        Width of the shared space.
    width : int
        Between the two maps.
    centre, strength : float
        Where the logits start, see :func:`depth_prior`.
    """

    def __init__(
        self,
        widths: Sequence[int],
        n_outputs: int,
        width: int = 1024,
        centre: float | None = None,
        strength: float = 1.0,
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        first = self.widths[:1] if len(set(self.widths)) == 1 else self.widths
        self.first = nn.ModuleList(nn.Linear(n_inputs, width) for n_inputs in first)
        self.maps = nn.ModuleList(nn.Linear(width, n_outputs) for _ in self.widths)
        self.logits = nn.Parameter(depth_prior(len(self.widths), centre, strength))

    def layer_weights(self) -> Tensor:
        """How much each layer counts, shape (k,); they sum to 1."""
        return self.logits.softmax(0)

    def forward(self, features: Tensor) -> Tensor:
        """Image embeddings, shape (..., sum of widths) to (..., n_outputs).

        Raises
        ------
        UsageError
            If the features are of another width.
        """
        check_width(features.shape[-1], sum(self.widths))
        layers = features.split(self.widths, -1)
        first = [*self.first] * (len(layers) if len(self.first) == 1 else 1)
        mapped = [own(to(layer)) for own, to, layer in zip(self.maps, first, layers, strict=True)]
        return torch.einsum("k,k...e->...e", self.layer_weights(), torch.stack(mapped))

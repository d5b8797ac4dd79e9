"""The projector that EEGProject and TSConv end with."""

from __future__ import annotations

import torch
from torch import nn


class ResidualProjector(nn.Module):
    r"""A linear map, a residual layer and a layer norm.

    .. math:: h = W_1 x + b_1, \qquad
              y = \mathrm{LayerNorm}(h + \mathrm{Dropout}(W_2\,\sigma(h) + b_2))

    Source: ``Proj_eeg`` of NICE (Song et al., 2024), taken over by UBP and NeuroBridge.

    Parameters
    ----------
    in_features : int
        Width of the input.
    out_features : int
        Width of the output.
    activation : type of nn.Module
        The nonlinearity of the residual layer.
    drop_prob : float
        Drop-out probability of the residual layer.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: type[nn.Module] = nn.GELU,
        drop_prob: float = 0.3,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.residual = nn.Sequential(
            activation(), nn.Linear(out_features, out_features), nn.Dropout(drop_prob)
        )
        self.norm = nn.LayerNorm(out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Project.

        Parameters
        ----------
        x : Tensor, shape (b, in_features)

        Returns
        -------
        Tensor, shape (b, out_features)
        """
        x = self.linear(x)
        return self.norm(x + self.residual(x))

"""The projector that EEGProject and TSConv end with."""

from __future__ import annotations

import math

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


# License: BSD-3


class SubjectMap(nn.Module):
    r"""Multiply trials by the matrix of the subject who saw them: :math:`y = W_s x`.

    Parameters
    ----------
    n_subjects : int
        Number of matrices.
    n_features : int
        Rows and columns of each.
    """

    def __init__(self, n_subjects: int, n_features: int) -> None:
        super().__init__()
        self.n_subjects = n_subjects
        self.weight = nn.Parameter(torch.empty(n_subjects, n_features, n_features))
        nn.init.normal_(self.weight, 0.0, n_features**-0.5)

    def forward(self, x: torch.Tensor, subject_index: torch.Tensor | None = None) -> torch.Tensor:
        """Map.

        Parameters
        ----------
        x : Tensor, shape (b, n_features, n)
        subject_index : Tensor of int, shape (b,), optional
            Counted from 0; None: the first subject's matrix for all.

        Returns
        -------
        Tensor, shape (b, n_features, n)
        """
        if subject_index is None:
            return self.weight[0] @ x
        return self.weight[subject_index] @ x


# License: BSD-3


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


class ResidualBlock(nn.Module):
    """A residual layer with one hidden layer, whose first map has no bias.

    Parameters
    ----------
    width : int
        Of input, hidden layer and output.
    activation : type of nn.Module
    drop_prob : float
    """

    def __init__(self, width: int, activation: type[nn.Module], drop_prob: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, width, bias=False),
            activation(),
            nn.Dropout(drop_prob),
            nn.Linear(width, width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Refine vectors of shape (b, width)."""
        return x + self.layers(x)

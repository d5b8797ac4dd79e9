# License: BSD-3
"""BrainMLP: the flattened trial through residual layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .dotted_path import Configured
from .host import quiet_import

with quiet_import():
    from braindecode.models.base import EEGModuleMixin


class BrainMLP(
    Configured, EEGModuleMixin, nn.Module, license="bsd-3-clause", docs_url=None, repo_url=None
):
    r"""BrainMLP of Brain-HIVE (2026) [BrainHIVE2026]_.

    .. rubric:: Architecture Overview

    A trial is flattened, mapped linearly to ``n_outputs``, refined by residual layers and
    normalised; EEGProject with a hidden layer in its residual.

    .. rubric:: Macro Components

    - ``BrainMLP.flatten`` **Flatten**: ``(b, c, t)`` to ``(b, c * t)``.
    - ``BrainMLP.linear`` **Linear map** to ``n_outputs``.
    - ``BrainMLP.blocks`` **Residual layers**: :math:`h + W_2\,\mathrm{drop}(\sigma(W_1 h)) + b_2`.
    - ``BrainMLP.final_layer`` **Layer norm**.

    .. rubric:: Temporal, Spatial, and Spectral Encoding

    - **Temporal and spatial**: one weight for each channel, sample and output.
    - **Spectral**: none of its own.

    Parameters
    ----------
    n_blocks : int, default=1
        Number of residual layers.
    activation : type[nn.Module], default=nn.GELU
        The nonlinearity of the residual layers.
    drop_prob : float, default=0.1
        Drop-out probability inside the residual layers.

    References
    ----------
    .. [BrainHIVE2026] Brain-HIVE (2026). ICLR. https://arxiv.org/abs/2602.07495
    """

    _HUB_NOTES_TEMPLATE = ""  # braindecode's own would say: import it from braindecode.models

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        n_blocks: int = 1,
        activation: type[nn.Module] = nn.GELU,
        drop_prob: float = 0.1,
    ) -> None:
        super().__init__(
            n_outputs=n_outputs,
            n_chans=n_chans,
            chs_info=chs_info,
            n_times=n_times,
            input_window_seconds=input_window_seconds,
            sfreq=sfreq,
        )
        del n_outputs, n_chans, chs_info, n_times, input_window_seconds, sfreq
        self.n_blocks, self.activation, self.drop_prob = n_blocks, activation, drop_prob
        self.flatten = nn.Flatten()
        self._build(self.n_outputs)

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        """Encode trials.

        Parameters
        ----------
        x : Tensor, shape (b, c, t)
            Trials.
        return_features : bool
            Return what enters the last layer instead, as a dictionary with ``"features"``.

        Returns
        -------
        Tensor, shape (b, n_outputs), or dict
        """
        features = self.blocks(self.linear(self.flatten(x)))
        if not torch.jit.is_scripting():
            if return_features:
                return {"features": features, "cls_token": None}
        return self.final_layer(features)

    def reset_head(self, n_outputs: int) -> None:
        """Replace everything behind the flattened trial by new layers of another width."""
        self._set_n_outputs(n_outputs)
        old = self.linear.weight
        self._build(n_outputs)
        self.to(old)

    def _build(self, width: int) -> None:
        self.linear = nn.Linear(self.n_chans * self.n_times, width)
        blocks = [
            ResidualBlock(width, self.activation, self.drop_prob) for _ in range(self.n_blocks)
        ]
        self.blocks = nn.Sequential(*blocks)
        self.final_layer = nn.LayerNorm(width)


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

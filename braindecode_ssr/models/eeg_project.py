"""EEGProject: the flattened trial through one residual projector."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .modules import ResidualBlock, ResidualProjector
from .names import Configured, quiet_import

# License: BSD-3


with quiet_import():
    from braindecode.models.base import EEGModuleMixin


class EEGProject(
    Configured, EEGModuleMixin, nn.Module, license="bsd-3-clause", docs_url=None, repo_url=None
):
    r"""EEGProject from Wu et al (2025) [Wu2025]_.

    .. rubric:: Architecture Overview

    No convolution and no attention: a trial is flattened to one vector of
    :math:`n_{chans} \cdot n_{times}` numbers, mapped linearly to ``n_outputs``, refined by one
    residual layer and normalised. On averaged trials of one person and few channels this is the
    encoder of the best published retrieval results.

    .. rubric:: Macro Components

    - ``EEGProject.flatten`` **Flatten**: ``(b, c, t)`` to ``(b, c * t)``.
    - ``EEGProject.final_layer`` **Projector**: linear map, residual layer (activation, linear map,
      drop-out), layer norm.

    .. rubric:: Temporal, Spatial, and Spectral Encoding

    - **Temporal and spatial**: one weight for each channel, sample and output.
    - **Spectral**: none of its own.

    Parameters
    ----------
    activation : type[nn.Module], default=nn.GELU
        The nonlinearity of the residual layer.
    drop_prob : float, default=0.3
        Drop-out probability of the residual layer.

    References
    ----------
    .. [Wu2025] Wu, H., Li, Q., Zhang, C., He, Z., & Ying, X. (2025). Bridging the Vision-Brain Gap
       with an Uncertainty-Aware Blur Prior. CVPR. https://arxiv.org/abs/2503.04207
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
        activation: type[nn.Module] = nn.GELU,
        drop_prob: float = 0.3,
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
        self.activation = activation
        self.drop_prob = drop_prob
        self.flatten = nn.Flatten()
        self.final_layer = ResidualProjector(
            self.n_chans * self.n_times, self.n_outputs, activation, drop_prob
        )

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
        features = self.flatten(x)
        if not torch.jit.is_scripting():
            if return_features:
                return {"features": features, "cls_token": None}
        return self.final_layer(features)

    def reset_head(self, n_outputs: int) -> None:
        """Replace the projector by a new one of another width."""
        self._set_n_outputs(n_outputs)
        width = self.n_chans * self.n_times
        weight = self.final_layer.linear.weight
        self.final_layer = ResidualProjector(width, n_outputs, self.activation, self.drop_prob).to(
            weight
        )


# License: BSD-3


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

"""The brain encoder of BraVL: the flattened trial through two hidden layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .names import Configured, quiet_import

# License: BSD-3


with quiet_import():
    from braindecode.models.base import EEGModuleMixin


class BraVL(
    Configured, EEGModuleMixin, nn.Module, license="bsd-3-clause", docs_url=None, repo_url=None
):
    r"""The brain encoder of BraVL from Du et al (2023) [Du2023]_.

    .. rubric:: Architecture Overview

    A trial is multiplied by a number, flattened, and taken through two hidden layers; a linear map gives the
    mean of a latent vector. The map that gives its variance is needed in training only and belongs to
    :class:`braindecode_ssr.losses.BraVLLoss`. Inside SSR, what enters the last map is the features, so that
    SSR's own brain projector stands in its place.

    .. rubric:: Macro Components

    - ``BraVL.flatten`` **Flatten**: ``(b, c, t)`` to ``(b, c * t)``.
    - ``BraVL.layers`` **Hidden layers**, each a linear map and an activation; drop-out behind them.
    - ``BraVL.final_layer`` **Linear map** to ``n_outputs``.

    .. rubric:: Temporal, Spatial, and Spectral Encoding

    - **Temporal and spatial**: one weight for each channel, sample and hidden unit.
    - **Spectral**: none of its own.

    Parameters
    ----------
    hidden : int, default=256
        Width of both hidden layers.
    factor : float, default=2.0
        By which a trial is multiplied.
    activation : type[nn.Module], default=nn.ReLU
        The nonlinearity behind each hidden layer.
    drop_prob : float, default=0.0
        Drop-out probability behind the hidden layers.

    References
    ----------
    .. [Du2023] Du, C., Fu, K., Li, J., & He, H. (2023). Decoding Visual Neural Representations by Multimodal
       Learning of Brain-Visual-Linguistic Features. IEEE TPAMI. https://arxiv.org/abs/2210.06756
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
        hidden: int = 256,
        factor: float = 2.0,
        activation: type[nn.Module] = nn.ReLU,
        drop_prob: float = 0.0,
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
        self.factor = factor
        self.flatten = nn.Flatten()
        self.layers = nn.Sequential(
            nn.Linear(self.n_chans * self.n_times, hidden),
            activation(),
            nn.Linear(hidden, hidden),
            activation(),
            nn.Dropout(drop_prob),
        )
        self.final_layer = nn.Linear(hidden, self.n_outputs)

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
        features = self.layers(self.flatten(self.factor * x))
        if not torch.jit.is_scripting():
            if return_features:
                return {"features": features, "cls_token": None}
        return self.final_layer(features)

    def reset_head(self, n_outputs: int) -> None:
        """Replace the last map by a new one of another width."""
        self._set_n_outputs(n_outputs)
        old = self.final_layer.weight
        self.final_layer = nn.Linear(old.shape[1], n_outputs).to(old)

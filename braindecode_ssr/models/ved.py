"""The brain encoder of VED: weighted sums of channels, and a perceptron along time."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from ..errors import UsageError
from .names import Configured, quiet_import

# License: BSD-3


with quiet_import():
    from braindecode.models.base import EEGModuleMixin


class VED(
    Configured, EEGModuleMixin, nn.Module, license="bsd-3-clause", docs_url=None, repo_url=None
):
    r"""The brain encoder of VED from Liu et al (2026) [Liu2026]_.

    :bdg-success:`Convolution`

    .. rubric:: Architecture Overview

    A few sums of channels, whose weights are never negative, are normalised; one perceptron with two
    layers looks at the whole time course of each; a linear map sees all of them.

    .. rubric:: Macro Components

    - ``VED.spatial`` **Sums of channels**: ``(b, c, t)`` to ``(b, n_filters, t)``, no bias.
    - ``VED.norm`` **Batch norm** of each sum.
    - ``VED.temporal`` **Perceptron** along time, the same for each sum: ``t`` to ``n_hidden`` to
      ``n_hidden``, an activation and drop-out after each.
    - ``VED.flatten`` **Flatten**.
    - ``VED.final_layer`` **Linear map** to ``n_outputs``.

    .. rubric:: Temporal, Spatial, and Spectral Encoding

    - **Temporal**: one weight for each sample and hidden number.
    - **Spatial**: one weight for each channel and sum.
    - **Spectral**: none of its own.

    .. rubric:: Usage

    Drop-out and the place of activations are those of the public code. There, weights are
    overwritten by their absolute values before each step; here the absolute value is part of the
    map, so that gradients know of it. For MEG the code has 50 sums, 150 hidden numbers, weights of
    either sign and no batch norm.

    Parameters
    ----------
    n_filters : int, default=25
        Number of sums of channels.
    n_hidden : int, default=200
        Width of both layers of the perceptron.
    spatial_weights : {"absolute", "signed"}, default="absolute"
        Whether channels are summed with absolute weights, or with weights of either sign.
    spatial_norm : {"batch", "none"}, default="batch"
        What normalises the sums.
    hidden_drop_prob : float, default=0.25
        Drop-out probability after the first layer of the perceptron.
    activation : type[nn.Module], default=nn.ELU
        The nonlinearity of the perceptron.
    drop_prob : float, default=0.65
        Drop-out probability after its second layer.

    References
    ----------
    .. [Liu2026] Liu, W., Li, H., Xu, Z., Ma, L., & Li, H. (2026). Leveraging Visual Blur Perception
       Characteristics for EEG Decoding. AAAI, 40(21), 17580-17588.
       https://github.com/makeitperfect/VisualEEGDecoding
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
        n_filters: int = 25,
        n_hidden: int = 200,
        spatial_weights: Literal["absolute", "signed"] = "absolute",
        spatial_norm: Literal["batch", "none"] = "batch",
        hidden_drop_prob: float = 0.25,
        activation: type[nn.Module] = nn.ELU,
        drop_prob: float = 0.65,
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
        _check("spatial_weights", spatial_weights, ("absolute", "signed"))
        _check("spatial_norm", spatial_norm, ("batch", "none"))
        sums = AbsoluteSums if spatial_weights == "absolute" else ChannelSums
        self.spatial = sums(self.n_chans, n_filters)
        self.norm = nn.BatchNorm1d(n_filters) if spatial_norm == "batch" else nn.Identity()
        self.temporal = nn.Sequential(
            nn.Linear(self.n_times, n_hidden),
            activation(),
            nn.Dropout(hidden_drop_prob),
            nn.Linear(n_hidden, n_hidden),
            activation(),
            nn.Dropout(drop_prob),
        )
        self.flatten = nn.Flatten()
        self.final_layer = nn.Linear(n_filters * n_hidden, self.n_outputs)

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
        features = self.flatten(self.temporal(self.norm(self.spatial(x))))
        if not torch.jit.is_scripting():
            if return_features:
                return {"features": features, "cls_token": None}
        return self.final_layer(features)

    def reset_head(self, n_outputs: int) -> None:
        """Replace the last layer by one of another width."""
        self._set_n_outputs(n_outputs)
        old = self.final_layer
        self.final_layer = nn.Linear(old.in_features, n_outputs).to(old.weight)


class ChannelSums(nn.Linear):
    """Weighted sums of channels, the same at every sample: a convolution as high as its input.

    Parameters
    ----------
    n_chans, n_filters : int
        Channels, and sums.
    """

    def __init__(self, n_chans: int, n_filters: int) -> None:
        super().__init__(n_chans, n_filters, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sum channels, shape (b, c, t) to (b, n_filters, t)."""
        return self.weight @ x


class AbsoluteSums(ChannelSums):
    """Sums of channels with the absolute values of the weights."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sum channels, shape (b, c, t) to (b, n_filters, t)."""
        return self.weight.abs() @ x


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(
            f"{name} {' or '.join(map(repr, known))}", repr(value), "choose one of the two"
        )

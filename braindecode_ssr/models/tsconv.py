# License: BSD-3
"""TSConv: the temporal-spatial convolution of NICE with its projector."""

from __future__ import annotations

from typing import Any, Literal

import torch
from einops.layers.torch import Rearrange
from torch import nn

from ..errors import UsageError
from .host import quiet_import
from .projector import ResidualProjector

with quiet_import():
    from braindecode.models.base import EEGModuleMixin


class TSConv(EEGModuleMixin, nn.Module, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""TSConv from Song et al (2024) [Song2024]_.

    :bdg-success:`Convolution`

    .. rubric:: Architecture Overview

    A shallow convolutional network: filters along time, average pooling, filters across all
    channels, a point-wise convolution; then a projector to the shared space. The usual encoder
    where the tested person is not among the training ones.

    .. rubric:: Macro Components

    - ``TSConv.front``: nothing; models made of TSConv have here what comes before it.
    - ``TSConv.temporal`` **Temporal filters**: convolution along time, average pooling, batch norm.
    - ``TSConv.spatial`` **Spatial filters**: convolution across all channels, batch norm,
      drop-out.
    - ``TSConv.mix`` **Mixing**: point-wise convolution of the filters, flattened.
    - ``TSConv.final_layer`` **Projector**: linear map, residual layer, layer norm.

    .. rubric:: Temporal, Spatial, and Spectral Encoding

    - **Temporal**: kernels of ``kernel_length`` samples, then means over ``pool_length`` samples.
    - **Spatial**: one weight for each channel and pair of filters.
    - **Spectral**: what the temporal kernels learn.

    Parameters
    ----------
    n_filters : int, default=40
        Number of temporal and of spatial filters.
    kernel_length : int, default=25
        Length of the temporal filters in samples.
    pool_length : int, default=51
        Samples that are averaged.
    pool_stride : int, default=5
        Samples from one average to the next.
    weight_init : {"normal", "torch"}, default="normal"
        Starting weights: NICE's (N(0, 0.02) for the weights of convolutions and linear maps,
        N(1, 0.02) for the gains of batch norms), or PyTorch's as in NeuroBridge.
    activation : type[nn.Module], default=nn.ELU
        The nonlinearity of the convolutions; the projector's is GELU.
    drop_prob : float, default=0.5
        Drop-out probability after the spatial filters and in the projector.

    References
    ----------
    .. [Song2024] Song, Y., Liu, B., Li, X., Shi, N., Wang, Y., & Gao, X. (2024). Decoding Natural
       Images from EEG for Object Recognition. ICLR. https://arxiv.org/abs/2308.13234
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
        n_filters: int = 40,
        kernel_length: int = 25,
        pool_length: int = 51,
        pool_stride: int = 5,
        weight_init: Literal["normal", "torch"] = "normal",
        activation: type[nn.Module] = nn.ELU,
        drop_prob: float = 0.5,
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
        self.weight_init = _check_weight_init(weight_init)
        self.drop_prob = drop_prob
        self.n_features = n_filters * self._n_windows(kernel_length, pool_length, pool_stride)
        self.front = nn.Identity()
        self.temporal = nn.Sequential(
            nn.Identity(),
            FilteredMeans(n_filters, kernel_length, pool_length, pool_stride),
            Rearrange("b c w f -> b f c w"),
            nn.BatchNorm2d(n_filters),
            activation(),
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(n_filters, n_filters, (self.n_chans, 1)),
            nn.BatchNorm2d(n_filters),
            activation(),
            nn.Dropout(drop_prob),
        )
        self.mix = nn.Sequential(
            nn.Conv2d(n_filters, n_filters, 1), Rearrange("b f 1 w -> b (w f)")
        )
        self.final_layer = ResidualProjector(self.n_features, self.n_outputs, drop_prob=drop_prob)
        if self.weight_init == "normal":
            self.apply(_normal_weights)

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        """Encode trials.

        Parameters
        ----------
        x : Tensor, shape (b, c, t)
            Trials.
        return_features : bool
            Return what enters the projector instead, as a dictionary with ``"features"``.

        Returns
        -------
        Tensor, shape (b, n_outputs), or dict
        """
        features = self.mix(self.spatial(self.temporal(self.front(x))))
        if not torch.jit.is_scripting():
            if return_features:
                return {"features": features, "cls_token": None}
        return self.final_layer(features)

    def reset_head(self, n_outputs: int) -> None:
        """Replace the projector by a new one of another width."""
        self._set_n_outputs(n_outputs)
        head = ResidualProjector(self.n_features, n_outputs, drop_prob=self.drop_prob)
        if self.weight_init == "normal":
            head.apply(_normal_weights)
        self.final_layer = head.to(self.final_layer.linear.weight)

    def _n_windows(self, kernel_length: int, pool_length: int, pool_stride: int) -> int:
        shortest = kernel_length + pool_length - 1
        if self.n_times < shortest:
            raise UsageError(
                f"trials of at least {shortest} samples for {type(self).__name__}",
                f"{self.n_times} samples",
                "give longer trials, or smaller kernel_length and pool_length in backbone_params",
            )
        return (self.n_times - shortest) // pool_stride + 1


class FilteredMeans(nn.Conv2d):
    """Means over time of what filters along time give, at each channel.

    The mean of a filtered signal is the filtered mean of the signal. Taken in that order, the
    filters need to know the places alone whose means are asked for: with TSConv's own sizes a
    fifth of the work, and a fifth of the memory, of filtering first.

    Parameters
    ----------
    n_filters, kernel_length : int
        Filters, and their length in samples.
    pool_length, pool_stride : int
        Samples that are averaged, and from one average to the next.
    """

    def __init__(
        self, n_filters: int, kernel_length: int, pool_length: int, pool_stride: int
    ) -> None:
        super().__init__(1, n_filters, (1, kernel_length))
        self.kernel_length = kernel_length
        self.pool_length, self.pool_stride = pool_length, pool_stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Filter and average, shape (b, c, t) to (b, c, windows, filters)."""
        means = nn.functional.avg_pool1d(x, self.pool_length, 1)
        parts = means.unfold(2, self.kernel_length, self.pool_stride)
        return nn.functional.linear(parts, self.weight.flatten(1), self.bias)


def _check_weight_init(weight_init: str) -> str:
    if weight_init not in ("normal", "torch"):
        raise UsageError(
            "weight_init 'normal' or 'torch'", repr(weight_init), "choose one of the two"
        )
    return weight_init


def _normal_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)

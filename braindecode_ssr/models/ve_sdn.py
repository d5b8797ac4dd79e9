"""The brain encoder of VE-SDN: attention between channels, convolutions, pooled to 64 windows."""

from __future__ import annotations

from typing import Any

import torch
from einops.layers.torch import Rearrange
from torch import nn

from ..errors import UsageError
from .names import Configured, quiet_import
from .nice import FilteredMeans, NormalisedFilters, SpatialFilters, in_place, normal_weights

# License: BSD-3


with quiet_import():
    from braindecode.models.base import EEGModuleMixin

N_WINDOWS = 64


class VESDN(
    Configured, EEGModuleMixin, nn.Module, license="bsd-3-clause", docs_url=None, repo_url=None
):
    r"""The brain encoder of VE-SDN from Chen et al (2024) [Chen2024]_.

    :bdg-success:`Convolution` :bdg-info:`Attention/Transformer`

    .. rubric:: Architecture Overview

    A learned number is added to every sample of every channel; channels attend to each other in one
    layer of a Transformer; filters along time, means over 64 windows, filters across channels and a
    point-wise convolution to 16 features for each window give 1024 numbers.

    .. rubric:: Macro Components

    - ``VESDN.place`` **Embedding** of channel and time, added.
    - ``VESDN.attend`` **Transformer layer** between channels, norm after each part.
    - ``VESDN.temporal``, ``VESDN.spatial``, ``VESDN.mix`` **Convolutions**, flattened.
    - ``VESDN.final_layer``: nothing where ``n_outputs`` is 1024, as published; else a linear map.

    .. rubric:: Temporal, Spatial, and Spectral Encoding

    - **Temporal**: kernels of ``kernel_length`` samples, then means over windows.
    - **Spatial**: attention between channels, then one weight for each channel.
    - **Spectral**: what the temporal kernels learn.

    Parameters
    ----------
    n_filters : int, default=40
        Number of temporal and of spatial filters.
    n_mixed : int, default=16
        Features of each window.
    kernel_length : int, default=25
        Length of the temporal filters in samples.
    attention_drop_prob : float, default=0.1
        Drop-out probability of the Transformer.
    activation : type[nn.Module], default=nn.ELU
        The nonlinearity of the convolutions.
    drop_prob : float, default=0.5
        Drop-out probability after the spatial filters.

    References
    ----------
    .. [Chen2024] Chen, H., He, L., Liu, Y., & Yang, L. (2024). Visual Neural Decoding via Improved
       Visual-EEG Semantic Consistency. https://arxiv.org/abs/2408.06788
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
        n_mixed: int = 16,
        kernel_length: int = 25,
        attention_drop_prob: float = 0.1,
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
        self._check_length(kernel_length)
        self.n_features = n_mixed * N_WINDOWS
        self.place = Place(self.n_chans, self.n_times)
        self.attend = nn.TransformerEncoderLayer(
            self.n_times, 1, self.n_times, dropout=attention_drop_prob, batch_first=True
        )
        self.temporal = NormalisedFilters(
            nn.Identity(),
            FilteredMeans(n_filters, kernel_length, WindowMeans(self.n_times, kernel_length)),
            Rearrange("b w c f -> b f w c"),
            nn.BatchNorm2d(n_filters),
            in_place(activation),
        )
        self.spatial = nn.Sequential(
            SpatialFilters(n_filters, self.n_chans),
            nn.BatchNorm2d(n_filters),
            activation(),
            nn.Dropout(drop_prob),
        )
        self.mix = nn.Sequential(nn.Conv2d(n_filters, n_mixed, 1), Rearrange("b f 1 w -> b (w f)"))
        self.final_layer = self._head(self.n_outputs)
        self.apply(normal_weights)

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
        features = self.mix(self.spatial(self.temporal(self.attend(self.place(x)))))
        if not torch.jit.is_scripting():
            if return_features:
                return {"features": features, "cls_token": None}
        return self.final_layer(features)

    def reset_head(self, n_outputs: int) -> None:
        """Replace the last layer by one of another width."""
        self._set_n_outputs(n_outputs)
        self.final_layer = self._head(n_outputs).apply(normal_weights).to(self.place.weight)

    def _head(self, n_outputs: int) -> nn.Module:
        same = n_outputs == self.n_features
        return nn.Identity() if same else nn.Linear(self.n_features, n_outputs)

    def _check_length(self, kernel_length: int) -> None:
        if self.n_times < kernel_length:
            raise UsageError(
                f"trials of at least {kernel_length} samples for VESDN",
                f"{self.n_times} samples",
                "give longer trials, or a smaller kernel_length in backbone_params",
            )


class Place(nn.Module):
    """Add a learned number to every sample of every channel.

    Parameters
    ----------
    n_chans, n_times : int
    """

    def __init__(self, n_chans: int, n_times: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_chans, n_times))
        nn.init.normal_(self.weight, 0.0, 0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add to trials of shape (b, c, t)."""
        return x + self.weight


class WindowMeans(nn.Module):
    """Means over 64 windows at each tap of a filter.

    The windows are those of an adaptive pool of what the filter gives: as even as they can be, overlapping
    by a sample where its length cannot be divided by their number.

    Parameters
    ----------
    n_times, kernel_length : int
        Samples of a trial and of the filter.
    """

    def __init__(self, n_times: int, kernel_length: int) -> None:
        super().__init__()
        self.kernel_length = kernel_length
        means = window_means(n_times, kernel_length, N_WINDOWS)
        self.register_buffer("means", means, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Average, shape (b, c, t) to (b, windows, c, kernel_length)."""
        return (x @ self.means).unflatten(2, (-1, self.kernel_length)).transpose(1, 2)


def window_means(n_times: int, kernel_length: int, n_windows: int) -> torch.Tensor:
    """What makes each tap's mean over each window out of the samples of a trial.

    Parameters
    ----------
    n_times, kernel_length, n_windows : int

    Returns
    -------
    Tensor, shape (n_times, n_windows * kernel_length)
    """
    n_filtered = n_times - kernel_length + 1
    window = torch.arange(n_windows)
    start, stop = window * n_filtered // n_windows, -(-(window + 1) * n_filtered // n_windows)
    first = start[:, None] + torch.arange(kernel_length)
    last = stop[:, None] + torch.arange(kernel_length)
    sample = torch.arange(n_times)[:, None, None]
    inside = (first <= sample) & (sample < last)
    return (inside / (stop - start)[:, None]).flatten(1)

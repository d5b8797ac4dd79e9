"""TSConv, the temporal-spatial convolution of NICE, and its variants with attention between channels.

:func:`plain_layers` is the network as published; :class:`TSConv` computes the same faster.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Literal

import torch
from einops.layers.torch import Rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from ..registry import check_choice
from .modules import Encoder, ResidualProjector

WeightInit = Literal["normal", "torch"]


def plain_layers(
    n_chans: int,
    n_filters: int = 40,
    kernel_length: int = 25,
    pool_length: int = 51,
    pool_stride: int = 5,
    activation: type[nn.Module] = nn.ELU,
    drop_prob: float = 0.5,
) -> nn.Sequential:
    """TSConv up to its projector, layer by layer as published: (b, c, t) to (b, features)."""
    return nn.Sequential(
        Rearrange("b c t -> b 1 c t"),
        nn.Conv2d(1, n_filters, (1, kernel_length)),  # filters along time
        nn.AvgPool2d((1, pool_length), (1, pool_stride)),
        *(nn.BatchNorm2d(n_filters), activation()),
        nn.Conv2d(n_filters, n_filters, (n_chans, 1)),  # filters across all channels
        *(nn.BatchNorm2d(n_filters), activation(), nn.Dropout(drop_prob)),
        nn.Conv2d(n_filters, n_filters, 1),
        Rearrange("b f 1 w -> b (w f)"),
    )


class TSConv(Encoder, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""TSConv from Song et al (2024) [Song2024]_.

    :bdg-success:`Convolution`

    .. rubric:: Architecture Overview

    A shallow convolutional network: filters along time, average pooling, filters across all channels, a
    point-wise convolution; then a projector to the shared space. The usual encoder for subjects that were not
    trained on. :func:`plain_layers` shows the layers as published.

    .. rubric:: Macro Components

    - ``TSConv.front``: nothing; variants of TSConv put here what comes before the convolutions.
    - ``TSConv.temporal`` **Temporal filters**: convolution along time, average pooling, batch norm.
    - ``TSConv.spatial`` **Spatial filters**: convolution across all channels, batch norm, dropout.
    - ``TSConv.mix`` **Mixing**: point-wise convolution of the filters, flattened.
    - ``TSConv.final_layer`` **Projector**: linear map, residual layer, layer norm.

    .. rubric:: Additional Mechanisms

    Features are flattened window by window, as in NICE's code, not filter by filter as in NeuroBridge's. A
    weight w of the first linear map of NeuroBridge's projector fits here as
    ``w.unflatten(1, (n_filters, -1)).transpose(1, 2).flatten(1)``; as it is, its shape fits too, and the
    output is wrong.

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
        Initial weights: NICE's (N(0, 0.02) for the weights of convolutions and linear maps, N(1, 0.02) for
        the gains of batch norms), or PyTorch's as in NeuroBridge.
    activation : type[nn.Module], default=nn.ELU
        The nonlinearity of the convolutions; the projector's is GELU.
    drop_prob : float, default=0.5
        Dropout probability after the spatial filters and in the projector.

    References
    ----------
    .. [Song2024] Song, Y., Liu, B., Li, X., Shi, N., Wang, Y., & Gao, X. (2024). Decoding Natural
       Images from EEG for Object Recognition. ICLR. https://arxiv.org/abs/2308.13234
    """

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
        weight_init: WeightInit = "normal",
        activation: type[nn.Module] = nn.ELU,
        drop_prob: float = 0.5,
    ) -> None:
        super().__init__(n_outputs, n_chans, chs_info, n_times, input_window_seconds, sfreq)
        check_choice("weight_init", weight_init, WeightInit)
        shortest = kernel_length + pool_length - 1
        check_length(self, shortest, "kernel_length and pool_length")
        self.weight_init, self.drop_prob = weight_init, drop_prob
        self.n_features = n_filters * ((self.n_times - shortest) // pool_stride + 1)
        self.front: nn.Module = nn.Identity()
        pieces = MovingMeans(kernel_length, pool_length, pool_stride)
        self.temporal = temporal_filters(n_filters, kernel_length, pieces, activation)
        self.spatial = spatial_filters(n_filters, self.n_chans, activation, drop_prob)
        self.mix = nn.Sequential(
            nn.Conv2d(n_filters, n_filters, 1), Rearrange("b f 1 w -> b (w f)")
        )
        self.final_layer = self.make_head(self.n_outputs)
        if weight_init == "normal":
            self.apply(normal_weights)

    def encode(self, x: Tensor) -> Tensor:
        return self.mix(self.spatial(self.temporal(self.front(x))))

    def make_head(self, n_outputs: int) -> nn.Module:
        return ResidualProjector(self.n_features, n_outputs, drop_prob=self.drop_prob)

    def reset_head(self, n_outputs: int) -> None:
        super().reset_head(n_outputs)
        if self.weight_init == "normal":
            self.final_layer.apply(normal_weights)


def check_length(model: Encoder, shortest: int, lengths: str) -> None:
    if model.n_times < shortest:
        raise UsageError(
            f"{type(model).__name__} needs trials of at least {shortest} samples; these have {model.n_times}",
            f"use longer trials, or a smaller {lengths} in backbone_params",
        )


def normal_weights(module: nn.Module) -> None:
    """NICE's initial weights, for ``model.apply``: see ``weight_init`` of :class:`TSConv`."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


# The fast form of the layers -----------------------------------------------------------------------


def temporal_filters(
    n_filters: int, kernel_length: int, pieces: nn.Module, activation: type[nn.Module]
) -> NormalizedFilters:
    """Convolution along time, averages, batch norm, activation: (b, c, t) to (b, filters, windows, c)."""
    return NormalizedFilters(
        nn.Identity(),
        FilteredMeans(n_filters, kernel_length, pieces),
        Rearrange("b w c f -> b f w c"),
        nn.BatchNorm2d(n_filters),
        # batch norm does not need its output on the way back, so ELU may overwrite it
        activation(inplace=True) if activation is nn.ELU else activation(),
    )


def spatial_filters(
    n_filters: int, n_chans: int, activation: type[nn.Module], drop_prob: float
) -> nn.Sequential:
    """Convolution across all channels, batch norm, activation, dropout: to (b, filters, 1, windows)."""
    return nn.Sequential(
        SpatialFilters(n_filters, n_chans),
        nn.BatchNorm2d(n_filters),
        activation(),
        nn.Dropout(drop_prob),
    )


class FilteredMeans(nn.Conv2d):
    """Averages over time of a temporal convolution, shape (b, c, t) to (b, windows, c, filters).

    The mean of a filtered signal is the filtered mean of the signal. Averaging first (``pieces``: (b, c, t)
    to (b, windows, c, kernel_length)), filters are evaluated only where an average is asked for: with
    TSConv's sizes a fifth of the work and a fifth of the memory of filtering first.
    """

    def __init__(self, n_filters: int, kernel_length: int, pieces: nn.Module) -> None:
        super().__init__(1, n_filters, (1, kernel_length))
        self.kernel_length = kernel_length
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.pieces(x), self.weight.flatten(1), self.bias)


class MovingMeans(nn.Module):
    """Pieces of a trial's moving average, shape (b, c, t) to (b, windows, c, kernel_length)."""

    def __init__(self, kernel_length: int, pool_length: int, pool_stride: int) -> None:
        super().__init__()
        self.kernel_length = kernel_length
        self.pool_length, self.pool_stride = pool_length, pool_stride

    def forward(self, x: Tensor) -> Tensor:
        means = F.avg_pool1d(x, self.pool_length, 1)
        return means.unfold(2, self.kernel_length, self.pool_stride).transpose(1, 2)


class NormalizedFilters(nn.Sequential):
    r"""Filters, batch norm and activation, computed as one linear map and the activation.

    Filters :math:`W` make :math:`W p + a` of a piece :math:`p` of a trial. The mean and variance that batch
    norm divides by follow from those of the pieces, :math:`W \mu + a` and :math:`\mathrm{diag}(W \Sigma
    W^\top)`, and normalizing is one more linear map:

    .. math:: \mathrm{BN}(W p + a) = G W p + G (a - W \mu - a) + \beta, \qquad
              G = \gamma / \sqrt{\mathrm{diag}(W \Sigma W^\top) + \epsilon}.

    This avoids the largest tensor of the model, and two more in the backward pass. Any other layer in the
    place of PyTorch's own batch norm, and TorchScript, run layer by layer.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not torch.jit.is_scripting():
            if type(self[3]) is nn.BatchNorm2d and self[3].momentum is not None:
                return self._folded(input)
        for module in self:
            input = module(input)
        return input

    @torch.jit.unused
    def _folded(self, x: Tensor) -> Tensor:
        filters: Any = self[1]
        norm: Any = self[3]
        x = self[0](x)
        # A level that all samples share would cost digits; batch norm removes it anyway.
        level = x.detach().mean() if norm.training else 0.0
        pieces = filters.pieces(x - level)
        rows = pieces.reshape(-1, filters.kernel_length)
        device = x.device.type  # half precision is too coarse for moments
        with nullcontext() if device == "meta" else torch.autocast(device, enabled=False):
            weight, bias = filters.weight.flatten(1), filters.bias
            mean, variance = norm.running_mean, norm.running_var
            if norm.training:
                mean, variance = _moments(rows.to(weight), weight, bias)
                _update_running(norm, mean + level * weight.sum(1), variance, len(rows))
            gain = norm.weight * (variance + norm.eps).rsqrt()
            weight, bias = weight * gain[:, None], (bias - mean) * gain + norm.bias
        active = self[4](F.linear(rows, weight, bias))
        return self[2](active.unflatten(0, pieces.shape[:-1]))


def _moments(rows: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance, over rows (n, k), of the outputs of filters (f, k)."""
    mean = rows.mean(0)
    covariance = rows.T @ rows / len(rows) - mean.outer(mean)
    return weight @ mean + bias, ((weight @ covariance) * weight).sum(1)


@torch.no_grad()
def _update_running(norm: Any, mean: Tensor, variance: Tensor, n: int) -> None:
    """Update running statistics with those of a batch of ``n`` values, as batch norm does."""
    norm.num_batches_tracked.add_(1)
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance * (n / max(n - 1, 1)), norm.momentum)


class SpatialFilters(nn.Conv2d):
    """A convolution as high as its input, shape (b, filters, windows, c) to (b, filters, 1, windows).

    It is one matrix product if channels and filters are adjacent in memory, as :class:`FilteredMeans` leaves
    them; the general convolution takes several times as long backward, and buffers as large as its input.
    """

    def __init__(self, n_filters: int, n_chans: int) -> None:
        super().__init__(n_filters, n_filters, (n_chans, 1))

    def forward(self, x: Tensor) -> Tensor:
        adjacent = x.permute(0, 2, 3, 1).flatten(2)
        filtered = F.linear(adjacent, self.weight.transpose(1, 2).flatten(1), self.bias)
        return filtered.transpose(1, 2).unsqueeze(2)


# Variants with attention between channels ----------------------------------------------------------


class NICESA(TSConv, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""NICE-SA, self-attention between channels and TSConv, from Song et al (2024), see :class:`TSConv`.

    :bdg-success:`Convolution` :bdg-info:`Attention/Transformer`

    .. rubric:: Architecture Overview

    Every channel is a token of ``n_times`` numbers. One head of attention lets channels take up what similar
    channels have; the result is added to the trial, which then enters TSConv.

    .. rubric:: Macro Components

    - ``NICESA.front`` **Attention**: :math:`x + \mathrm{softmax}(QK^\top/\sqrt{t})\,V` with
      :math:`Q, K, V` linear maps of :math:`x` along time.
    - the rest is :class:`~braindecode_ssr.models.nice.TSConv`.

    .. rubric:: Additional Mechanisms

    The attention follows the equations of the paper, which gives no parameter count.

    Parameters
    ----------
    attention_drop_prob : float, default=0.3
        Dropout probability of what the attention adds.
    activation, drop_prob
        As for :class:`TSConv`.
    """

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        attention_drop_prob: float = 0.3,
        activation: type[nn.Module] = nn.ELU,
        drop_prob: float = 0.5,
    ) -> None:
        signal = n_outputs, n_chans, chs_info, n_times, input_window_seconds, sfreq
        super().__init__(*signal, activation=activation, drop_prob=drop_prob)
        self.front = ChannelAttention(self.n_times, attention_drop_prob)


class ChannelAttention(nn.Module):
    """One head of self-attention between channels, with a residual connection: (b, c, t) to the same."""

    def __init__(self, n_times: int, drop_prob: float) -> None:
        super().__init__()
        self.query = nn.Linear(n_times, n_times)
        self.key = nn.Linear(n_times, n_times)
        self.value = nn.Linear(n_times, n_times)
        self.drop = nn.Dropout(drop_prob)
        self.scale = n_times**-0.5

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.query(x) @ self.key(x).mT * self.scale).softmax(-1)
        return x + self.drop(weight @ self.value(x))


class NICEGA(TSConv, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""NICE-GA, graph attention between channels and TSConv, from Song et al (2024), see :class:`TSConv`.

    :bdg-success:`Convolution` :bdg-info:`Attention/Transformer`

    .. rubric:: Architecture Overview

    Channels are the nodes of a complete graph. One layer of graph attention [Velickovic2018]_ updates them;
    the result is added to the trial, which then enters TSConv.

    .. rubric:: Macro Components

    - ``NICEGA.front`` **Graph attention**: :math:`x_i + \sum_j \alpha_{ij} W x_j + b` with
      :math:`\alpha_i = \mathrm{softmax}_j\,\mathrm{LeakyReLU}(a^\top W x_i + a'^\top W x_j)`, over all
      channels, itself included.
    - the rest is :class:`~braindecode_ssr.models.nice.TSConv`.

    .. rubric:: Additional Mechanisms

    The attention follows the equations of the paper, which gives no parameter count.

    Parameters
    ----------
    negative_slope : float, default=0.2
        Slope of the leaky ReLU for negative numbers.
    attention_drop_prob : float, default=0.3
        Dropout probability of what the attention adds.
    activation, drop_prob
        As for :class:`TSConv`.

    References
    ----------
    .. [Velickovic2018] Veličković, P., Cucurull, G., Casanova, A., Romero, A., Liò, P., & Bengio, Y.
       (2018). Graph Attention Networks. ICLR. https://arxiv.org/abs/1710.10903
    """

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        negative_slope: float = 0.2,
        attention_drop_prob: float = 0.3,
        activation: type[nn.Module] = nn.ELU,
        drop_prob: float = 0.5,
    ) -> None:
        signal = n_outputs, n_chans, chs_info, n_times, input_window_seconds, sfreq
        super().__init__(*signal, activation=activation, drop_prob=drop_prob)
        self.front = GraphAttention(self.n_times, negative_slope, attention_drop_prob)


class GraphAttention(nn.Module):
    """One layer of graph attention over all channels, with a residual connection: (b, c, t) to the same."""

    def __init__(self, n_times: int, negative_slope: float, drop_prob: float) -> None:
        super().__init__()
        self.linear = nn.Linear(n_times, n_times, bias=False)
        self.receiver = nn.Linear(n_times, 1, bias=False)
        self.sender = nn.Linear(n_times, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(n_times))
        self.leak = nn.LeakyReLU(negative_slope)
        self.drop = nn.Dropout(drop_prob)

    def forward(self, x: Tensor) -> Tensor:
        node = self.linear(x)
        weight = self.leak(self.receiver(node) + self.sender(node).mT).softmax(-1)
        return x + self.drop(weight @ node + self.bias)

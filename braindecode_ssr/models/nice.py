"""TSConv: the temporal-spatial convolution of NICE with its projector."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from einops.layers.torch import Rearrange
from torch import nn

from ..errors import UsageError
from .modules import ResidualProjector
from .names import Configured, quiet_import

# License: BSD-3


with quiet_import():
    from braindecode.models.base import EEGModuleMixin


class TSConv(
    Configured, EEGModuleMixin, nn.Module, license="bsd-3-clause", docs_url=None, repo_url=None
):
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
        self.temporal = NormalisedFilters(
            nn.Identity(),
            FilteredMeans(
                n_filters, kernel_length, MovingMeans(kernel_length, pool_length, pool_stride)
            ),
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
        self.mix = nn.Sequential(
            nn.Conv2d(n_filters, n_filters, 1), Rearrange("b f 1 w -> b (w f)")
        )
        self.final_layer = ResidualProjector(self.n_features, self.n_outputs, drop_prob=drop_prob)
        if self.weight_init == "normal":
            self.apply(normal_weights)

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
            head.apply(normal_weights)
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
    pieces : Module
        Makes what the filters are laid on, shape (b, c, t) to (b, windows, c, kernel_length).
    """

    def __init__(self, n_filters: int, kernel_length: int, pieces: nn.Module) -> None:
        super().__init__(1, n_filters, (1, kernel_length))
        self.kernel_length = kernel_length
        self.pieces = pieces

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Filter and average, shape (b, c, t) to (b, windows, c, filters)."""
        return nn.functional.linear(self.pieces(x), self.weight.flatten(1), self.bias)


class MovingMeans(nn.Module):
    """Pieces of a trial's moving average, one every few samples.

    Parameters
    ----------
    kernel_length : int
        Length of a piece.
    pool_length, pool_stride : int
        Samples that are averaged, and from one piece to the next.
    """

    def __init__(self, kernel_length: int, pool_length: int, pool_stride: int) -> None:
        super().__init__()
        self.kernel_length = kernel_length
        self.pool_length, self.pool_stride = pool_length, pool_stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Cut, shape (b, c, t) to (b, windows, c, kernel_length)."""
        means = nn.functional.avg_pool1d(x, self.pool_length, 1)
        return means.unfold(2, self.kernel_length, self.pool_stride).transpose(1, 2)


class NormalisedFilters(nn.Sequential):
    r"""Filtered means, batch-normalised and activated: (b, c, t) to (b, filters, windows, c).

    Filters :math:`W` make :math:`W p + a` of a piece :math:`p` of a trial. The mean and variance that
    batch norm divides by follow from those of the pieces, :math:`W \mu + a` and
    :math:`\mathrm{diag}(W \Sigma W^\top)`, and normalising is one more linear map, so that

    .. math:: \mathrm{BN}(W p + a) = G W p + G (a - W \mu - a) + \beta, \qquad
              G = \gamma / \sqrt{\mathrm{diag}(W \Sigma W^\top) + \epsilon}.

    That spares the largest tensor of the model, and two more on the way back. It is done for
    PyTorch's own batch norm; any other layer in its place, and TorchScript, get what the filters give.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Filter, normalise, activate."""
        if not torch.jit.is_scripting():
            if _can_be_folded(self[3]):
                return self._folded(input)
        for module in self:
            input = module(input)
        return input

    @torch.jit.unused
    def _folded(self, x: torch.Tensor) -> torch.Tensor:
        filters, to_maps, norm, activation = self[1], self[2], self[3], self[4]
        x = self[0](x)
        level = x.detach().mean() if norm.training else 0.0  # takes digits, and batch norm takes it
        pieces = filters.pieces(x - level)
        rows = pieces.reshape(-1, filters.kernel_length)
        with _full_precision(x.device.type):
            weight, bias = filters.weight.flatten(1), filters.bias
            mean, variance = norm.running_mean, norm.running_var
            if norm.training:
                mean, variance = _moments(rows.to(weight), weight, bias)
                _keep_running(norm, mean + level * weight.sum(1), variance, len(rows))
            gain = norm.weight * (variance + norm.eps).rsqrt()
            weight, bias = weight * gain[:, None], (bias - mean) * gain + norm.bias
        active = activation(nn.functional.linear(rows, weight, bias))
        return to_maps(active.unflatten(0, pieces.shape[:-1]))


class SpatialFilters(nn.Conv2d):
    """Filters across all channels: a convolution whose kernel is as high as its input.

    It is one product of matrices if channels and filters lie side by side in memory, as
    :class:`FilteredMeans` leaves them; the general convolution takes several times as long
    backwards, and buffers as large as its input.

    Parameters
    ----------
    n_filters, n_chans : int
        Filters, of the input and of the output; channels.
    """

    def __init__(self, n_filters: int, n_chans: int) -> None:
        super().__init__(n_filters, n_filters, (n_chans, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Filter, shape (b, filters, windows, c) to (b, filters, 1, windows)."""
        side_by_side = x.permute(0, 2, 3, 1).flatten(2)
        weight = self.weight.transpose(1, 2).flatten(1)
        filtered = nn.functional.linear(side_by_side, weight, self.bias)
        return filtered.transpose(1, 2).unsqueeze(2)


def _moments(
    rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance over the rows, shape (n, k), of what filters (f, k) make of them."""
    mean = rows.mean(0)
    covariance = rows.T @ rows / len(rows) - mean.outer(mean)
    return weight @ mean + bias, ((weight @ covariance) * weight).sum(1)


def _full_precision(device: str) -> AbstractContextManager:
    off = torch.amp.is_autocast_available(device)
    return torch.autocast(device, enabled=False) if off else nullcontext()


def _can_be_folded(norm: nn.Module) -> bool:
    return type(norm) is nn.BatchNorm2d and norm.momentum is not None


@torch.no_grad()
def _keep_running(norm: nn.BatchNorm2d, mean: torch.Tensor, variance: torch.Tensor, n: int) -> None:
    """Let running statistics take in those of a batch of ``n`` values, as batch norm does."""
    norm.num_batches_tracked.add_(1)
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance * (n / max(n - 1, 1)), norm.momentum)


def in_place(activation: type[nn.Module]) -> nn.Module:
    """Make an activation; ELU overwrites its input, which batch norm does not need again."""
    return activation(inplace=True) if activation is nn.ELU else activation()


def _check_weight_init(weight_init: str) -> str:
    if weight_init not in ("normal", "torch"):
        raise UsageError(
            "weight_init 'normal' or 'torch'", repr(weight_init), "choose one of the two"
        )
    return weight_init


def normal_weights(module: nn.Module) -> None:
    """NICE's starting weights, for ``model.apply``: see ``weight_init`` of :class:`TSConv`."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


# License: BSD-3


class NICESA(TSConv, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""NICE-SA, TSConv behind self-attention of channels, from Song et al (2024) [Song2024]_.

    :bdg-success:`Convolution` :bdg-info:`Attention/Transformer`

    .. rubric:: Architecture Overview

    Every channel is a token of ``n_times`` numbers. One head of attention lets channels take up
    what similar channels have; the result is added to the trial, which then enters TSConv.

    .. rubric:: Macro Components

    - ``NICESA.front`` **Attention**: :math:`x + \mathrm{softmax}(QK^\top/\sqrt{t})\,V` with
      :math:`Q, K, V` linear maps of :math:`x` along time.
    - the rest is :class:`~braindecode_ssr.models.nice.TSConv`.

    .. rubric:: Temporal, Spatial, and Spectral Encoding

    - **Spatial**: weights between channels that depend on the trial, then those of TSConv.
    - **Temporal, spectral**: those of TSConv.

    .. rubric:: Additional Mechanisms

    The attention follows the equations of the paper, which give no count of parameters; the
    drop-out of the attended trial is 0.3.

    Parameters
    ----------
    attention_drop_prob : float, default=0.3
        Drop-out probability of what the attention adds.
    activation : type[nn.Module], default=nn.ELU
        The nonlinearity of the convolutions.
    drop_prob : float, default=0.5
        Drop-out probability after the spatial filters and in the projector.

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
        attention_drop_prob: float = 0.3,
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
            activation=activation,
            drop_prob=drop_prob,
        )
        self.front = ChannelAttention(self.n_times, attention_drop_prob)


class ChannelAttention(nn.Module):
    """One head of self-attention between channels, with a residual connection.

    Parameters
    ----------
    n_times : int
        Samples of a trial.
    drop_prob : float
        Drop-out probability of what is added.
    """

    def __init__(self, n_times: int, drop_prob: float) -> None:
        super().__init__()
        self.query = nn.Linear(n_times, n_times)
        self.key = nn.Linear(n_times, n_times)
        self.value = nn.Linear(n_times, n_times)
        self.drop = nn.Dropout(drop_prob)
        self.scale = n_times**-0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend.

        Parameters
        ----------
        x : Tensor, shape (b, c, t)

        Returns
        -------
        Tensor, shape (b, c, t)
        """
        weight = (self.query(x) @ self.key(x).mT * self.scale).softmax(-1)
        return x + self.drop(weight @ self.value(x))


# License: BSD-3


class NICEGA(TSConv, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""NICE-GA, TSConv behind graph attention of channels, from Song et al (2024) [Song2024]_.

    :bdg-success:`Convolution` :bdg-info:`Attention/Transformer`

    .. rubric:: Architecture Overview

    Channels are the nodes of a complete graph. One layer of graph attention [Velickovic2018]_
    updates them; the result is added to the trial, which then enters TSConv.

    .. rubric:: Macro Components

    - ``NICEGA.front`` **Graph attention**: :math:`x_i + \sum_j \alpha_{ij} W x_j + b` with
      :math:`\alpha_i = \mathrm{softmax}_j\,\mathrm{LeakyReLU}(a^\top W x_i + a'^\top W x_j)`, over all
      channels, itself included.
    - the rest is :class:`~braindecode_ssr.models.nice.TSConv`.

    .. rubric:: Temporal, Spatial, and Spectral Encoding

    - **Spatial**: weights between channels that depend on the trial, then those of TSConv.
    - **Temporal, spectral**: those of TSConv.

    .. rubric:: Additional Mechanisms

    The attention follows the equations of the paper, which give no count of parameters; the
    drop-out of what it adds is 0.3.

    Parameters
    ----------
    negative_slope : float, default=0.2
        Slope of the leaky ReLU for negative numbers.
    attention_drop_prob : float, default=0.3
        Drop-out probability of what the attention adds.
    activation : type[nn.Module], default=nn.ELU
        The nonlinearity of the convolutions.
    drop_prob : float, default=0.5
        Drop-out probability after the spatial filters and in the projector.

    References
    ----------
    .. [Song2024] Song, Y., Liu, B., Li, X., Shi, N., Wang, Y., & Gao, X. (2024). Decoding Natural
       Images from EEG for Object Recognition. ICLR. https://arxiv.org/abs/2308.13234
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
        super().__init__(
            n_outputs=n_outputs,
            n_chans=n_chans,
            chs_info=chs_info,
            n_times=n_times,
            input_window_seconds=input_window_seconds,
            sfreq=sfreq,
            activation=activation,
            drop_prob=drop_prob,
        )
        self.front = GraphAttention(self.n_times, negative_slope, attention_drop_prob)


class GraphAttention(nn.Module):
    """One layer of graph attention over the complete graph of channels, with a residual connection.

    Parameters
    ----------
    n_times : int
        Samples of a trial.
    negative_slope : float
        Of the leaky ReLU.
    drop_prob : float
        Drop-out probability of what is added.
    """

    def __init__(self, n_times: int, negative_slope: float, drop_prob: float) -> None:
        super().__init__()
        self.linear = nn.Linear(n_times, n_times, bias=False)
        self.receiver = nn.Linear(n_times, 1, bias=False)
        self.sender = nn.Linear(n_times, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(n_times))
        self.leak = nn.LeakyReLU(negative_slope)
        self.drop = nn.Dropout(drop_prob)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend.

        Parameters
        ----------
        x : Tensor, shape (b, c, t)

        Returns
        -------
        Tensor, shape (b, c, t)
        """
        node = self.linear(x)
        weight = self.leak(self.receiver(node) + self.sender(node).mT).softmax(-1)
        return x + self.drop(weight @ node + self.bias)

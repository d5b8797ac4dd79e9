"""A Transformer layer in front of TSConv's convolutions: ATM, Neural-MCRL, CognitionCapturer, VE-SDN.

The first three can give each subject a part of its own, a token or a matrix.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from einops.layers.torch import Rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..registry import check_choice
from .modules import Encoder, SubjectMap, feature_dict
from .nice import TSConv, check_length, normal_weights, spatial_filters, temporal_filters

Tokens = Literal["channels", "first"]


class SubjectTSConv(TSConv, license="bsd-3-clause", docs_url=None, repo_url=None):
    """A TSConv whose ``front`` has a part for each subject."""

    subject_is_optional = True

    def forward(
        self, x: Tensor, return_features: bool = False, subject_index: Tensor | None = None
    ) -> Tensor:
        """As for :class:`~braindecode_ssr.models.modules.Encoder`, and of known subjects, int (b,) from 0."""
        features = self.mix(self.spatial(self.temporal(self.front(x, subject_index))))
        if not torch.jit.is_scripting():
            if return_features:
                return feature_dict(features)
        return self.final_layer(features)


# ATM ---------------------------------------------------------------------------------------------


class ATM(SubjectTSConv, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""ATM, the Adaptive Thinking Mapper from Li et al (2024) [Li2024]_.

    :bdg-success:`Convolution` :bdg-info:`Attention/Transformer`

    .. rubric:: Architecture Overview

    Every channel is a token, and the subject is one more. One layer of an inverted Transformer lets them
    attend to each other; the channels then enter TSConv.

    .. rubric:: Macro Components

    - ``ATM.front`` **Attention**: linear embedding of each channel, token of the subject, one layer of
      :class:`~braindecode_ssr.models.transformers.ITransformer`.
    - the rest is :class:`~braindecode_ssr.models.nice.TSConv`.

    Parameters
    ----------
    n_subjects : int, default=10
        Subjects with a token of their own; unknown subjects share one.
    n_heads : int, default=4
        Heads of the attention.
    n_hidden : int, default=256
        Width of the feed-forward layer.
    attention_drop_prob : float, default=0.25
        Dropout probability of the Transformer.
    tokens : {"channels", "first"}, default="channels"
        Which tokens enter the convolutions: those of the channels, or, as in the public code, the first
        ``n_chans`` of all, where the subject's token comes first: it replaces the last channel.
    activation, drop_prob
        As for :class:`~braindecode_ssr.models.nice.TSConv`; the Transformer's activation is GELU.

    References
    ----------
    .. [Li2024] Li, D., Wei, C., Li, S., Zou, J., & Liu, Q. (2024). Visual Decoding and
       Reconstruction via EEG Embeddings with Guided Diffusion. NeurIPS.
       https://arxiv.org/abs/2403.07721
    """

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        n_subjects: int = 10,
        n_heads: int = 4,
        n_hidden: int = 256,
        attention_drop_prob: float = 0.25,
        tokens: Tokens = "channels",
        activation: type[nn.Module] = nn.ELU,
        drop_prob: float = 0.5,
    ) -> None:
        signal = n_outputs, n_chans, chs_info, n_times, input_window_seconds, sfreq
        super().__init__(*signal, weight_init="torch", activation=activation, drop_prob=drop_prob)
        self.front = SubjectTransformer(
            self.n_times, n_subjects, n_heads, n_hidden, attention_drop_prob, tokens
        )


class SubjectTransformer(nn.Module):
    """Inverted Transformer of a token of the subject and of channels: (b, c, t) to the same."""

    def __init__(
        self,
        n_times: int,
        n_subjects: int,
        n_heads: int,
        n_hidden: int,
        drop_prob: float,
        tokens: Tokens,
    ) -> None:
        super().__init__()
        self.start = 1 if check_choice("tokens", tokens, Tokens) == "channels" else 0
        self.subjects = nn.Embedding(n_subjects, n_times)
        self.unknown = nn.Parameter(torch.randn(n_times))
        self.transformer = ITransformer(n_times, n_heads, n_hidden, drop_prob)

    def forward(self, x: Tensor, subject_index: Tensor | None = None) -> Tensor:
        if subject_index is None:
            token = self.unknown.expand(x.shape[0], -1)
        else:
            token = self.subjects(subject_index)
        attended = self.transformer(x, token[:, None])
        return attended[:, self.start : self.start + x.shape[1]]


class ITransformer(nn.Module):
    """One layer of the inverted Transformer of Liu et al (2024), as ATM uses it: channels are tokens."""

    def __init__(
        self,
        n_times: int,
        n_heads: int = 4,
        n_hidden: int = 256,
        drop_prob: float = 0.25,
        activation: type[nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(n_times, n_times)
        self.attention = HeadsAttention(n_times, n_heads, drop_prob)
        self.hidden = nn.Sequential(
            nn.Linear(n_times, n_hidden),
            activation(),
            nn.Dropout(drop_prob),
            nn.Linear(n_hidden, n_times),
        )
        self.norms = nn.ModuleList(nn.LayerNorm(n_times) for _ in range(3))
        self.drop = nn.Dropout(drop_prob)

    def forward(self, x: Tensor, first: Tensor) -> Tensor:
        """Attend; ``first``, shape (b, k, t), are the first tokens: (b, k + c, t)."""
        token = self.drop(torch.cat([first, self.embed(x)], dim=1))
        token = self.norms[0](token + self.drop(self.attention(token)))
        token = self.norms[1](token + self.drop(self.hidden(token)))
        return self.norms[2](token)


class HeadsAttention(nn.Module):
    """Self-attention between tokens (b, k, width) whose heads need not divide the width."""

    def __init__(self, width: int, n_heads: int, drop_prob: float) -> None:
        super().__init__()
        inner = n_heads * (width // n_heads)
        self.n_heads, self.drop_prob = n_heads, drop_prob
        self.query, self.key, self.value = (nn.Linear(width, inner) for _ in range(3))
        self.out = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self._split(self.query(x)), self.key(x), self.value(x)
        drop = self.drop_prob if self.training else 0.0
        mixed = F.scaled_dot_product_attention(
            query, self._split(key), self._split(value), dropout_p=drop
        )
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """From (b, k, h * w) to (b, h, k, w); einops' function cannot be scripted."""
        return x.unflatten(2, (self.n_heads, x.shape[2] // self.n_heads)).transpose(1, 2)


# Neural-MCRL ---------------------------------------------------------------------------------------


class NeuralMCRL(SubjectTSConv, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""The encoder of Neural-MCRL from Li et al (2024) [NeuralMCRL2024]_.

    :bdg-success:`Convolution` :bdg-info:`Attention/Transformer`

    .. rubric:: Architecture Overview

    Channels are mixed by a matrix of the subject and attend, as in ATM, to each other and to a token of the
    subject. Five frequency bands are then weighted by the power in them, all else is removed, and a learned
    share of the result replaces the signal; TSConv follows. In training, Gaussian noise is added to the
    output.

    .. rubric:: Macro Components

    - ``NeuralMCRL.front`` **Front**: subject map, inverted Transformer, attention to bands and channels, one
      layer norm over channels and samples.
    - the rest is :class:`~braindecode_ssr.models.nice.TSConv`, with the noise at the end of its projector.

    .. rubric:: Additional Mechanisms

    As in the public code, which has 3,156,728 parameters without the parts that it never calls, 1,501 of
    them unused masks and embeddings; here are the other 3,155,227.

    Parameters
    ----------
    n_subjects : int, default=10
        Subjects with a matrix and a token of their own. For unknown subjects the first matrix is used, and a
        token that they share.
    noise : float, default=0.01
        Standard deviation of the noise on the output in training.
    attention_drop_prob : float, default=0.25
        Dropout probability of the Transformer.
    tokens : {"channels", "first"}, default="channels"
        As for :class:`ATM`; ``"first"`` in the public code.
    activation, drop_prob
        As for :class:`~braindecode_ssr.models.nice.TSConv`.

    References
    ----------
    .. [NeuralMCRL2024] Neural-MCRL: Neural Multimodal Contrastive Representation Learning for
       EEG-based Visual Decoding (2025). ICME. https://arxiv.org/abs/2412.17337
    """

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        n_subjects: int = 10,
        noise: float = 0.01,
        attention_drop_prob: float = 0.25,
        tokens: Tokens = "channels",
        activation: type[nn.Module] = nn.ELU,
        drop_prob: float = 0.5,
    ) -> None:
        self.noise = noise  # before the projector is made, which ends with it
        signal = n_outputs, n_chans, chs_info, n_times, input_window_seconds, sfreq
        super().__init__(*signal, weight_init="torch", activation=activation, drop_prob=drop_prob)
        attend = SubjectTransformer(self.n_times, n_subjects, 4, 256, attention_drop_prob, tokens)
        weigh = BandAttention(self.n_chans, self.n_times, self.sfreq)
        self.front = SubjectBands(self.n_chans, self.n_times, n_subjects, attend, weigh)

    def make_head(self, n_outputs: int) -> nn.Module:
        return nn.Sequential(super().make_head(n_outputs), GaussianNoise(self.noise))


class SubjectBands(nn.Module):
    """Subject map, inverted Transformer, weighted bands and a layer norm: (b, c, t) to the same."""

    def __init__(
        self, n_chans: int, n_times: int, n_subjects: int, attend: nn.Module, weigh: nn.Module
    ) -> None:
        super().__init__()
        self.subject = SubjectMap(n_subjects, n_chans)
        with torch.no_grad():
            self.subject.weight.copy_(torch.eye(n_chans) / n_chans**0.5)
        self.attend = attend
        self.weigh = weigh
        self.norm = nn.LayerNorm((n_chans, n_times))

    def forward(self, x: Tensor, subject_index: Tensor | None = None) -> Tensor:
        x = self.attend(self.subject(x, subject_index), subject_index)
        return self.norm(self.weigh(x))


BANDS = ((0.5, 4), (4, 8), (8, 13), (13, 30), (30, 45))
"""First and last frequency of each band in Hz, both included: delta, theta, alpha, beta, gamma."""


class BandAttention(nn.Module):
    r"""Weight frequency bands and channels by the power in them: (b, c, t) to the same.

    With :math:`p_{ck}` the sum of squared Fourier coefficients of channel c in band k, coefficients are
    multiplied by the channel's weight and by that of each band they lie in, or removed if they lie in none:

    .. math:: \sigma\big(f(\tfrac{1}{n} \textstyle\sum_k p_{ck})\big)_c \cdot
              \sum_{k \ni f} \mathrm{softmax}\big(g(\tfrac{1}{c} \textstyle\sum_c p_{ck})\big)_k

    where f and g are perceptrons. The result is normalized along time and mixed with the signal by a learned
    gate. The power is not scaled, as published, so that the sigmoid of 63 channels is nearly always 0 or 1.

    Source: NSAM of Neural-MCRL (arXiv 2412.17337), as in its public code.
    """

    def __init__(self, n_chans: int, n_times: int, sfreq: float) -> None:
        super().__init__()
        self.n_times = n_times
        frequency = torch.arange(n_times // 2 + 1).double() * sfreq / n_times
        inside = [(frequency >= low) & (frequency <= high) for low, high in BANDS]
        self.member = nn.Buffer(torch.stack(inside, 1).float(), persistent=False)
        self.of_channels, self.of_bands = (
            nn.Sequential(nn.Linear(n, n), nn.GELU(), nn.Linear(n, n))
            for n in (n_chans, len(BANDS))
        )
        self.norm = nn.LayerNorm(n_times)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x, dim=-1)
        power = (spectrum.real.square() + spectrum.imag.square()) @ self.member
        channels = self.of_channels(power.mean(2)).sigmoid().unsqueeze(2)
        frequencies = (self.of_bands(power.mean(1)).softmax(1) @ self.member.T).unsqueeze(1)
        weighted = torch.fft.irfft(spectrum * (channels * frequencies), n=self.n_times, dim=-1)
        return torch.lerp(x, self.norm(weighted), self.gate.sigmoid())


class GaussianNoise(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return x + self.scale * torch.randn_like(x)
        return x


# CognitionCapturer -----------------------------------------------------------------------------------


class CognitionCapturer(SubjectTSConv, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""The encoder of one modality of CognitionCapturer from Zhang et al (2025) [Zhang2025]_.

    :bdg-success:`Convolution` :bdg-info:`Attention/Transformer`

    .. rubric:: Architecture Overview

    Every sample is a token of ``n_chans`` numbers. One Transformer layer with sinusoidal positions mixes
    them, a matrix of the subject mixes samples once more, and TSConv follows. The published model has three
    such encoders, trained towards image, caption and depth.

    .. rubric:: Macro Components

    - ``CognitionCapturer.front`` **Front**: positions, Transformer along time, subject map.
    - the rest is :class:`~braindecode_ssr.models.nice.TSConv`.

    .. rubric:: Additional Mechanisms

    The width of the feed-forward layer is PyTorch's default in the public code, whose encoder of one
    modality uses 3,534,951 parameters, as here.

    Parameters
    ----------
    n_subjects : int, default=10
        Subjects with a matrix of their own. For unknown subjects the first matrix is used, as in the
        published code.
    n_hidden : int, default=2048
        Width of the feed-forward layer.
    activation : type[nn.Module], default=nn.ELU
        The nonlinearity of the convolutions.
    drop_prob : float, default=0.1
        Dropout probability everywhere.

    References
    ----------
    .. [Zhang2025] CognitionCapturer: Decoding Visual Stimuli From Human EEG Signal With Multimodal
       Information (2025). AAAI. https://arxiv.org/abs/2412.10489
    """

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        n_subjects: int = 10,
        n_hidden: int = 2048,
        activation: type[nn.Module] = nn.ELU,
        drop_prob: float = 0.1,
    ) -> None:
        signal = n_outputs, n_chans, chs_info, n_times, input_window_seconds, sfreq
        super().__init__(*signal, weight_init="torch", activation=activation, drop_prob=drop_prob)
        self.front = TimeTransformer(self.n_chans, self.n_times, n_subjects, n_hidden, drop_prob)


class TimeTransformer(nn.Module):
    """One Transformer layer along time, then the subject's matrix along time: (b, c, t) to the same."""

    large = 256  # a larger batch is checkpointed in training, a few trials at a time
    at_once = 8

    def __init__(
        self, n_chans: int, n_times: int, n_subjects: int, n_hidden: int, drop_prob: float
    ) -> None:
        super().__init__()
        self.position = nn.Buffer(sinusoids(n_times, n_chans), persistent=False)
        self.layer = nn.TransformerEncoderLayer(
            n_chans, 1, n_hidden, dropout=drop_prob, batch_first=True
        )
        self.subject = SubjectMap(n_subjects, n_times)
        self.bias = nn.Parameter(torch.zeros(n_subjects, n_times))

    def forward(self, x: Tensor, subject_index: Tensor | None = None) -> Tensor:
        sample = self._attended(x.mT + self.position)
        bias = self.bias[0] if subject_index is None else self.bias[subject_index]
        return (self.subject(sample, subject_index) + bias.unsqueeze(-1)).mT

    def _attended(self, token: Tensor) -> Tensor:
        if not torch.jit.is_scripting():
            if self.training and len(token) > self.large:
                return self._checkpointed(token)
        return self.layer(token)

    @torch.jit.unused
    def _checkpointed(self, token: Tensor) -> Tensor:
        """Recompute activations in the backward pass instead of keeping them.

        The hidden layer has 32 times the numbers of a trial: a step of 1024 trials takes 10.6 GB with all of
        it kept, 3.6 GB and 1.14 times the processor time like this.
        """
        parts = token.split(self.at_once)
        return torch.cat([checkpoint(self.layer, part, use_reentrant=False) for part in parts])


def sinusoids(n_positions: int, width: int) -> Tensor:
    r"""Sinusoidal positions :math:`\sin(p\,\omega_i), \cos(p\,\omega_i)`, shape (n_positions, width).

    :math:`\omega_i = 10000^{-2i/width}` (Vaswani et al., 2017).
    """
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angle = torch.arange(n_positions)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width]


# VE-SDN ------------------------------------------------------------------------------------------------


class VESDN(Encoder, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""The brain encoder of VE-SDN from Chen et al (2024) [Chen2024]_.

    :bdg-success:`Convolution` :bdg-info:`Attention/Transformer`

    .. rubric:: Architecture Overview

    A learned number is added to every sample of every channel; channels attend to each other in one
    Transformer layer; filters along time, means over 64 windows, filters across channels and a point-wise
    convolution to 16 features per window give 1024 numbers.

    .. rubric:: Macro Components

    - ``VESDN.place`` **Embedding** of channel and time, added.
    - ``VESDN.attend`` **Transformer layer** between channels, norm after each part.
    - ``VESDN.temporal``, ``VESDN.spatial``, ``VESDN.mix`` **Convolutions**, flattened.
    - ``VESDN.final_layer``: nothing where ``n_outputs`` is 1024, as published; else a linear map.

    Parameters
    ----------
    n_filters : int, default=40
        Number of temporal and of spatial filters.
    n_mixed : int, default=16
        Features of each window.
    kernel_length : int, default=25
        Length of the temporal filters in samples.
    attention_drop_prob : float, default=0.1
        Dropout probability of the Transformer.
    activation : type[nn.Module], default=nn.ELU
        The nonlinearity of the convolutions.
    drop_prob : float, default=0.5
        Dropout probability after the spatial filters.

    References
    ----------
    .. [Chen2024] Chen, H., He, L., Liu, Y., & Yang, L. (2024). Visual Neural Decoding via Improved
       Visual-EEG Semantic Consistency. https://arxiv.org/abs/2408.06788
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
        n_mixed: int = 16,
        kernel_length: int = 25,
        attention_drop_prob: float = 0.1,
        activation: type[nn.Module] = nn.ELU,
        drop_prob: float = 0.5,
    ) -> None:
        super().__init__(n_outputs, n_chans, chs_info, n_times, input_window_seconds, sfreq)
        check_length(self, kernel_length, "kernel_length")
        self.n_features = n_mixed * N_WINDOWS
        self.place = Place(self.n_chans, self.n_times)
        self.attend = nn.TransformerEncoderLayer(
            self.n_times, 1, self.n_times, dropout=attention_drop_prob, batch_first=True
        )
        pieces = WindowMeans(self.n_times, kernel_length)
        self.temporal = temporal_filters(n_filters, kernel_length, pieces, activation)
        self.spatial = spatial_filters(n_filters, self.n_chans, activation, drop_prob)
        self.mix = nn.Sequential(nn.Conv2d(n_filters, n_mixed, 1), Rearrange("b f 1 w -> b (w f)"))
        self.final_layer = self.make_head(self.n_outputs)
        self.apply(normal_weights)

    def encode(self, x: Tensor) -> Tensor:
        return self.mix(self.spatial(self.temporal(self.attend(self.place(x)))))

    def make_head(self, n_outputs: int) -> nn.Module:
        """A linear map, or nothing where it is not needed."""
        same = n_outputs == self.n_features
        return nn.Identity() if same else nn.Linear(self.n_features, n_outputs)

    def reset_head(self, n_outputs: int) -> None:
        super().reset_head(n_outputs)
        self.final_layer.apply(normal_weights)


N_WINDOWS = 64


class Place(nn.Module):
    """Add a learned number to every sample of every channel."""

    def __init__(self, n_chans: int, n_times: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_chans, n_times))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight


class WindowMeans(nn.Module):
    """Means over 64 windows at each tap of a filter: (b, c, t) to (b, windows, c, kernel_length).

    Windows are those of an adaptive average pool: even, overlapping by a sample where their number does
    not divide.
    """

    def __init__(self, n_times: int, kernel_length: int) -> None:
        super().__init__()
        self.kernel_length = kernel_length
        means = window_means(n_times, kernel_length, N_WINDOWS)
        self.means = nn.Buffer(means, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.means).unflatten(2, (-1, self.kernel_length)).transpose(1, 2)


def window_means(n_times: int, kernel_length: int, n_windows: int) -> Tensor:
    """The matrix that averages each tap over each window, shape (n_times, n_windows * kernel_length)."""
    n_filtered = n_times - kernel_length + 1
    window = torch.arange(n_windows)
    start, stop = window * n_filtered // n_windows, -(-(window + 1) * n_filtered // n_windows)
    first = start[:, None] + torch.arange(kernel_length)
    last = stop[:, None] + torch.arange(kernel_length)
    sample = torch.arange(n_times)[:, None, None]
    inside = (first <= sample) & (sample < last)
    return (inside / (stop - start)[:, None]).flatten(1)

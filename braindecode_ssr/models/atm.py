"""iTransformer: attention between channels, each of which is one token."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .nice import TSConv

# License: BSD-3


class ITransformer(nn.Module):
    r"""One layer of the inverted Transformer of Liu et al (2024), as ATM uses it.

    Every channel is embedded as a whole by one linear map along time. Attention and feed-forward
    layer each have a residual connection and are followed by a layer norm, and so is the whole.

    Parameters
    ----------
    n_times : int
        Samples of a trial, which is also the width of the tokens.
    n_heads : int
        Heads of the attention, each ``n_times // n_heads`` wide.
    n_hidden : int
        Width of the feed-forward layer.
    drop_prob : float
        Drop-out probability of tokens, attention weights, hidden layer and residuals.
    activation : type of nn.Module
        Of the feed-forward layer.
    """

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

    def forward(self, x: torch.Tensor, extra: torch.Tensor | None = None) -> torch.Tensor:
        """Let channels attend to each other.

        Parameters
        ----------
        x : Tensor, shape (b, c, t)
            Trials.
        extra : Tensor, shape (b, k, t), optional
            Tokens that take part in the attention and are left out of the result.

        Returns
        -------
        Tensor, shape (b, c, t)
        """
        n_chans = x.shape[1]
        token = self.embed(x)
        if extra is not None:
            token = torch.cat([token, extra], dim=1)
        token = self.drop(token)
        token = self.norms[0](token + self.drop(self.attention(token)))
        token = self.norms[1](token + self.drop(self.hidden(token)))
        return self.norms[2](token)[:, :n_chans]


class HeadsAttention(nn.Module):
    """Self-attention whose heads need not divide the width of the tokens.

    Parameters
    ----------
    width : int
        Of the tokens.
    n_heads : int
        Each is ``width // n_heads`` wide.
    drop_prob : float
        Of the weights.
    """

    def __init__(self, width: int, n_heads: int, drop_prob: float) -> None:
        super().__init__()
        inner = n_heads * (width // n_heads)
        self.n_heads, self.drop_prob = n_heads, drop_prob
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend between tokens of shape (b, k, width)."""
        query, key, value = self._split(self.query(x)), self.key(x), self.value(x)
        drop = self.drop_prob if self.training else 0.0
        mixed = F.scaled_dot_product_attention(
            query, self._split(key), self._split(value), dropout_p=drop
        )
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """From (b, k, h * w) to (b, h, k, w); einops' function cannot be scripted."""
        return x.unflatten(2, (self.n_heads, x.shape[2] // self.n_heads)).transpose(1, 2)


# License: BSD-3


class ATM(TSConv, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""ATM, the Adaptive Thinking Mapper from Li et al (2024) [Li2024]_.

    :bdg-success:`Convolution` :bdg-info:`Attention/Transformer`

    .. rubric:: Architecture Overview

    Every channel is a token, and the subject is one more. One layer of an inverted Transformer
    lets them attend to each other; the channels then enter TSConv.

    .. rubric:: Macro Components

    - ``ATM.front`` **Attention**: linear embedding of each channel, token of the subject, one
      layer of :class:`~braindecode_ssr.models.atm.ITransformer`.
    - the rest is :class:`~braindecode_ssr.models.nice.TSConv`.

    .. rubric:: Temporal, Spatial, and Spectral Encoding

    - **Temporal**: the embedding mixes all samples of a channel, then TSConv's filters.
    - **Spatial**: attention between channels, then TSConv's filters.
    - **Spectral**: what the temporal kernels learn.

    Parameters
    ----------
    n_subjects : int, default=10
        Subjects with a token of their own; who is not known gets a shared one.
    n_heads : int, default=4
        Heads of the attention.
    n_hidden : int, default=256
        Width of the feed-forward layer.
    attention_drop_prob : float, default=0.25
        Drop-out probability of the Transformer.
    activation : type[nn.Module], default=nn.ELU
        The nonlinearity of the convolutions; that of the Transformer is GELU.
    drop_prob : float, default=0.5
        Drop-out probability after the spatial filters and in the projector.

    References
    ----------
    .. [Li2024] Li, D., Wei, C., Li, S., Zou, J., & Liu, Q. (2024). Visual Decoding and
       Reconstruction via EEG Embeddings with Guided Diffusion. NeurIPS.
       https://arxiv.org/abs/2403.07721
    """

    subject_is_optional = True

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
            weight_init="torch",
            activation=activation,
            drop_prob=drop_prob,
        )
        self.front = SubjectTransformer(
            self.n_times, n_subjects, n_heads, n_hidden, attention_drop_prob
        )

    def forward(
        self,
        x: torch.Tensor,
        return_features: bool = False,
        subject_index: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Encode trials.

        Parameters
        ----------
        x : Tensor, shape (b, c, t)
            Trials.
        return_features : bool
            Return what enters the projector instead, as a dictionary with ``"features"``.
        subject_index : Tensor of int, shape (b,), optional
            Who saw them, counted from 0; None: not known.

        Returns
        -------
        Tensor, shape (b, n_outputs), or dict
        """
        features = self.mix(self.spatial(self.temporal(self.front(x, subject_index))))
        if not torch.jit.is_scripting():
            if return_features:
                return {"features": features, "cls_token": None}
        return self.final_layer(features)


class SubjectTransformer(nn.Module):
    """Inverted Transformer of channels and a token of the subject.

    Parameters
    ----------
    n_times, n_subjects, n_heads, n_hidden : int
    drop_prob : float
    """

    def __init__(
        self, n_times: int, n_subjects: int, n_heads: int, n_hidden: int, drop_prob: float
    ) -> None:
        super().__init__()
        self.subjects = nn.Embedding(n_subjects, n_times)
        self.unknown = nn.Parameter(torch.randn(n_times))
        self.transformer = ITransformer(n_times, n_heads, n_hidden, drop_prob)

    def forward(self, x: torch.Tensor, subject_index: torch.Tensor | None = None) -> torch.Tensor:
        """Let channels (b, c, t) and the subject's token attend to each other."""
        if subject_index is None:
            token = self.unknown.expand(x.shape[0], -1)
        else:
            token = self.subjects(subject_index)
        return self.transformer(x, token[:, None])

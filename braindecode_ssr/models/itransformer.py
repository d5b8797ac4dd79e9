# License: BSD-3
"""iTransformer: attention between channels, each of which is one token."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


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

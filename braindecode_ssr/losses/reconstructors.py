"""The nets that tell what is hidden of one vector from the rest of it and from the other modality."""

from __future__ import annotations

from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from .parts import as_number, check_choice, check_sizes

Pull = Literal["cosine", "mse"]
Fill = Literal["learned", "zero"]
Tokens = Literal["chunks", "learned"]


def random_mask(like: Tensor, ratio: float) -> Tensor:
    """Which elements to hide: each with probability ``ratio``, from torch's global generator.

    Parameters
    ----------
    like : Tensor, shape (b, e)
    ratio : float

    Returns
    -------
    Tensor of bool, shape (b, e)
    """
    return torch.rand(like.shape, device=like.device) < ratio


def cosine_pull(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean of 1 - cosine between rows of shape (b, e); the wanted rows get no gradient."""
    return 1 - F.cosine_similarity(found, wanted.detach(), dim=-1).mean()


def mse_pull(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of rows of shape (b, e); the wanted rows get no gradient."""
    return F.mse_loss(found, wanted.detach())


PULLS = {"cosine": cosine_pull, "mse": mse_pull}


def masked_pull(found: Tensor, wanted: Tensor, mask: Tensor, pull: Pull) -> Tensor:
    """Mean distance of the masked vectors of a batch; 0 if none is masked.

    Parameters
    ----------
    found, wanted : Tensor, shape (b, k, p)
        The wanted ones get no gradient.
    mask : Tensor of bool, shape (b, k)
    pull : {"cosine", "mse"}

    Returns
    -------
    Tensor, shape ()
    """
    wanted = wanted.detach()
    if pull == "cosine":
        each = 1 - F.cosine_similarity(found, wanted, dim=-1)
    else:
        each = (found - wanted).square().mean(-1)
    return (each * mask).sum() / mask.sum().clamp_min(1)


class Reconstructor(nn.Module):
    """A two-layer perceptron on [own vector with hidden elements, whole other vector].

    Parameters
    ----------
    n_outputs : int
        Width of the vectors.
    hidden : int, optional
        Width between the layers; ``n_outputs`` if None.
    pull : {"cosine", "mse"}
        How far what is found is from what is wanted.
    fill : {"learned", "zero"}
        What stands for a hidden element.
    """

    def __init__(
        self,
        n_outputs: int,
        hidden: int | None = None,
        pull: Pull = "cosine",
        fill: Fill = "learned",
    ) -> None:
        super().__init__()
        hidden = n_outputs if hidden is None else hidden
        check_sizes(n_outputs=n_outputs, hidden=hidden)
        self.pull = check_choice("pull", pull, tuple(PULLS))
        if check_choice("fill", fill, ("learned", "zero")) == "learned":
            self.mask_vector = nn.Parameter(torch.randn(n_outputs) * 0.02)
        else:
            self.register_buffer("mask_vector", torch.zeros(n_outputs), persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(2 * n_outputs, hidden), nn.GELU(), nn.Linear(hidden, n_outputs)
        )

    def places(self, own: Tensor) -> Tensor:
        """What a mask is drawn for: the elements, shape (b, e)."""
        return own

    def forward(self, own: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """The whole own vector, as far as it can be told.

        Parameters
        ----------
        own, context : Tensor, shape (b, e)
        mask : Tensor of bool, shape (b, e)
            True where ``own`` is hidden behind the mask vector.

        Returns
        -------
        Tensor, shape (b, e)
        """
        seen = torch.where(mask, self.mask_vector.to(own.dtype), own)
        return self.layers(torch.cat([seen, context], dim=-1))

    def distance(self, own: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """How far the reconstruction is from the whole own vector; shape ()."""
        return PULLS[self.pull](self(own, context, mask), own)


class TokenReconstructor(nn.Module):
    """Cross-attention from the masked tokens of one vector to all tokens of the other.

    The vectors become k tokens each. Masked ones give way to a learned token; blocks of cross-attention and
    perceptron mix in the other modality; from each token its chunk of the own vector, normalised, is told.
    Only masked tokens are judged.

    Parameters
    ----------
    n_outputs : int
        Width of the vectors, a multiple of ``n_tokens``.
    hidden : int, optional
        Width of a token; 128 if None.
    pull : {"cosine", "mse"}
        How far what is found is from what is wanted.
    fill : {"learned", "zero"}
        What stands for a hidden token.
    n_tokens, n_blocks, n_heads : int
        Tokens of a vector, blocks, and heads of their attention.
    drop_prob : float
        Drop-out in the blocks.
    tokens : {"chunks", "learned"}
        A token is made of its chunk of the vector; or of the whole vector, in which case what one token hides
        may be seen in another.
    """

    def __init__(
        self,
        n_outputs: int,
        hidden: int | None = None,
        pull: Pull = "cosine",
        fill: Fill = "learned",
        n_tokens: int = 8,
        n_blocks: int = 1,
        n_heads: int = 4,
        drop_prob: float = 0.1,
        tokens: Tokens = "chunks",
    ) -> None:
        super().__init__()
        width = 128 if hidden is None else hidden
        check_sizes(hidden=width, n_tokens=n_tokens, n_blocks=n_blocks, n_heads=n_heads)
        _check_divisible(n_outputs, n_tokens, width, n_heads)
        _check_drop(drop_prob)
        self.pull = check_choice("pull", pull, tuple(PULLS))
        self.n_tokens = n_tokens
        self.own, self.context = (Tokeniser(n_outputs, n_tokens, width, tokens) for _ in range(2))
        if check_choice("fill", fill, ("learned", "zero")) == "learned":
            self.mask_token = nn.Parameter(torch.randn(width) * 0.02)
        else:
            self.register_buffer("mask_token", torch.zeros(width), persistent=False)
        self.blocks = nn.ModuleList(CrossBlock(width, n_heads, drop_prob) for _ in range(n_blocks))
        self.head = nn.Linear(width, n_outputs // n_tokens)

    def places(self, own: Tensor) -> Tensor:
        """What a mask is drawn for: the tokens, shape (b, k)."""
        return own[:, : self.n_tokens]

    def forward(self, own: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """The chunks of the own vector, each normalised, as far as they can be told.

        Parameters
        ----------
        own, context : Tensor, shape (b, e)
        mask : Tensor of bool, shape (b, k)
            True where a token of ``own`` is hidden.

        Returns
        -------
        Tensor, shape (b, k, e / k)
        """
        hidden = self.mask_token.to(own.dtype)
        x = torch.where(mask[..., None], hidden, self.own(own)) + self.own.position
        other = self.context(context) + self.context.position
        for block in self.blocks:
            x = block(x, other)
        return self.head(x)

    def distance(self, own: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """How far the masked chunks are from the own ones; shape ()."""
        wanted = rearrange(own, "b (k p) -> b k p", k=self.n_tokens)
        wanted = F.layer_norm(wanted, wanted.shape[-1:])
        return masked_pull(self(own, context, mask), wanted, mask, self.pull)


class Tokeniser(nn.Module):
    """Tokens of a vector, and a learned position for each.

    Parameters
    ----------
    n_outputs, n_tokens, width : int
        Width of the vector, number of tokens, width of a token.
    tokens : {"chunks", "learned"}
        Each token from its chunk of the vector, by one map; or all from the whole vector.
    """

    def __init__(self, n_outputs: int, n_tokens: int, width: int, tokens: Tokens) -> None:
        super().__init__()
        self.tokens = check_choice("tokens", tokens, ("chunks", "learned"))
        self.n_tokens = n_tokens
        sizes = (n_outputs // n_tokens, width)
        self.map = nn.Linear(*(sizes if tokens == "chunks" else (n_outputs, n_tokens * width)))
        self.position = nn.Parameter(torch.randn(n_tokens, width) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (b, k, d) of vectors (b, e), without their positions."""
        if self.tokens == "chunks":
            return self.map(rearrange(x, "b (k p) -> b k p", k=self.n_tokens))
        return rearrange(self.map(x), "b (k d) -> b k d", k=self.n_tokens)


class CrossBlock(nn.Module):
    """Cross-attention and a perceptron of twice the width, each normalised before and added.

    Parameters
    ----------
    width, n_heads : int
    drop_prob : float
    """

    def __init__(self, width: int, n_heads: int, drop_prob: float) -> None:
        super().__init__()
        self.before = nn.LayerNorm(width)
        self.before_context = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, n_heads, drop_prob, batch_first=True)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(drop_prob),
            nn.Linear(2 * width, width),
            nn.Dropout(drop_prob),
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Tokens (b, k, d) with what they found among those of the context (b, m, d)."""
        other = self.before_context(context)
        x = x + self.attention(self.before(x), other, other, need_weights=False)[0]
        return x + self.perceptron(x)


RECONSTRUCTORS: dict[str, Any] = {"mlp": Reconstructor, "tokens": TokenReconstructor}


def _check_drop(drop_prob: float) -> None:
    if not 0 <= as_number(drop_prob) < 1:
        raise UsageError("a drop_prob from 0 to below 1", repr(drop_prob), "0.1 is the default")


def _check_divisible(n_outputs: int, n_tokens: int, width: int, n_heads: int) -> None:
    if n_outputs % n_tokens or n_outputs // n_tokens < 2:
        raise UsageError(
            f"a number of tokens that divides the {n_outputs} elements of an embedding into 2 or more",
            f"n_tokens={n_tokens!r}",
            "8 is the default",
        )
    if width % n_heads:
        raise UsageError(
            "a number of heads that divides the width of a token",
            f"{n_heads!r} heads and width {width!r}",
            "4 heads and a hidden of 128 are the defaults",
        )

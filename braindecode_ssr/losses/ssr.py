"""The nets that tell what is hidden of one vector from the rest of it and from the other modality."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from ..registry import unknown_name
from .base import (
    Duplicates,
    Regime,
    as_number,
    check_choice,
    check_embeddings,
    check_sizes,
    check_weights,
    full_precision,
    weighted_total,
)
from .contrast import PAIRS, Anchor, SingleAnchor, TripleContrast

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


DIRECTIONS = ("reconstruct_view", "reconstruct_brain")
CONTEXTS = ("paired", "detached", "shuffled")
Context = Literal["paired", "detached", "shuffled"]
Kind = Literal["mlp", "tokens"]
Visual = Literal["view", "original", "mean"]


def shuffled(x: Tensor) -> Tensor:
    """The rows of a batch moved on by a random number of places: no row stays where it was."""
    return x.roll(int(torch.randint(1, len(x), ())), 0)


def root_mean_square_one(x: Tensor) -> Tensor:
    """Rows of shape (b, e) scaled so that their mean square is 1."""
    return F.normalize(full_precision(x), dim=-1) * x.shape[-1] ** 0.5


class MaskedReconstruction(nn.Module):
    """Two reconstructors: masked view + whole brain to view, masked brain + whole view to brain.

    Their input is scaled to mean square 1 and their output is judged against the unmasked vector so scaled,
    so that lengths of embeddings do not matter. They are a side branch of training and no part of retrieval.

    Source: the figure of SSR; masks, perceptrons and cosine are our reading of it. The token variant follows
    MaskVLM (arXiv 2208.02131): masked tokens of one modality, the other one whole by cross-attention.

    Parameters
    ----------
    n_outputs : int
        Width of the embeddings.
    mask_ratio : float
        Probability that an element (or a token) is hidden; above 0, at most 1.
    hidden : int, optional
        Width between the layers of a perceptron (``n_outputs`` if None), or of a token (128 if None).
    context : {"paired", "detached", "shuffled"}
        ``"detached"``: reconstruction moves nothing through the other vector. ``"shuffled"`` gives each row
        the other vector of another row: the control in which reconstruction across modalities is impossible.
    reconstruct_view, reconstruct_brain : float
        Weights of the directions; a direction of weight 0 is left out.
    reconstructor : {"mlp", "tokens"}
        A perceptron on elements, or cross-attention between tokens.
    reconstructor_params : dict, optional
        What else a :class:`~braindecode_ssr.losses.ssr.TokenReconstructor` takes, such as
        ``n_tokens``.
    pull : {"cosine", "mse"}
        How far a reconstruction is from what is wanted.
    fill : {"learned", "zero"}
        What stands for what is hidden.
    whole_ratio : float
        Probability that a row is hidden as a whole, besides.
    visual : {"view", "original", "mean"}
        What the visual side is: pooled views as in the figure, the original, or the mean of both.
    """

    def __init__(
        self,
        n_outputs: int,
        mask_ratio: float = 0.5,
        hidden: int | None = None,
        context: Context = "paired",
        reconstruct_view: float = 1.0,
        reconstruct_brain: float = 1.0,
        reconstructor: Kind = "mlp",
        reconstructor_params: Mapping[str, Any] | None = None,
        pull: Pull = "cosine",
        fill: Fill = "learned",
        whole_ratio: float = 0.0,
        visual: Visual = "view",
    ) -> None:
        super().__init__()
        _check_ratios(mask_ratio, whole_ratio)
        self.mask_ratio, self.whole_ratio = mask_ratio, whole_ratio
        self.context = check_choice("context", context, CONTEXTS)
        self.visual = check_choice("visual", visual, ("view", "original", "mean"))
        self.weights = check_weights(
            dict(zip(DIRECTIONS, (reconstruct_view, reconstruct_brain), strict=True))
        )
        kind = RECONSTRUCTORS[check_choice("reconstructor", reconstructor, tuple(RECONSTRUCTORS))]
        params = _known_params(reconstructor, kind, reconstructor_params or {})
        self.reconstructors = nn.ModuleDict(
            {
                name: kind(n_outputs, hidden, pull, fill, **params)
                for name, weight in self.weights.items()
                if weight
            }
        )

    def parts(self, brain: Tensor, view: Tensor) -> dict[str, Tensor]:
        """How far each reconstruction is from the unmasked vector.

        Parameters
        ----------
        brain, view : Tensor, shape (b, e)
            ``view`` is the visual side, whatever it is made of.

        Returns
        -------
        dict of str to Tensor of shape ()
        """
        brain, view = root_mean_square_one(brain), root_mean_square_one(view)
        sides = {"reconstruct_view": (view, brain), "reconstruct_brain": (brain, view)}
        return {
            name: self._part(reconstructor, *sides[name])
            for name, reconstructor in self.reconstructors.items()
        }

    def _part(self, reconstructor: nn.Module, own: Tensor, context: Tensor) -> Tensor:
        other = shuffled(context) if self.context == "shuffled" else context
        other = other.detach() if self.context == "detached" else other
        mask = random_mask(reconstructor.places(own), self.mask_ratio)
        if self.whole_ratio:
            mask = mask | random_mask(own[:, :1], self.whole_ratio)
        return reconstructor.distance(own, other, mask)

    def forward(self, brain: Tensor, original: Tensor, view: Tensor) -> dict[str, Tensor]:
        """The weighted sum of both directions as ``"loss"``, then each.

        Parameters
        ----------
        brain, original, view : Tensor, shape (b, e)

        Returns
        -------
        dict of str to Tensor
        """
        check_embeddings(brain, original, view, at_least=2 if self.context == "shuffled" else 1)
        images = {"view": view, "original": original, "mean": (original + view) / 2}
        return weighted_total(self.parts(brain, images[self.visual]), self.weights)


def _check_ratios(mask_ratio: float, whole_ratio: float) -> None:
    if not 0 < as_number(mask_ratio) <= 1:
        raise UsageError(
            "a mask_ratio above 0 and at most 1", repr(mask_ratio), "0.5 is the default"
        )
    if not 0 <= as_number(whole_ratio) <= 1:
        raise UsageError("a whole_ratio of 0 to 1", repr(whole_ratio), "0 is the default")


def _known_params(name: str, kind: Any, params: Mapping[str, Any]) -> Mapping[str, Any]:
    own = set(inspect.signature(kind).parameters)
    own -= {"n_outputs", "hidden", "pull", "fill"}
    if not isinstance(params, Mapping):
        raise UsageError(
            "reconstructor_params by name",
            repr(params),
            "write for example --set loss.params.reconstructor_params.n_tokens=16",
        )
    unknown = sorted(set(params) - own)
    if unknown and not own:
        raise UsageError(
            f"no reconstructor_params for the reconstructor {name}",
            ", ".join(unknown),
            "leave them out or choose reconstructor='tokens'",
        )
    if unknown:
        raise unknown_name(f"parameter of the reconstructor {name}", unknown[0], sorted(own))
    return params


class SSRLoss(nn.Module):
    """Everything that only the training of SSR needs, parameters included.

    Three pairwise contrasts between brain, pooled views and original, and two reconstructors
    between brain and pooled views. What inference uses is in
    :class:`braindecode_ssr.models.SSR`; this module is thrown away after training.

    Source: the figure of SSR, which shows no weights. All are 1 here: a reconstruction is at most
    2, and on simulated trials both together gave the brain encoder 0.03 (at the start) to 0.24
    (after 120 steps) of the gradient that the contrasts gave it.

    Parameters
    ----------
    n_outputs : int
        Width of the embeddings.
    regime : str
        Normalisation and scale, see :class:`~braindecode_ssr.losses.base.Similarity`.
    mask_ratio, hidden, context
        As for :class:`~braindecode_ssr.losses.ssr.MaskedReconstruction`.
    anchor : {"trained", "detached"}
        Whether the contrast of view and original, and that around one anchor, move the original.
    brain_view, brain_original, view_original, reconstruct_view, reconstruct_brain : float
        Weights of the parts; a part of weight 0 is left out, with its parameters.
    single_anchor : float
        Weight of :class:`~braindecode_ssr.losses.contrast.SingleAnchor`, in the same regime. To have it
        in place of the pairs, give these weight 0.
    scale : float, optional
        Where the scale starts, or stays; default: that of the regime.
    duplicates : {"negatives", "ignored", "positives"}
        What rows of the same image are to each other in the contrasts.
    reconstructor, reconstructor_params, pull, fill, whole_ratio, visual
        As for :class:`~braindecode_ssr.losses.ssr.MaskedReconstruction`.
    """

    def __init__(
        self,
        n_outputs: int,
        regime: Regime = "free",
        mask_ratio: float = 0.5,
        hidden: int | None = None,
        context: Context = "paired",
        anchor: Anchor = "trained",
        brain_view: float = 1.0,
        brain_original: float = 1.0,
        view_original: float = 1.0,
        reconstruct_view: float = 1.0,
        reconstruct_brain: float = 1.0,
        single_anchor: float = 0.0,
        scale: float | None = None,
        duplicates: Duplicates = "negatives",
        reconstructor: Kind = "mlp",
        reconstructor_params: Mapping[str, Any] | None = None,
        pull: Pull = "cosine",
        fill: Fill = "learned",
        whole_ratio: float = 0.0,
        visual: Visual = "view",
    ) -> None:
        super().__init__()
        pairs = dict(zip(PAIRS, (brain_view, brain_original, view_original), strict=True))
        directions = dict(zip(DIRECTIONS, (reconstruct_view, reconstruct_brain), strict=True))
        alone = {"single_anchor": single_anchor}
        self.weights = check_weights({**pairs, **directions, **alone})
        contrasts = {"anchor": anchor, "scale": scale, "duplicates": duplicates}
        self.contrast = (
            TripleContrast(regime, **contrasts, **pairs) if any(pairs.values()) else None
        )
        self.single = SingleAnchor(regime, **contrasts) if single_anchor else None
        self.reconstruction = None
        if any(directions.values()):
            self.reconstruction = MaskedReconstruction(
                n_outputs,
                mask_ratio,
                hidden,
                context,
                reconstructor=reconstructor,
                reconstructor_params=reconstructor_params,
                pull=pull,
                fill=fill,
                whole_ratio=whole_ratio,
                visual=visual,
                **directions,
            )

    def forward(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The weighted sum of all parts as ``"loss"``, then each part.

        Parameters
        ----------
        brain, original, view : Tensor, shape (b, e)
        image : Tensor of int, shape (b,), optional
            Index of the image of each row; needed unless duplicates are negatives.

        Returns
        -------
        dict of str to Tensor
            ``loss``, ``brain_view``, ``brain_original``, ``view_original``, ``single_anchor``,
            ``reconstruct_view``, ``reconstruct_brain``, as far as they have a weight.
        """
        check_embeddings(brain, original, view)
        parts: dict[str, Tensor] = {}
        if self.contrast is not None:
            parts.update(self.contrast(brain, original, view, image))
        if self.single is not None:
            parts["single_anchor"] = self.single(brain, original, view, image)["loss"]
        if self.reconstruction is not None:
            parts.update(self.reconstruction(brain, original, view))
        parts.pop("loss", None)
        return weighted_total(parts, self.weights)

"""The loss of SSR: three pairwise contrasts and two masked reconstructions across modalities."""

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
    ContrastiveLoss,
    Loss,
    Regime,
    check_choice,
    check_embeddings,
    check_number,
    check_sizes,
    check_weights,
    full_precision,
    weighted_total,
)
from .contrast import Anchor, Duplicates, SingleAnchor, TripleContrast

Context = Literal["paired", "detached", "shuffled"]
Fill = Literal["learned", "zero"]
Kind = Literal["mlp", "tokens"]
Pull = Literal["cosine", "mse"]
Tokens = Literal["chunks", "learned"]
Visual = Literal["view", "original", "mean"]


def random_mask(like: Tensor, ratio: float) -> Tensor:
    """Bool of a given shape, true with probability ``ratio``, from torch's global generator."""
    return torch.rand(like.shape, device=like.device) < ratio


def shuffled(x: Tensor) -> Tensor:
    """The rows of a batch shifted by a random number of places: no row stays where it was."""
    return x.roll(int(torch.randint(1, len(x), ())), 0)


def root_mean_square_one(x: Tensor) -> Tensor:
    """Rows of shape (b, e) scaled so that their mean square is 1."""
    return F.normalize(full_precision(x), dim=-1) * x.shape[-1] ** 0.5


def cosine_pull(found: Tensor, target: Tensor) -> Tensor:
    """Mean of 1 - cosine between rows of shape (b, e); targets get no gradient."""
    return 1 - F.cosine_similarity(found, target.detach(), dim=-1).mean()


def mse_pull(found: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of rows of shape (b, e); targets get no gradient."""
    return F.mse_loss(found, target.detach())


def masked_pull(found: Tensor, target: Tensor, mask: Tensor, pull: Pull) -> Tensor:
    """Mean distance of masked vectors, (b, k, p) with mask (b, k); 0 if none is masked."""
    target = target.detach()
    if pull == "cosine":
        each = 1 - F.cosine_similarity(found, target, dim=-1)
    else:
        each = (found - target).square().mean(-1)
    return (each * mask).sum() / mask.sum().clamp_min(1)


PULLS = {"cosine": cosine_pull, "mse": mse_pull}


class Reconstructor(nn.Module):
    """A two-layer perceptron on [own vector with masked elements, whole other vector].

    Parameters
    ----------
    n_outputs : int
        Width of the vectors.
    hidden : int, optional
        Width between the layers; ``n_outputs`` if None.
    pull : {"cosine", "mse"}
        Distance between reconstruction and target.
    fill : {"learned", "zero"}
        What replaces a masked element.
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
        """A tensor of the shape of a mask: one place for each element, (b, e)."""
        return own

    def forward(self, own: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """The whole own vector, reconstructed; all of shape (b, e), ``mask`` true where it is hidden."""
        seen = torch.where(mask, self.mask_vector.to(own.dtype), own)
        return self.layers(torch.cat([seen, context], dim=-1))

    def distance(self, own: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Distance of the reconstruction from the whole own vector, shape ()."""
        return PULLS[self.pull](self(own, context, mask), own)


class TokenReconstructor(nn.Module):
    """Cross-attention from the masked tokens of one vector to all tokens of the other.

    Each vector becomes k tokens. Masked tokens are replaced by a learned one; blocks of cross-attention and
    perceptron mix in the other modality; a linear map predicts from each token its chunk of the own vector,
    normalized. Only masked tokens count.

    Parameters
    ----------
    n_outputs : int
        Width of the vectors, a multiple of ``n_tokens``.
    hidden : int, optional
        Width of a token; 128 if None.
    pull, fill
        As for :class:`Reconstructor`.
    n_tokens, n_blocks, n_heads : int
        Tokens of a vector, blocks, and attention heads.
    drop_prob : float
        Dropout in the blocks.
    tokens : {"chunks", "learned"}
        Whether a token is computed from its chunk of the vector, or from the whole vector. In the latter case
        one token may reveal what is masked in another.
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
        if n_outputs % n_tokens or n_outputs // n_tokens < 2:
            raise UsageError(
                f"n_tokens = {n_tokens} does not divide the {n_outputs} elements of an embedding into "
                "chunks of 2 or more",
                "choose a divisor, such as 8",
            )
        if width % n_heads:
            raise UsageError(
                f"{n_heads} heads do not divide the width of a token, hidden = {width}",
                "choose a divisor, such as 4 heads for a width of 128",
            )
        check_number("drop_prob", drop_prob, "[0, 1)")
        self.pull = check_choice("pull", pull, tuple(PULLS))
        self.n_tokens = n_tokens
        self.own, self.context = (Tokenizer(n_outputs, n_tokens, width, tokens) for _ in range(2))
        if check_choice("fill", fill, ("learned", "zero")) == "learned":
            self.mask_token = nn.Parameter(torch.randn(width) * 0.02)
        else:
            self.register_buffer("mask_token", torch.zeros(width), persistent=False)
        self.blocks = nn.ModuleList(CrossBlock(width, n_heads, drop_prob) for _ in range(n_blocks))
        self.head = nn.Linear(width, n_outputs // n_tokens)

    def places(self, own: Tensor) -> Tensor:
        """A tensor of the shape of a mask: one place for each token, (b, k)."""
        return own[:, : self.n_tokens]

    def forward(self, own: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """The chunks of the own vector, each normalized, reconstructed.

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
        """Distance of the masked chunks from the own ones, shape ()."""
        target = rearrange(own, "b (k p) -> b k p", k=self.n_tokens)
        target = F.layer_norm(target, target.shape[-1:])
        return masked_pull(self(own, context, mask), target, mask, self.pull)


class Tokenizer(nn.Module):
    """Tokens of a vector, each from its chunk or from the whole vector, and their learned positions."""

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
    """Cross-attention and a perceptron of twice the width, each pre-norm and residual."""

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
        """Tokens (b, k, d) after attention to those of the context (b, m, d)."""
        other = self.before_context(context)
        x = x + self.attention(self.before(x), other, other, need_weights=False)[0]
        return x + self.perceptron(x)


RECONSTRUCTORS: dict[str, Any] = {"mlp": Reconstructor, "tokens": TokenReconstructor}


class MaskedReconstruction(Loss):
    """Two reconstructors: masked view + whole brain to view, masked brain + whole view to brain.

    Inputs are scaled to mean square 1 and outputs are compared with the unmasked vector scaled in the same
    way, so lengths of embeddings do not matter. The reconstructors are a side branch of training and no part
    of retrieval.

    Source: the figure of SSR; masks, perceptrons and cosine are our reading of it. The token variant follows
    MaskVLM (arXiv 2208.02131): masked tokens of one modality, and the whole other one by cross-attention.

    Parameters
    ----------
    n_outputs : int
        Width of the embeddings.
    mask_ratio : float
        Probability that an element (or a token) is masked; above 0, at most 1.
    hidden : int, optional
        Width between the layers of a perceptron (``n_outputs`` if None), or of a token (128 if None).
    context : {"paired", "detached", "shuffled"}
        ``"detached"``: no gradient through the other vector. ``"shuffled"``: each row gets the other vector
        of another row, the control in which reconstruction across modalities is impossible.
    reconstruct_view, reconstruct_brain : float
        Weights of the directions; a direction of weight 0 is left out.
    reconstructor : {"mlp", "tokens"}
        A perceptron on elements, or cross-attention between tokens.
    reconstructor_params : dict, optional
        Further arguments of :class:`TokenReconstructor`, such as ``n_tokens``.
    pull : {"cosine", "mse"}
        Distance between reconstruction and target.
    fill : {"learned", "zero"}
        What replaces masked elements or tokens.
    whole_ratio : float
        Probability that a row is masked as a whole, in addition.
    visual : {"view", "original", "mean"}
        The visual side: pooled views as in the figure, the original, or the mean of both.
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
        self.mask_ratio = check_number("mask_ratio", mask_ratio, "(0, 1]")
        self.whole_ratio = check_number("whole_ratio", whole_ratio, "[0, 1]")
        self.context = check_choice("context", context, ("paired", "detached", "shuffled"))
        self.visual = check_choice("visual", visual, ("view", "original", "mean"))
        self.weights = check_weights(
            {"reconstruct_view": reconstruct_view, "reconstruct_brain": reconstruct_brain}
        )
        kind = RECONSTRUCTORS[check_choice("reconstructor", reconstructor, tuple(RECONSTRUCTORS))]
        params = {} if reconstructor_params is None else reconstructor_params
        _check_params(reconstructor, kind, params)
        self.reconstructors = nn.ModuleDict(
            {
                name: kind(n_outputs, hidden, pull, fill, **params)
                for name, weight in self.weights.items()
                if weight
            }
        )

    def parts(self, brain: Tensor, images: Tensor) -> dict[str, Tensor]:
        """``reconstruct_view`` and ``reconstruct_brain``, from brain and visual side of shape (b, e)."""
        brain, images = root_mean_square_one(brain), root_mean_square_one(images)
        sides = {"reconstruct_view": (images, brain), "reconstruct_brain": (brain, images)}
        return {
            name: self._distance(reconstructor, *sides[name])
            for name, reconstructor in self.reconstructors.items()
        }

    def _distance(self, reconstructor: Any, own: Tensor, context: Tensor) -> Tensor:
        other = shuffled(context) if self.context == "shuffled" else context
        other = other.detach() if self.context == "detached" else other
        mask = random_mask(reconstructor.places(own), self.mask_ratio)
        if self.whole_ratio:
            mask = mask | random_mask(own[:, :1], self.whole_ratio)
        return reconstructor.distance(own, other, mask)

    def images(self, original: Tensor, view: Tensor) -> Tensor:
        """The visual side."""
        if self.visual == "mean":
            return (original + view) / 2
        return view if self.visual == "view" else original

    def forward(self, brain: Tensor, original: Tensor, view: Tensor) -> dict[str, Tensor]:
        """The weighted sum of both directions as ``"loss"``, then each; see :class:`Loss`."""
        check_embeddings(brain, original, view, at_least=2 if self.context == "shuffled" else 1)
        return weighted_total(self.parts(brain, self.images(original, view)), self.weights)


def _check_params(name: str, kind: Any, params: Any) -> None:
    if not isinstance(params, Mapping):
        raise UsageError(
            f"reconstructor_params has to be a table of names and values, not {params!r}",
            "write for example --set loss.params.reconstructor_params.n_tokens=16",
        )
    own = set(inspect.signature(kind).parameters) - {"n_outputs", "hidden", "pull", "fill"}
    unknown = sorted(set(params) - own)
    if unknown and not own:
        raise UsageError(
            f"the reconstructor {name} takes no reconstructor_params, but got {', '.join(unknown)}",
            "leave them out or choose reconstructor='tokens'",
        )
    if unknown:
        raise unknown_name(f"parameter of the reconstructor {name}", unknown[0], sorted(own))


class SSRLoss(ContrastiveLoss):
    """Everything that only the training of SSR needs, parameters included.

    Three pairwise contrasts between brain, pooled views and original, and two reconstructors
    between brain and pooled views. What inference uses is in
    :class:`braindecode_ssr.models.SSR`; this module is discarded after training.

    Source: the figure of SSR, which shows no weights. All are 1 here: a reconstruction is at most
    2, and on simulated trials both together gave the brain encoder 0.03 (at the start) to 0.24
    (after 120 steps) of the gradient that the contrasts gave it.

    Parameters
    ----------
    n_outputs : int
        Width of the embeddings.
    regime, scale, duplicates
        Of the contrasts, as for :class:`~braindecode_ssr.losses.contrast.Contrast`.
    mask_ratio, hidden, context, reconstructor, reconstructor_params, pull, fill, whole_ratio, visual
        Of the reconstructors, as for :class:`MaskedReconstruction`.
    anchor : {"trained", "detached"}
        Whether the contrast of view and original, and that around a single anchor, send a gradient to the
        original.
    brain_view, brain_original, view_original, reconstruct_view, reconstruct_brain : float
        Weights of the parts; a part of weight 0 is left out, with its parameters.
    single_anchor : float
        Weight of :class:`~braindecode_ssr.losses.contrast.SingleAnchor`, in the same regime. To use it
        instead of the pairs, set their weights to 0.
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
        pairs = {
            "brain_view": brain_view,
            "brain_original": brain_original,
            "view_original": view_original,
        }
        directions = {"reconstruct_view": reconstruct_view, "reconstruct_brain": reconstruct_brain}
        self.weights = check_weights({**pairs, **directions, "single_anchor": single_anchor})
        self.contrast = self.single = self.reconstruction = None
        if any(pairs.values()):
            self.contrast = TripleContrast(
                regime, anchor=anchor, scale=scale, duplicates=duplicates, **pairs
            )
        if single_anchor:
            self.single = SingleAnchor(regime, scale, anchor=anchor, duplicates=duplicates)
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

    def parts(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None
    ) -> dict[str, Tensor]:
        """The parts with a weight: three pairs, ``single_anchor``, two reconstructions."""
        parts: dict[str, Tensor] = {}
        if self.contrast is not None:
            parts |= self.contrast.parts(brain, original, view, image)
        if self.single is not None:
            parts["single_anchor"] = self.single(brain, original, view, image)["loss"]
        if self.reconstruction is not None:
            images = self.reconstruction.images(original, view)
            parts |= self.reconstruction.parts(brain, images)
        return parts

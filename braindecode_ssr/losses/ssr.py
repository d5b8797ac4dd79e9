"""The loss of SSR: three pairwise contrasts and two masked reconstructions across modalities.

:class:`SSRLoss` is the figure of SSR from left to right: :class:`TripleContrast` of brain, original and
pooled views, and :class:`MaskedReconstruction` of brain and views, by a :class:`Reconstructor` each.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from ..registry import check_choice
from .base import (
    Anchor,
    ContrastiveLoss,
    Duplicates,
    Loss,
    Parts,
    Regime,
    Similarity,
    check_embeddings,
    check_number,
    check_sizes,
    check_weights,
    contrast_of_logits,
    full_precision,
    weighted_total,
)
from .contrast import SingleAnchor

Context = Literal["paired", "detached", "shuffled", "none"]
Kind = Literal["inpaint", "whole", "tokens"]
Level = Literal["projected", "encoded"]
Pull = Literal["cosine", "mse"]
PullTarget = Literal["both", "detached"]
ViewProjector = Literal["shared", "own"]
Visual = Literal["view", "original", "mean"]

MEASURED_ROWS = 128  # of the last batch, once an epoch and context


def random_mask(like: Tensor, ratio: float, generator: torch.Generator | None = None) -> Tensor:
    device = like.device if generator is None else generator.device
    return torch.rand(like.shape, device=device, generator=generator).to(like.device) < ratio


def shuffled(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The rows of a batch, moved by a random number of places: no row stays where it was."""
    return x.roll(int(torch.randint(1, len(x), (), generator=generator)), 0)


def root_mean_square_one(x: Tensor) -> Tensor:
    """Rows of shape (b, e) scaled so that their mean square is 1."""
    return F.normalize(full_precision(x), dim=-1) * x.shape[-1] ** 0.5


def distance(found: Tensor, wanted: Tensor, scored: Tensor, pull: Pull = "cosine") -> Tensor:
    """Mean distance of vectors, (..., p), over the elements that a bool mask of this shape marks.

    Vectors without any such element do not count; if there are only such, the distance is 0.
    """
    if pull == "cosine":
        each = 1 - F.cosine_similarity(found * scored, wanted * scored, dim=-1)
    else:
        each = ((found - wanted).square() * scored).sum(-1) / scored.sum(-1).clamp_min(1)
    counts = scored.any(-1)
    return (each * counts).sum() / counts.sum().clamp_min(1)


class TripleContrast(ContrastiveLoss):
    """The three pairwise contrasts of SSR's figure, with the original as semantic anchor.

    In regimes that let one side keep its lengths, that is the side which the name of the pair begins with.

    Source: the figure of SSR (one similarity matrix for each pair); equal weights are our reading.

    Parameters
    ----------
    regime, scale, duplicates
        As for :class:`~braindecode_ssr.losses.contrast.Contrast`; one similarity for all pairs.
    brain_view, brain_original, view_original : float
        Weights of the pairs; a pair of weight 0 is left out.
    anchor : {"trained", "detached"}
        Whether the contrast of view and original sends a gradient to the original.
    """

    def __init__(
        self,
        regime: Regime = "unit",
        brain_view: float = 1.0,
        brain_original: float = 1.0,
        view_original: float = 1.0,
        anchor: Anchor = "trained",
        scale: float | None = None,
        duplicates: Duplicates = "negatives",
    ) -> None:
        super().__init__()
        self.anchor = check_choice("anchor", anchor, Anchor)
        self.duplicates = check_choice("duplicates", duplicates, Duplicates)
        self.weights = check_weights(
            {
                "brain_view": brain_view,
                "brain_original": brain_original,
                "view_original": view_original,
            }
        )
        self.similarity = Similarity(regime, scale)

    def parts(self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None) -> Parts:
        """``brain_view``, ``brain_original`` and ``view_original``."""
        anchor = original if self.anchor == "trained" else original.detach()
        pairs = {
            "brain_view": (brain, view),
            "brain_original": (brain, original),
            "view_original": (view, anchor),
        }
        parts = {}
        for name, pair in pairs.items():
            if self.weights[name]:
                x, y, scale = self.similarity(*pair)
                parts[name] = contrast_of_logits(scale * (x @ y.T), self.duplicates, image)
        return parts


class Reconstructor(nn.Module):
    """Fills in hidden elements: a two-layer perceptron on [visible elements, mask, whole other vector].

    Visible elements are kept; only those that were hidden are scored. ``n_own`` and ``n_other`` are the
    widths of the vector that is filled in and of the other modality's.
    """

    takes_mask = True

    def __init__(self, n_own: int, n_other: int, hidden: int | None = None) -> None:
        super().__init__()
        hidden = n_own if hidden is None else hidden
        check_sizes(n_own=n_own, n_other=n_other, hidden=hidden)
        n_inputs = n_own * (1 + self.takes_mask) + n_other
        self.layers = nn.Sequential(
            nn.Linear(n_inputs, hidden), nn.GELU(), nn.Linear(hidden, n_own)
        )

    def maskable(self, own: Tensor) -> Tensor:
        """A tensor of the shape of a mask: one place for each element, (b, e)."""
        return own

    def forward(self, own: Tensor, other: Tensor, mask: Tensor) -> Tensor:
        """The own vector (b, e), in which elements are filled in where ``mask``, (b, e), is true."""
        seen = own.masked_fill(mask, 0.0)
        return torch.where(mask, self.layers(torch.cat([seen, mask.to(own), other], -1)), own)

    def compare(self, own: Tensor, other: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What was found, what is wanted, and which elements are compared; all of one shape."""
        return self(own, other, mask), own, mask


class WholeReconstructor(Reconstructor):
    """As in version 0.1: makes and scores the whole vector, without being told which elements are hidden."""

    takes_mask = False

    def __init__(self, n_own: int, n_other: int, hidden: int | None = None) -> None:
        super().__init__(n_own, n_other, hidden)
        self.mask_vector = nn.Parameter(torch.randn(n_own) * 0.02)

    def forward(self, own: Tensor, other: Tensor, mask: Tensor) -> Tensor:
        seen = torch.where(mask, self.mask_vector.to(own.dtype), own)
        return self.layers(torch.cat([seen, other], -1))

    def compare(self, own: Tensor, other: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self(own, other, mask), own, torch.ones_like(mask)


class TokenReconstructor(nn.Module):
    """A transformer decoder from the tokens of one vector, some hidden, to all tokens of the other.

    Each vector becomes k tokens. Hidden ones are replaced by a learned one; blocks of attention among the own
    tokens, attention to the other ones, and a perceptron of twice the width follow; a linear map predicts
    from each token its chunk of the own vector, normalized. Only hidden tokens are scored.

    Parameters
    ----------
    n_own, n_other : int
        Widths of the vectors; multiples of ``n_tokens``.
    hidden : int, optional
        Width of a token; 128 if None.
    n_tokens, n_blocks, n_heads : int
        Tokens of a vector, blocks, and attention heads.
    drop_prob : float
        Dropout in the blocks.
    """

    def __init__(
        self,
        n_own: int,
        n_other: int,
        hidden: int | None = None,
        n_tokens: int = 8,
        n_blocks: int = 1,
        n_heads: int = 4,
        drop_prob: float = 0.1,
    ) -> None:
        super().__init__()
        width = 128 if hidden is None else hidden
        check_sizes(hidden=width, n_tokens=n_tokens, n_blocks=n_blocks, n_heads=n_heads)
        for size in (n_own, n_other):
            if size % n_tokens or size // n_tokens < 2:
                raise UsageError(
                    f"n_tokens = {n_tokens} does not divide the {size} elements of a vector into "
                    "chunks of 2 or more",
                    "choose a divisor, such as 8",
                )
        if width % n_heads:
            raise UsageError(
                f"{n_heads} heads do not divide the width of a token, hidden = {width}",
                "choose a divisor, such as 4 heads for a width of 128",
            )
        check_number("drop_prob", drop_prob, "[0, 1)")
        self.n_tokens = n_tokens
        self.own = nn.Linear(n_own // n_tokens, width)
        self.other = nn.Linear(n_other // n_tokens, width)
        self.positions = nn.Parameter(torch.randn(2, n_tokens, width) * 0.02)
        self.mask_token = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width, n_heads, 2 * width, drop_prob, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(n_blocks)
        )
        self.head = nn.Linear(width, n_own // n_tokens)

    def maskable(self, own: Tensor) -> Tensor:
        """A tensor of the shape of a mask: one place for each token, (b, k)."""
        return own[:, : self.n_tokens]

    def chunks(self, x: Tensor) -> Tensor:
        """A vector in pieces, (b, e) to (b, k, e / k)."""
        return x.unflatten(-1, (self.n_tokens, -1))

    def forward(self, own: Tensor, other: Tensor, mask: Tensor) -> Tensor:
        """The chunks of the own vector, (b, k, e / k), where ``mask``, (b, k), hides tokens of it."""
        x, context = self.own(self.chunks(own)), self.other(self.chunks(other))
        x = torch.where(mask[..., None], self.mask_token.to(x.dtype), x) + self.positions[0]
        context = context + self.positions[1]
        for block in self.blocks:
            x = block(x, context)
        return self.head(x)

    def compare(self, own: Tensor, other: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As for :class:`Reconstructor`, in chunks of shape (b, k, e / k)."""
        chunks = self.chunks(own)
        wanted = F.layer_norm(chunks, chunks.shape[-1:])
        return self(own, other, mask), wanted, mask[..., None].expand_as(wanted)


RECONSTRUCTORS: dict[str, Any] = {
    "inpaint": Reconstructor,
    "whole": WholeReconstructor,
    "tokens": TokenReconstructor,
}


class MaskedReconstruction(Loss):
    """Two reconstructors: masked view + whole brain to view, masked brain + whole view to brain.

    Vectors are first scaled to mean square 1. The reconstructors are a side branch of training.

    Source: the figure of SSR; perceptrons and cosine are our reading of it, see :doc:`/losses`. The token
    variant follows MaskVLM (arXiv 2208.02131).

    Parameters
    ----------
    n_outputs, n_images : int
        Widths of the vectors of the brain and of the images; if only one is given, of both.
    mask_ratio : float
        Probability that an element (or a token) is hidden; above 0, at most 1.
    hidden : int, optional
        Width between the layers of a perceptron (that of the vectors if None), or of a token (128 if None).
    context : {"paired", "detached", "shuffled", "none"}
        ``"detached"``: no gradient through the other vector. ``"shuffled"``: it is that of another row, the
        control in which reconstruction across modalities is impossible. ``"none"``: it is 0.
    reconstruct_view, reconstruct_brain : float
        Weights of the directions; a direction of weight 0 is left out.
    reconstructor : {"inpaint", "whole", "tokens"}
        :class:`Reconstructor`, as the figure draws it, :class:`WholeReconstructor` as in version 0.1, or
        :class:`TokenReconstructor` with cross-attention between tokens.
    reconstructor_params : dict, optional
        Further arguments of :class:`TokenReconstructor`, such as ``n_tokens``.
    pull : {"cosine", "mse"}
        What is measured between reconstruction and target.
    pull_target : {"both", "detached"}
        Whether the pull moves the hidden elements, too, or only what is filled in for them.
    whole_ratio : float
        Probability that a row is hidden as a whole, in addition.
    visual : {"view", "original", "mean"}
        The visual side: pooled views as in the figure, the original, or the mean of both.
    """

    def __init__(
        self,
        n_outputs: int,
        n_images: int | None = None,
        mask_ratio: float = 0.5,
        hidden: int | None = None,
        context: Context = "paired",
        reconstruct_view: float = 1.0,
        reconstruct_brain: float = 1.0,
        reconstructor: Kind = "inpaint",
        reconstructor_params: Mapping[str, Any] | None = None,
        pull: Pull = "cosine",
        pull_target: PullTarget = "both",
        whole_ratio: float = 0.0,
        visual: Visual = "view",
    ) -> None:
        super().__init__()
        self.last: tuple[Tensor, Tensor] | None = None
        self.mask_ratio = check_number("mask_ratio", mask_ratio, "(0, 1]")
        self.whole_ratio = check_number("whole_ratio", whole_ratio, "[0, 1]")
        self.context = check_choice("context", context, Context)
        self.pull = check_choice("pull", pull, Pull)
        self.pull_target = check_choice("pull_target", pull_target, PullTarget)
        self.visual = check_choice("visual", visual, Visual)
        weights = {"reconstruct_view": reconstruct_view, "reconstruct_brain": reconstruct_brain}
        self.weights = check_weights(weights)
        kind = RECONSTRUCTORS[check_choice("reconstructor", reconstructor, Kind)]
        n_images = n_outputs if n_images is None else n_images
        widths = {
            "reconstruct_view": (n_images, n_outputs),
            "reconstruct_brain": (n_outputs, n_images),
        }
        self.reconstructors = nn.ModuleDict()
        for name in filter(self.weights.get, widths):
            try:
                part = kind(*widths[name], hidden, **(reconstructor_params or {}))
            except TypeError as error:
                known = set(inspect.signature(kind).parameters) - {"n_own", "n_other", "hidden"}
                raise UsageError(
                    f"reconstructor_params {reconstructor_params!r} do not suit the reconstructor "
                    f"{reconstructor}: {error}",
                    f"it takes a table of {', '.join(sorted(known)) or 'nothing'}",
                ) from error
            self.reconstructors[name] = part

    def parts(
        self,
        brain: Tensor,
        images: Tensor,
        context: Context | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """``reconstruct_view`` and ``reconstruct_brain``, from brain and visual side, (b, e) and (b, f)."""
        if self.training:
            self.last = brain[:MEASURED_ROWS].detach(), images[:MEASURED_ROWS].detach()
        brain, images = root_mean_square_one(brain), root_mean_square_one(images)
        sides = {"reconstruct_view": (images, brain), "reconstruct_brain": (brain, images)}
        found = {}
        for name, part in self.reconstructors.items():
            reconstructor: Any = part
            own, other = sides[name]
            mask = random_mask(reconstructor.maskable(own), self.mask_ratio, generator)
            if self.whole_ratio:
                mask = mask | random_mask(own[:, :1], self.whole_ratio, generator)
            other = other_vector(other, context or self.context, generator)
            filled, wanted, scored = reconstructor.compare(own, other, mask)
            wanted = wanted.detach() if self.pull_target == "detached" else wanted
            found[name] = distance(filled, wanted, scored, self.pull)
        return found

    def images(self, original: Tensor, view: Tensor) -> Tensor:
        """The visual side."""
        if self.visual == "mean":
            return (original + view) / 2
        return view if self.visual == "view" else original

    def forward(self, brain: Tensor, original: Tensor, view: Tensor) -> dict[str, Tensor]:
        """The weighted sum of both directions as ``"loss"``, then each; see :class:`Loss`."""
        check_embeddings(brain, original, view, at_least=2 if self.context == "shuffled" else 1)
        return weighted_total(self.parts(brain, self.images(original, view)), self.weights)

    @torch.no_grad()
    def diagnostics(self) -> dict[str, Tensor]:
        """Each direction with the right partner, that of another row, and none, on the last training batch.

        The same elements are hidden each time, and no global random number is drawn.
        """
        if self.last is None or len(self.last[0]) < 2:
            return {}
        found: dict[str, Tensor] = {}
        training = self.training
        self.eval()
        contexts: tuple[Context, ...] = ("paired", "shuffled", "none")
        for context in contexts:
            parts = self.parts(*self.last, context, torch.Generator().manual_seed(0))
            found |= {f"{name}_{context}": part for name, part in parts.items()}
        self.train(training)
        return found


def other_vector(
    other: Tensor, context: Context, generator: torch.Generator | None = None
) -> Tensor:
    if context == "shuffled":
        return shuffled(other, generator)
    if context == "none":
        return torch.zeros_like(other)
    return other.detach() if context == "detached" else other


class SSRLoss(Loss):
    """Everything that only the training of SSR needs, parameters included.

    Three pairwise contrasts between brain, pooled views and original, and two reconstructors between brain
    and pooled views. What inference uses is in :class:`braindecode_ssr.models.SSR`.

    Source: the figure of SSR, which shows no weights; :doc:`/losses` says how ours were measured.

    Parameters
    ----------
    n_outputs : int
        Width of the embeddings.
    regime, scale, duplicates
        Of the contrasts, as for :class:`~braindecode_ssr.losses.contrast.Contrast`.
    mask_ratio, hidden, context, reconstructor, reconstructor_params, pull, pull_target, whole_ratio, visual
        Of the reconstructors, as for :class:`MaskedReconstruction`.
    anchor : {"trained", "detached"}
        Whether the contrast of view and original, and that around a single anchor, send a gradient to the
        original.
    brain_view, brain_original, view_original, reconstruct_view, reconstruct_brain : float
        Weights of the parts; a part of weight 0 is left out, with its parameters.
    single_anchor : float
        Weight of :class:`~braindecode_ssr.losses.contrast.SingleAnchor`, in the same regime. To use it
        instead of the pairs, set their weights to 0.
    level : {"projected", "encoded"}
        Which vectors are reconstructed: embeddings, or what enters the projectors, that is the output of the
        backbone and the image features. The figure draws both alike.
    view_projector : {"shared", "own"}
        Whether views pass the image head of the originals, or a linear map of their own. The figure draws
        two projectors, and one at inference, where there are no views.
    backbone_width, n_features : int, optional
        Widths of what enters the projectors; needed for ``level="encoded"`` and ``view_projector="own"``.
    """

    def __init__(
        self,
        n_outputs: int,
        regime: Regime = "unit",
        mask_ratio: float = 0.5,
        hidden: int | None = None,
        context: Context = "paired",
        anchor: Anchor = "trained",
        brain_view: float = 1.0,
        brain_original: float = 1.0,
        view_original: float = 1.0,
        reconstruct_view: float = 5.0,
        reconstruct_brain: float = 5.0,
        single_anchor: float = 0.0,
        scale: float | None = None,
        duplicates: Duplicates = "negatives",
        reconstructor: Kind = "inpaint",
        reconstructor_params: Mapping[str, Any] | None = None,
        pull: Pull = "cosine",
        pull_target: PullTarget = "both",
        whole_ratio: float = 0.0,
        visual: Visual = "view",
        level: Level = "projected",
        view_projector: ViewProjector = "shared",
        backbone_width: int | None = None,
        n_features: int | None = None,
    ) -> None:
        super().__init__()
        pairs = {
            "brain_view": brain_view,
            "brain_original": brain_original,
            "view_original": view_original,
        }
        directions = {"reconstruct_view": reconstruct_view, "reconstruct_brain": reconstruct_brain}
        self.weights = check_weights({**pairs, **directions, "single_anchor": single_anchor})
        self.level = check_choice("level", level, Level)
        check_choice("view_projector", view_projector, ViewProjector)
        self.unused = {"hidden", "features", "view_features"}
        self.contrast = self.single = self.reconstruction = self.view_projector = None
        if view_projector == "own":
            n_inputs = _known(n_features, "n_features", "view_projector='own'")
            self.view_projector = nn.Linear(n_inputs, n_outputs)
            self.unused -= {"view_features"}
        if any(pairs.values()):
            self.contrast = TripleContrast(
                regime, anchor=anchor, scale=scale, duplicates=duplicates, **pairs
            )
        if single_anchor:
            self.single = SingleAnchor(regime, scale, anchor=anchor, duplicates=duplicates)
        if any(directions.values()):
            n_brain, n_images = n_outputs, n_outputs
            if level == "encoded":
                n_brain = _known(backbone_width, "backbone_width", "level='encoded'")
                n_images = _known(n_features, "n_features", "level='encoded'")
                self.unused.clear()
            self.reconstruction = MaskedReconstruction(
                *(n_brain, n_images, mask_ratio, hidden, context),
                *(reconstruct_view, reconstruct_brain, reconstructor, reconstructor_params),
                *(pull, pull_target, whole_ratio, visual),
            )

    def forward(
        self,
        brain: Tensor,
        original: Tensor,
        view: Tensor,
        image: Tensor | None = None,
        hidden: Tensor | None = None,
        features: Tensor | None = None,
        view_features: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The weighted sum of the parts as ``"loss"``, then the parts that have a weight, by its name.

        As for :class:`~braindecode_ssr.losses.base.ContrastiveLoss`; ``hidden``, (b, backbone_width),
        ``features`` and ``view_features``, (b, n_features), are only needed where ``level`` or
        ``view_projector`` says so.
        """
        if self.view_projector is not None:
            inputs = _known(view_features, "view_features", "view_projector='own'")
            view = self.view_projector(inputs)
        check_embeddings(brain, original, view)
        parts: dict[str, Tensor] = {}
        if self.contrast is not None:
            parts |= self.contrast.parts(brain, original, view, image)
        if self.single is not None:
            parts["single_anchor"] = self.single(brain, original, view, image)["loss"]
        if self.reconstruction is not None:
            if self.level == "encoded":
                inputs = {"hidden": hidden, "features": features, "view_features": view_features}
                brain, original, view = (
                    _known(rows, name, "level='encoded'") for name, rows in inputs.items()
                )
            parts |= self.reconstruction.parts(brain, self.reconstruction.images(original, view))
        return weighted_total(parts, self.weights)

    def diagnostics(self) -> dict[str, Tensor]:
        return {} if self.reconstruction is None else self.reconstruction.diagnostics()


def _known(value: Any, name: str, option: str) -> Any:
    if value is None:
        raise UsageError(
            f"{option} needs {name}, which is missing",
            "train with EEGRetriever, which knows it, or pass it to the loss",
        )
    return value

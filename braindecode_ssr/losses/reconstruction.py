"""Cross-modal masked reconstruction: what is hidden of one side is inferred from the other."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from ..registry import unknown_name
from .parts import as_number, check_choice, check_embeddings, check_weights, weighted_total
from .reconstructors import RECONSTRUCTORS, Fill, Pull, random_mask
from .similarity import full_precision

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
        What else a :class:`~braindecode_ssr.losses.reconstructors.TokenReconstructor` takes, such as
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

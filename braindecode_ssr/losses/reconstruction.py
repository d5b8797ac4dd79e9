"""Cross-modal masked reconstruction: what is hidden of one side is inferred from the other."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from .parts import check_choice, check_embeddings, check_weights, weighted_total
from .similarity import full_precision

DIRECTIONS = ("reconstruct_view", "reconstruct_brain")
Context = Literal["paired", "shuffled"]


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


def shuffled(x: Tensor) -> Tensor:
    """The rows of a batch moved on by a random number of places: no row stays where it was."""
    return x.roll(int(torch.randint(1, len(x), ())), 0)


def root_mean_square_one(x: Tensor) -> Tensor:
    """Rows of shape (b, e) scaled so that their mean square is 1."""
    return F.normalize(full_precision(x), dim=-1) * x.shape[-1] ** 0.5


def cosine_pull(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean of 1 - cosine between rows of shape (b, e); the wanted rows get no gradient."""
    return 1 - F.cosine_similarity(found, wanted.detach(), dim=-1).mean()


class Reconstructor(nn.Module):
    """A two-layer perceptron on [own vector with hidden elements, whole other vector].

    Parameters
    ----------
    n_outputs : int
        Width of the vectors.
    hidden : int
        Width between the layers.
    """

    def __init__(self, n_outputs: int, hidden: int) -> None:
        super().__init__()
        self.mask_vector = nn.Parameter(torch.randn(n_outputs) * 0.02)
        self.layers = nn.Sequential(
            nn.Linear(2 * n_outputs, hidden), nn.GELU(), nn.Linear(hidden, n_outputs)
        )

    def forward(self, own: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """The whole own vector, as far as it can be told.

        Parameters
        ----------
        own, context : Tensor, shape (b, e)
        mask : Tensor of bool, shape (b, e)
            True where ``own`` is hidden behind the learned mask vector.

        Returns
        -------
        Tensor, shape (b, e)
        """
        seen = torch.where(mask, self.mask_vector.to(own.dtype), own)
        return self.layers(torch.cat([seen, context], dim=-1))


class MaskedReconstruction(nn.Module):
    """Two reconstructors: masked view + whole brain to view, masked brain + whole view to brain.

    Their input is scaled to mean square 1 and their output is judged by its cosine with the
    unmasked vector, so that lengths of embeddings do not matter. They are a side branch of
    training and no part of retrieval.

    Source: the figure of SSR; masks, perceptrons and cosine are our reading of it.

    Parameters
    ----------
    n_outputs : int
        Width of the embeddings.
    mask_ratio : float
        Probability that an element is hidden; above 0, at most 1.
    hidden : int, optional
        Width between the layers of a reconstructor; ``n_outputs`` if None.
    context : {"paired", "shuffled"}
        ``"shuffled"`` gives each row the other vector of another row: the control in which
        reconstruction across modalities is impossible.
    reconstruct_view, reconstruct_brain : float
        Weights of the directions; a direction of weight 0 is left out.
    """

    def __init__(
        self,
        n_outputs: int,
        mask_ratio: float = 0.5,
        hidden: int | None = None,
        context: Context = "paired",
        reconstruct_view: float = 1.0,
        reconstruct_brain: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < mask_ratio <= 1:
            raise UsageError(
                "a mask_ratio above 0 and at most 1", repr(mask_ratio), "0.5 is the default"
            )
        self.mask_ratio = mask_ratio
        self.context = check_choice("context", context, ("paired", "shuffled"))
        self.weights = check_weights(
            dict(zip(DIRECTIONS, (reconstruct_view, reconstruct_brain), strict=True))
        )
        self.reconstructors = nn.ModuleDict(
            {
                name: Reconstructor(n_outputs, hidden or n_outputs)
                for name, weight in self.weights.items()
                if weight
            }
        )

    def parts(self, brain: Tensor, view: Tensor) -> dict[str, Tensor]:
        """How far each reconstruction is from the unmasked vector: mean of 1 - cosine.

        Parameters
        ----------
        brain, view : Tensor, shape (b, e)

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
        other = context if self.context == "paired" else shuffled(context)
        found = reconstructor(own, other, random_mask(own, self.mask_ratio))
        return cosine_pull(found, own)

    def forward(self, brain: Tensor, original: Tensor, view: Tensor) -> dict[str, Tensor]:
        """The weighted sum of both directions as ``"loss"``, then each; originals take no part.

        Parameters
        ----------
        brain, original, view : Tensor, shape (b, e)

        Returns
        -------
        dict of str to Tensor
        """
        check_embeddings(brain, original, view, at_least=1 if self.context == "paired" else 2)
        return weighted_total(self.parts(brain, view), self.weights)

"""Triple contrast: brain, pooled views and original image, pair by pair."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from torch import Tensor, nn

from .contrast import symmetric_info_nce
from .parts import check_choice, check_embeddings, check_weights, weighted_total
from .similarity import Regime, Similarity

PAIRS = ("brain_view", "brain_original", "view_original")
Anchor = Literal["trained", "detached"]


def triple_contrast(
    brain: Tensor,
    original: Tensor,
    view: Tensor,
    similarity: Similarity,
    *,
    pairs: Collection[str] = PAIRS,
    anchor: Anchor = "trained",
) -> dict[str, Tensor]:
    """The symmetric contrast of each pair, by name.

    In the regime ``"free"`` the side that keeps its length is the one that the name of the pair
    begins with.

    Parameters
    ----------
    brain, original, view : Tensor, shape (b, e)
    similarity : Similarity
        One for all pairs.
    pairs : collection of str
        Which of ``PAIRS`` to compute.
    anchor : {"trained", "detached"}
        Whether the contrast of view and original moves the original, the semantic anchor.

    Returns
    -------
    dict of str to Tensor of shape ()
    """
    anchored = original if anchor == "trained" else original.detach()
    sides = {
        "brain_view": (brain, view),
        "brain_original": (brain, original),
        "view_original": (view, anchored),
    }
    return {name: symmetric_info_nce(*similarity(*sides[name])) for name in PAIRS if name in pairs}


class TripleContrast(nn.Module):
    """The three pairwise contrasts of SSR's figure, with the original as semantic anchor.

    Source: the figure of SSR (one similarity matrix for each pair); equal weights are our reading.

    Parameters
    ----------
    regime : {"free", "unit"}
        Normalisation and scale, see :class:`~braindecode_ssr.losses.similarity.Similarity`.
    brain_view, brain_original, view_original : float
        Weights of the pairs; a pair of weight 0 is left out.
    anchor : {"trained", "detached"}
        Whether the contrast of view and original moves the original.
    """

    def __init__(
        self,
        regime: Regime = "free",
        brain_view: float = 1.0,
        brain_original: float = 1.0,
        view_original: float = 1.0,
        anchor: Anchor = "trained",
    ) -> None:
        super().__init__()
        self.anchor = check_choice("anchor", anchor, ("trained", "detached"))
        self.weights = check_weights(
            dict(zip(PAIRS, (brain_view, brain_original, view_original), strict=True))
        )
        self.similarity = Similarity(regime)

    def forward(self, brain: Tensor, original: Tensor, view: Tensor) -> dict[str, Tensor]:
        """The weighted sum of the pairs as ``"loss"``, then each pair.

        Parameters
        ----------
        brain, original, view : Tensor, shape (b, e)

        Returns
        -------
        dict of str to Tensor
        """
        check_embeddings(brain, original, view)
        pairs = [name for name, weight in self.weights.items() if weight]
        parts = triple_contrast(
            brain, original, view, self.similarity, pairs=pairs, anchor=self.anchor
        )
        return weighted_total(parts, self.weights)

"""Triple contrast: brain, pooled views and original image, pair by pair."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from torch import Tensor, nn

from .contrast import pair_contrast
from .duplicates import Duplicates, check_duplicates
from .parts import check_choice, check_embeddings, check_weights, weighted_total
from .similarity import Regime, Similarity

PAIRS = ("brain_view", "brain_original", "view_original")
Anchor = Literal["trained", "detached"]
ANCHORS = ("trained", "detached")


def triple_contrast(
    brain: Tensor,
    original: Tensor,
    view: Tensor,
    similarity: Similarity,
    *,
    pairs: Collection[str] = PAIRS,
    anchor: Anchor = "trained",
    duplicates: Duplicates = "negatives",
    image: Tensor | None = None,
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
    duplicates : {"negatives", "ignored", "positives"}
        What rows of the same image are to each other.
    image : Tensor of int, shape (b,), optional
        Index of the image of each row; needed unless duplicates are negatives.

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
    return {
        name: pair_contrast(*similarity(*sides[name]), duplicates, image)
        for name in PAIRS
        if name in pairs
    }


class TripleContrast(nn.Module):
    """The three pairwise contrasts of SSR's figure, with the original as semantic anchor.

    Source: the figure of SSR (one similarity matrix for each pair); equal weights are our reading.

    Parameters
    ----------
    regime : str
        Normalisation and scale, see :class:`~braindecode_ssr.losses.similarity.Similarity`.
    brain_view, brain_original, view_original : float
        Weights of the pairs; a pair of weight 0 is left out.
    anchor : {"trained", "detached"}
        Whether the contrast of view and original moves the original.
    scale : float, optional
        Where the scale starts, or stays; default: that of the regime.
    duplicates : {"negatives", "ignored", "positives"}
        What rows of the same image are to each other, see
        :func:`~braindecode_ssr.losses.duplicates.duplicate_info_nce`.
    """

    def __init__(
        self,
        regime: Regime = "free",
        brain_view: float = 1.0,
        brain_original: float = 1.0,
        view_original: float = 1.0,
        anchor: Anchor = "trained",
        scale: float | None = None,
        duplicates: Duplicates = "negatives",
    ) -> None:
        super().__init__()
        self.anchor = check_choice("anchor", anchor, ANCHORS)
        self.duplicates = check_duplicates(duplicates)
        self.weights = check_weights(
            dict(zip(PAIRS, (brain_view, brain_original, view_original), strict=True))
        )
        self.similarity = Similarity(regime, scale)

    def forward(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The weighted sum of the pairs as ``"loss"``, then each pair.

        Parameters
        ----------
        brain, original, view : Tensor, shape (b, e)
        image : Tensor of int, shape (b,), optional
            Index of the image of each row; needed unless duplicates are negatives.

        Returns
        -------
        dict of str to Tensor
        """
        check_embeddings(brain, original, view)
        parts = triple_contrast(
            brain,
            original,
            view,
            self.similarity,
            pairs=[name for name, weight in self.weights.items() if weight],
            anchor=self.anchor,
            duplicates=self.duplicates,
            image=image,
        )
        return weighted_total(parts, self.weights)

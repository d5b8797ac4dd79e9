"""SSR's loss: triple contrast and cross-modal masked reconstruction."""

from __future__ import annotations

from torch import Tensor, nn

from .parts import check_embeddings, check_weights, weighted_total
from .reconstruction import DIRECTIONS, Context, MaskedReconstruction
from .similarity import Regime
from .triple import PAIRS, Anchor, TripleContrast


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
    regime : {"free", "unit"}
        Normalisation and scale, see :class:`~braindecode_ssr.losses.similarity.Similarity`.
    mask_ratio : float
        Probability that an element is hidden.
    hidden : int, optional
        Width between the layers of a reconstructor; ``n_outputs`` if None.
    context : {"paired", "shuffled"}
        ``"shuffled"`` is the control in which reconstruction cannot help.
    anchor : {"trained", "detached"}
        Whether the contrast of view and original moves the original.
    brain_view, brain_original, view_original, reconstruct_view, reconstruct_brain : float
        Weights of the parts; a part of weight 0 is left out, with its parameters.
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
    ) -> None:
        super().__init__()
        pairs = dict(zip(PAIRS, (brain_view, brain_original, view_original), strict=True))
        directions = dict(zip(DIRECTIONS, (reconstruct_view, reconstruct_brain), strict=True))
        self.weights = check_weights({**pairs, **directions})
        self.contrast = (
            TripleContrast(regime, anchor=anchor, **pairs) if any(pairs.values()) else None
        )
        self.reconstruction = (
            MaskedReconstruction(n_outputs, mask_ratio, hidden, context, **directions)
            if any(directions.values())
            else None
        )

    def forward(self, brain: Tensor, original: Tensor, view: Tensor) -> dict[str, Tensor]:
        """The weighted sum of all parts as ``"loss"``, then each part.

        Parameters
        ----------
        brain, original, view : Tensor, shape (b, e)

        Returns
        -------
        dict of str to Tensor
            ``loss``, ``brain_view``, ``brain_original``, ``view_original``,
            ``reconstruct_view``, ``reconstruct_brain``.
        """
        check_embeddings(brain, original, view)
        parts: dict[str, Tensor] = {}
        for branch in (self.contrast, self.reconstruction):
            if branch is not None:
                parts.update(branch(brain, original, view))
        parts.pop("loss")
        return weighted_total(parts, self.weights)

"""SSR's loss: triple contrast and cross-modal masked reconstruction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from .duplicates import Duplicates
from .parts import check_embeddings, check_weights, weighted_total
from .reconstruction import DIRECTIONS, Context, Kind, MaskedReconstruction, Visual
from .reconstructors import Fill, Pull
from .similarity import Regime
from .single_anchor import SingleAnchor
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
    regime : str
        Normalisation and scale, see :class:`~braindecode_ssr.losses.similarity.Similarity`.
    mask_ratio, hidden, context
        As for :class:`~braindecode_ssr.losses.reconstruction.MaskedReconstruction`.
    anchor : {"trained", "detached"}
        Whether the contrast of view and original, and that around one anchor, move the original.
    brain_view, brain_original, view_original, reconstruct_view, reconstruct_brain : float
        Weights of the parts; a part of weight 0 is left out, with its parameters.
    single_anchor : float
        Weight of :class:`~braindecode_ssr.losses.single_anchor.SingleAnchor`, in the same regime. To have it
        in place of the pairs, give these weight 0.
    scale : float, optional
        Where the scale starts, or stays; default: that of the regime.
    duplicates : {"negatives", "ignored", "positives"}
        What rows of the same image are to each other in the contrasts.
    reconstructor, reconstructor_params, pull, fill, whole_ratio, visual
        As for :class:`~braindecode_ssr.losses.reconstruction.MaskedReconstruction`.
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

"""Semantic swap: each modality is rebuilt from what is its own and from the other's meaning."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .club import CLUB
from .contrast import Contrast, Target, pair_contrast
from .contrast_mse import squared_distance
from .duplicates import Duplicates, check_duplicates
from .parts import (
    check_choice,
    check_embeddings,
    check_sizes,
    check_weights,
    weighted_total,
)
from .similarity import Regime, Similarity, full_precision, unit

SIDES = ("brain", "image")


class SemanticSwap(nn.Module):
    r"""Contrast, domain codes free of meaning, and reconstruction with the meaning swapped.

    :math:`L = w_1 \mathrm{NCE}(b, o) + w_2 (I(d_b; b) + I(d_o; o)) + w_3 (|\hat b - b|^2 +
    |\hat o - o|^2) + \text{surprise}`, with :math:`\hat b = D_b(d_b, o)`, :math:`\hat o = D_o(d_o, b)`, all
    vectors of unit length and the targets of the reconstruction detached. :math:`I` is the CLUB bound; the
    surprise of its nets moves only them, so that they learn with the same optimiser.

    Source: VE-SDN (Chen et al., arXiv 2408.06788). It takes semantic and domain codes from encoder features;
    a loss sees embeddings, which are retrieved and thus the semantic codes, and takes the domain codes from
    them. Its CLUB nets have optimisers of their own and several steps a batch; here they take one.

    Parameters
    ----------
    n_outputs : int
        Width of the embeddings.
    target : {"original", "view"}
        Which image embeddings.
    regime, scale
        As for :class:`~braindecode_ssr.losses.contrast.Contrast`; published: ``"unit"``.
    contrast, information, swap : float
        Weights of the parts; a part of weight 0 is left out, with its parameters.
    domain : int
        Width of the domain codes.
    hidden : int
        Width between the layers of the domain and decoder perceptrons.
    duplicates : {"negatives", "ignored", "positives"}
        What rows of the same image are to each other in the contrast.
    """

    def __init__(
        self,
        n_outputs: int,
        target: Target = "original",
        regime: Regime = "unit",
        scale: float | None = None,
        contrast: float = 1.0,
        information: float = 1.0,
        swap: float = 1.0,
        domain: int = 512,
        hidden: int = 512,
        duplicates: Duplicates = "negatives",
    ) -> None:
        super().__init__()
        self.target = check_choice("target", target, Contrast.targets)
        self.duplicates = check_duplicates(duplicates)
        check_sizes(n_outputs=n_outputs, domain=domain, hidden=hidden)
        names = (f"brain_{target}", "information", "swap")
        weights = check_weights(dict(zip(names, (contrast, information, swap), strict=True)))
        self.weights = {**weights, "surprise": 1.0}
        self.similarity = Similarity(regime, scale)
        self.domains, self.decoders, self.clubs = (nn.ModuleDict() for _ in range(3))
        for side in SIDES:
            if information or swap:
                self.domains[side] = _perceptron(n_outputs, hidden, domain)
            if swap:
                self.decoders[side] = _perceptron(domain + n_outputs, hidden, n_outputs)
            if information:
                self.clubs[side] = CLUB(domain, n_outputs)

    def forward(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The weighted sum as ``"loss"``, then contrast, ``information``, ``swap``, ``surprise``.

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
        images = original if self.target == "original" else view
        contrast, parts = next(iter(self.weights)), {}
        if self.weights[contrast]:
            compared = self.similarity(brain, images)
            parts[contrast] = pair_contrast(*compared, self.duplicates, image)
        if self.domains:
            both = (unit(full_precision(part)) for part in (brain, images))
            parts.update(self._swapped(dict(zip(SIDES, both, strict=True))))
        return weighted_total(parts, self.weights)

    def _swapped(self, semantic: dict[str, Tensor]) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = {}
        other = dict(zip(SIDES, reversed(semantic.values()), strict=True))
        domain = {side: unit(net(semantic[side])) for side, net in self.domains.items()}
        for side, decoder in self.decoders.items():
            rebuilt = decoder(torch.cat([domain[side], other[side]], 1))
            distance = squared_distance(rebuilt, semantic[side].detach())
            parts["swap"] = parts.get("swap", 0.0) + distance
        for side, club in self.clubs.items():
            pair = (domain[side], semantic[side])
            parts["information"] = parts.get("information", 0.0) + club.bound(*pair)
            parts["surprise"] = parts.get("surprise", 0.0) + club.surprise(*pair)
        return parts


def _perceptron(n_inputs: int, hidden: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_inputs, hidden), nn.GELU(), nn.Linear(hidden, n_outputs))

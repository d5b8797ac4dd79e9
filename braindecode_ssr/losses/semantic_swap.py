"""CLUB: an upper bound of the mutual information of two vectors, from samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .base import (
    Duplicates,
    Regime,
    Similarity,
    check_choice,
    check_duplicates,
    check_embeddings,
    check_sizes,
    check_weights,
    full_precision,
    unit,
    weighted_total,
)
from .contrast import Contrast, Target, pair_contrast, squared_distance


def gaussian_log_likelihood(y: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""Log-density of a Gaussian of independent elements.

    .. math:: -\frac{1}{2} \sum_k \Big( \frac{(y_k - \mu_k)^2}{\sigma_k^2} + \ln \sigma_k^2
              + \ln 2\pi \Big)

    Parameters
    ----------
    y, mean, log_variance : Tensor, shape (..., e)
        They broadcast.

    Returns
    -------
    Tensor, shape (...)
    """
    squared = (y - mean).square() * (-log_variance).exp()
    return -(squared + log_variance + math.log(2 * math.pi)).sum(-1) / 2


def club_upper_bound(y: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""How much better y is told from its own x than from the x of other rows.

    .. math:: \frac{1}{b} \sum_i \Big( \log q(y_i | x_i) - \frac{1}{b} \sum_j \log q(y_j | x_i) \Big)

    An upper bound of the mutual information in nats if q is the true conditional density.

    Source: Cheng et al. (ICML 2020), CLUB, eq. 7 and 16 (variational CLUB).

    Parameters
    ----------
    y : Tensor, shape (b, e)
    mean, log_variance : Tensor, shape (b, e)
        Of the Gaussian q(y | x_i) of each row.

    Returns
    -------
    Tensor, shape ()
        Computed from the moments of y: no (b, b, e) array is made.
    """
    precision = (-log_variance).exp()
    own = (y - mean).square()
    middle = y.mean(0)
    others = (middle - mean).square() + (y - middle).square().mean(0)
    return ((others - own) * precision).sum(1).mean() / 2


class CLUB(nn.Module):
    """Tells a vector from another by a Gaussian whose mean and variance two perceptrons give.

    As in VE-SDN's code: three layers each, 2.76 M parameters for vectors of 512 elements.

    Parameters
    ----------
    n_inputs : int
        Width of the vector that is given.
    n_outputs : int
        Width of the vector that is told from it.
    hidden : int
        Width between the layers.
    """

    def __init__(self, n_inputs: int, n_outputs: int, hidden: int = 768) -> None:
        super().__init__()
        self.mean = _perceptron_club(n_inputs, hidden, n_outputs)
        self.log_variance = nn.Sequential(_perceptron_club(n_inputs, hidden, n_outputs), nn.Tanh())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance, of shape (b, n_outputs) each, for x (b, n_inputs)."""
        return self.mean(x), self.log_variance(x)

    def surprise(self, x: Tensor, y: Tensor) -> Tensor:
        """Negative log-likelihood per element; what these weights must minimise for the bound to hold.

        Parameters
        ----------
        x, y : Tensor, shape (b, n_inputs) and (b, n_outputs)
            They get no gradient.

        Returns
        -------
        Tensor, shape ()
        """
        found = gaussian_log_likelihood(y.detach(), *self(x.detach()))
        return -found.mean() / y.shape[1]

    def bound(self, x: Tensor, y: Tensor) -> Tensor:
        """Upper bound of the mutual information; its gradient reaches x and y, not these weights.

        Parameters
        ----------
        x, y : Tensor, shape (b, n_inputs) and (b, n_outputs)

        Returns
        -------
        Tensor, shape ()
            In nats.
        """
        fixed = {name: value.detach() for name, value in self.named_parameters()}
        return club_upper_bound(y, *functional_call(self, fixed, (x,)))


def _perceptron_club(n_inputs: int, hidden: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_inputs, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, n_outputs),
    )


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
                self.domains[side] = _perceptron_semantic_swap(n_outputs, hidden, domain)
            if swap:
                self.decoders[side] = _perceptron_semantic_swap(
                    domain + n_outputs, hidden, n_outputs
                )
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


def _perceptron_semantic_swap(n_inputs: int, hidden: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_inputs, hidden), nn.GELU(), nn.Linear(hidden, n_outputs))

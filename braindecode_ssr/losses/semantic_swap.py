"""Contrast plus reconstruction with swapped semantics, its domain codes kept free of semantics by CLUB."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import UsageError
from .base import (
    Regime,
    check_embeddings,
    check_number,
    check_sizes,
    check_weights,
    full_precision,
    log_gaussian,
    perceptron,
    unit,
    weighted_total,
)
from .contrast import Contrast, Duplicates, Target, squared_distance


def club_upper_bound(y: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""How much better y is predicted from its own x than from the x of other rows.

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
        Computed from the moments of y, without an array of shape (b, b, e).
    """
    precision = (-log_variance).exp()
    own = (y - mean).square()
    middle = y.mean(0)
    others = (middle - mean).square() + (y - middle).square().mean(0)
    return ((others - own) * precision).sum(1).mean() / 2


class CLUB(nn.Module):
    """Predicts a vector from another as a Gaussian with mean and variance from two perceptrons.

    As in VE-SDN's code: three layers each, 2.76 M parameters for vectors of 512 elements.

    Parameters
    ----------
    n_inputs, n_outputs, hidden : int
        Widths of the vector that is given, of the one that is predicted, and between the layers.
    """

    def __init__(self, n_inputs: int, n_outputs: int, hidden: int = 768) -> None:
        super().__init__()
        widths = (n_inputs, hidden, hidden, n_outputs)
        self.mean = perceptron(*widths)
        self.log_variance = nn.Sequential(perceptron(*widths), nn.Tanh())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance, of shape (b, n_outputs) each, for x (b, n_inputs)."""
        return self.mean(x), self.log_variance(x)

    def negative_log_likelihood(self, x: Tensor, y: Tensor) -> Tensor:
        """In nats; these weights have to minimize it for the bound to hold.

        Inputs, (b, n_inputs) and (b, n_outputs), get no gradient.
        """
        return -log_gaussian(y.detach(), *self(x.detach())).mean()

    def bound(self, x: Tensor, y: Tensor) -> Tensor:
        """Upper bound of the mutual information in nats; its gradient reaches x and y, not these weights."""
        fixed = {name: value.detach() for name, value in self.named_parameters()}
        return club_upper_bound(y, *functional_call(self, fixed, (x,)))


class SemanticSwap(Contrast):
    r"""Contrast, domain codes without semantics, and reconstruction with swapped semantics.

    :math:`L = w_1 \mathrm{NCE}(b, o) + w_2 (I(d_b; b) + I(d_o; o)) + w_3 (|\hat h - h|^2 +
    |\hat f - f|^2)`. Domain codes :math:`d_b, d_o` are made of what the encoders make, h of
    a trial and f of its image, and :math:`\hat h = D_b(d_b, o)`, :math:`\hat f = D_o(d_o, b)` rebuild
    both with the embedding of the other side. Embeddings, domain codes and targets have unit length, and
    targets are detached. :math:`I` is the CLUB bound, over all pairs of a batch. Its networks are trained
    by an optimizer of their own, several steps on each batch before the bound is taken.

    Source: VE-SDN (Chen et al., arXiv 2408.06788), whose semantic codes are the embeddings here, and its
    public code, which estimates the bound from one random pairing of each batch.

    Parameters
    ----------
    n_outputs, n_features, backbone_width : int
        Widths of the embeddings, of the image features and of the backbone's output.
    target, regime, scale, duplicates
        As for :class:`~braindecode_ssr.losses.contrast.Contrast`; published: ``regime="unit"``.
    contrast, information, swap : float
        Weights of the parts; a part of weight 0 is left out, with its parameters.
    domain, hidden : int
        Widths of the domain codes, and between the layers of the domain and decoder perceptrons.
    steps : int
        How often the networks of the bound are updated on each batch.
    club_lr : float
        Learning rate of AdamW for them.
    """

    def __init__(
        self,
        n_outputs: int,
        n_features: int,
        backbone_width: int,
        target: Target = "original",
        regime: Regime = "unit",
        scale: float | None = None,
        contrast: float = 1.0,
        information: float = 1.0,
        swap: float = 1.0,
        domain: int = 512,
        hidden: int = 512,
        duplicates: Duplicates = "negatives",
        steps: int = 10,
        club_lr: float = 1e-4,
    ) -> None:
        super().__init__(target, regime, scale, duplicates)
        check_sizes(n_outputs=n_outputs, domain=domain, hidden=hidden, steps=steps)
        check_number("club_lr", club_lr, "(0, inf)")
        self.weights = check_weights(
            {f"brain_{target}": contrast, "information": information, "swap": swap}
        )
        self.domains, self.decoders, self.clubs = (nn.ModuleDict() for _ in range(3))
        for side, width in (("brain", backbone_width), ("image", n_features)):
            if information or swap:
                widths = (width, hidden, domain)
                self.domains[side] = perceptron(*widths, activation=nn.GELU)
            if swap:
                widths = (domain + n_outputs, hidden, width)
                self.decoders[side] = perceptron(*widths, activation=nn.GELU)
            if information:
                self.clubs[side] = CLUB(domain, n_outputs)
        for layer in (*self.domains.modules(), *self.decoders.modules()):
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, 0.0, 0.02)
        self.steps = steps
        if information:
            self.optimizer = torch.optim.AdamW(
                self.clubs.parameters(), club_lr, betas=(0.5, 0.999), fused=True
            )

    def forward(
        self,
        brain: Tensor,
        original: Tensor,
        view: Tensor,
        image: Tensor | None = None,
        features: Tensor | None = None,
        hidden: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """``loss``, then ``brain_original`` (or ``brain_view``), ``swap`` and ``information``.

        As for :class:`~braindecode_ssr.losses.base.ContrastiveLoss`; ``features``, (b, n_features), and
        ``hidden``, (b, backbone_width), are required unless only the contrast has a weight.
        """
        check_embeddings(brain, original, view)
        images, parts = self.images(original, view), dict[str, Any]()
        if self.weights[f"brain_{self.target}"]:
            parts[f"brain_{self.target}"] = self.contrast(brain, images, image)
        if not self.domains:
            return weighted_total(parts, self.weights)
        if features is None or hidden is None:
            raise UsageError(
                "the loss semantic-swap reconstructs the outputs of both encoders, but got embeddings only",
                "train with EEGRetriever, or pass features= and hidden=",
            )
        made = {"brain": full_precision(hidden), "image": full_precision(features)}
        semantic = {"brain": unit(full_precision(brain)), "image": unit(full_precision(images))}
        domain = {side: unit(net(made[side])) for side, net in self.domains.items()}
        for side, decoder in self.decoders.items():
            other = semantic["image" if side == "brain" else "brain"]
            rebuilt = decoder(torch.cat([domain[side], other], 1))
            distance = squared_distance(rebuilt, unit(made[side].detach()))
            parts["swap"] = parts.get("swap", 0.0) + distance
        pairs = {side: (domain[side], semantic[side]) for side in self.clubs}
        if self.training and pairs:
            self._train_clubs(pairs)
        for side, pair in pairs.items():
            parts["information"] = parts.get("information", 0.0) + self._club(side).bound(*pair)
        return weighted_total(parts, self.weights)

    def _club(self, side: str) -> CLUB:
        return cast(CLUB, self.clubs[side])

    @torch.enable_grad()
    def _train_clubs(self, pairs: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Take some steps with the bound's networks, and leave them no gradient for other optimizers."""
        for _ in range(self.steps):
            for side, pair in pairs.items():
                self._club(side).negative_log_likelihood(*pair).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()

    def get_extra_state(self) -> dict[str, Any]:
        """The state of the bound's optimizer, so that a resumed run equals an uninterrupted one."""
        return self.optimizer.state_dict() if self.clubs else {}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        if self.clubs:
            self.optimizer.load_state_dict(state)

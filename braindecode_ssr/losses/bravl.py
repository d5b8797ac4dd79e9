"""Distributions of a latent vector: products and mixtures of Gaussian experts, and a bound from samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import UsageError
from .base import (
    as_number,
    check_choice,
    check_embeddings,
    check_sizes,
    check_weights,
    full_precision,
    weighted_total,
)

LN_2PI = math.log(2 * math.pi)
NOTHING = 40.0  # nats by which a weight is lost in a sum; its gradient, denormal, would slow a CPU 50 times
Likelihood = Literal["laplace", "normal"]
LIKELIHOODS = ("laplace", "normal")


def product_of_experts(mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor]:
    r"""The normalised product of Gaussian densities, one for each row of the first axis.

    .. math:: \sigma^{-2} = \sum_k \sigma_k^{-2}, \qquad \mu = \sigma^2 \sum_k \mu_k / \sigma_k^2

    Parameters
    ----------
    mean, log_variance : Tensor, shape (k, ..., e)

    Returns
    -------
    mean, log_variance : Tensor, shape (..., e)
    """
    share = torch.softmax(-log_variance, 0)
    return (share * mean).sum(0), -torch.logsumexp(-log_variance, 0)


def subset_products(mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor]:
    """The product of the experts of every subset, the smallest first; their mixture is q(z | x).

    The product of all has the standard normal distribution as one more expert.

    Source: Sutter, Daunhawer and Vogt (ICLR 2021), Generalized Multimodal ELBO, definition 1; the further
    expert as in BraVL's code.

    Parameters
    ----------
    mean, log_variance : Tensor, shape (k, ..., e)

    Returns
    -------
    mean, log_variance : Tensor, shape (2 ** k - 1, ..., e)
    """
    *parts, everything = subsets(len(mean))
    prior = torch.zeros_like(mean[:1])
    joint = [product_of_experts(mean[part], log_variance[part]) for part in parts]
    sides = (torch.cat([side[everything], prior]) for side in (mean, log_variance))
    means, log_variances = zip(*joint, product_of_experts(*sides), strict=True)
    return torch.stack(means), torch.stack(log_variances)


def subsets(k: int) -> list[list[int]]:
    """All subsets of the numbers below k but the empty one, the smallest first."""
    return [list(part) for size in range(1, k + 1) for part in combinations(range(k), size)]


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""Kullback-Leibler divergence of a Gaussian from the standard normal one, in nats.

    .. math:: \frac{1}{2} \sum_i \big( \mu_i^2 + \sigma_i^2 - 1 - \ln \sigma_i^2 \big)

    Parameters
    ----------
    mean, log_variance : Tensor, shape (..., e)

    Returns
    -------
    Tensor, shape (...)
    """
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1) / 2


def log_likelihood(
    x: Tensor, centre: Tensor, scale: float, likelihood: Likelihood = "normal"
) -> Tensor:
    """Log-density of independent elements about a centre, all of one scale: (..., d) to (...).

    Parameters
    ----------
    x, centre : Tensor, shape (..., d)
        They broadcast.
    scale : float
        Standard deviation; of a Laplace distribution, the mean distance from the centre.
    likelihood : {"laplace", "normal"}

    Returns
    -------
    Tensor, shape (...)
    """
    far = (x - centre).abs() / scale
    if likelihood == "laplace":
        return -(far + math.log(2 * scale)).sum(-1)
    return -(far.square() / 2 + math.log(scale) + LN_2PI / 2).sum(-1)


def log_gaussian(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log-density of a Gaussian with a variance for each element, shape (..., e) to (...)."""
    squared = (z - mean).square() * (-log_variance).exp()
    return -(squared + log_variance + LN_2PI).sum(-1) / 2


def draw(mean: Tensor, log_variance: Tensor) -> Tensor:
    """One vector of each Gaussian, through which gradients flow to mean and variance."""
    return mean + (log_variance / 2).exp() * torch.randn_like(mean)


def cubo(log_weight: Tensor) -> Tensor:
    r"""An upper bound of the log-evidence, from samples: :math:`\frac{1}{2} \ln \frac{1}{K} \sum_k w_k^2`.

    It is a bound in the limit of many samples; of few, it comes out too low.

    Source: Dieng et al. (NeurIPS 2017), Variational Inference via chi Upper Bound Minimization, eq. 4, n = 2.

    Parameters
    ----------
    log_weight : Tensor, shape (k, ...)
        :math:`\ln w_k = \ln p(x, z_k) - \ln q(z_k | x)` of samples from q.

    Returns
    -------
    Tensor, shape (...)
    """
    doubled = 2 * log_weight
    least = doubled.detach().amax(0) - NOTHING
    doubled = doubled.masked_fill(doubled < least, -math.inf)
    return (torch.logsumexp(doubled, 0) - math.log(len(log_weight))) / 2


Experts = tuple[Tensor, Tensor]
TELLER, SCALE_OF_Q = 512, 0.75  # width of the hidden layer of Q, and its standard deviation


class BraVLLoss(nn.Module):
    r"""A multimodal variational autoencoder whose latent means are the embeddings.

    :math:`L = D + \beta K + \lambda_1 \mathrm{intra} + \lambda_2 \mathrm{inter}`. The experts are the
    posterior that the brain gives and those of each vector of an image's features; :math:`q_s` is the product
    of those in a subset s, :math:`z_s` a draw of it. Means over subsets and rows, in nats:

    - :math:`D = -\sum_m \ln p(x_m | z_s)`: trial and features are rebuilt, whoever was seen; p has one scale
      about what a decoder makes of z.
    - :math:`K = \mathrm{KL}(q_s \| \mathcal{N}(0, 1))`.
    - intra :math:`= -\sum_m \ln \mathcal{N}(z_s; Q_m(\hat x_m), 0.75^2)`: z can be told from what is rebuilt.
    - inter :math:`= D + \beta K + \mathrm{CUBO}`: what belongs together is likelier than what does not. CUBO
      bounds the evidence of rows some of whose modalities, but not all, come from other rows, mean over all
      ways to choose which; a row takes one subset's :math:`q_s` there.

    Targets are the flattened trial and the raw features, less their mean over the batch, and brought to a
    root mean square of 1; BraVL multiplies its own by fixed numbers. A brain encoder's log-variance is a
    linear map, held here, of what enters its projector; an image head that has ``posteriors`` gives its own,
    another counts as of variance 1.

    Source: BraVL (Du et al., TPAMI 2023, arXiv 2210.06756) and its public code. There, a row takes one subset
    in D too, Q learns in a step of its own before the rest does, and inter passes through a logarithm with a
    constant so large that it is linear.

    Parameters
    ----------
    n_outputs : int
        Width of the embeddings.
    n_chans, n_times : int
        Shape of a trial.
    n_features : int
        Width of the image features.
    feature_widths : sequence of int, optional
        Of the vectors side by side in them; None: one vector.
    backbone_width : int, optional
        Width of what enters the brain projector; None: the brain's variance is 1.
    likelihood : {"laplace", "normal"}
        Of what is rebuilt.
    scale : float
        Of the likelihood.
    warmup : float
        Epochs over which beta rises from 0 to 1 in a straight line; 0: it is 1.
    hidden : int
        Width of the two layers of a decoder.
    intra, inter : float
        Weights; a part of weight 0 is left out, with its parameters.
    samples : int
        Draws for each CUBO.
    rows : int
        CUBO is estimated on the first so many rows of a batch.
    """

    def __init__(
        self,
        n_outputs: int,
        n_chans: int,
        n_times: int,
        n_features: int,
        feature_widths: Sequence[int] | None = None,
        backbone_width: int | None = None,
        likelihood: Likelihood = "laplace",
        scale: float = 0.75,
        warmup: float = 100.0,
        hidden: int = 256,
        intra: float = 1e-3,
        inter: float = 1e-3,
        samples: int = 30,
        rows: int = 16,
    ) -> None:
        super().__init__()
        self.widths = (n_chans * n_times, *(feature_widths or (n_features,)))
        check_sizes(n_outputs=n_outputs, hidden=hidden, samples=samples, rows=rows)
        check_sizes(n_chans=n_chans, n_times=n_times, n_features=n_features)
        self.weights = check_weights({"rebuild": 1.0, "intra": intra, "inter": inter})
        self.likelihood = check_choice("likelihood", likelihood, LIKELIHOODS)
        self.scale, self.warmup = _checked("scale", scale, 1e-3), _checked("warmup", warmup)
        self.samples, self.rows = samples, rows
        self.decoders = nn.ModuleList(_decoder(n_outputs, hidden, w) for w in self.widths)
        self.tellers = nn.ModuleList(_teller(w, n_outputs) for w in self.widths if intra)
        self.brain_log_variance = nn.Linear(backbone_width, n_outputs) if backbone_width else None

    def forward(
        self,
        brain: Tensor,
        original: Tensor,
        view: Tensor,
        trial: Tensor | None = None,
        features: Tensor | None = None,
        hidden: Tensor | None = None,
        posteriors: Tensor | None = None,
        epoch: int | None = None,
    ) -> dict[str, Tensor]:
        """The weighted sum as ``"loss"``, then its parts, before beta and the weights.

        Parameters
        ----------
        brain, original, view : Tensor, shape (b, e)
            Means of the latent vector; views are not used.
        trial : Tensor, shape (b, c, t)
        features : Tensor, shape (b, d)
            Raw features of the originals.
        hidden : Tensor, shape (b, backbone_width), optional
            What enters the brain projector; needed where its width was given.
        posteriors : Tensor, shape (b, m, 2, e), optional
            Mean and log-variance from each vector in the features; None: ``original``, of variance 1.
        epoch : int, optional
            Counted from 0; None: after the warm-up.

        Returns
        -------
        dict of str to Tensor
            ``loss``, ``rebuild_brain``, ``rebuild_image``, ``divergence``, ``intra``, ``inter``.
        """
        check_embeddings(brain, original, view)
        targets = self._targets(trial, features)
        experts = self._experts(brain, original, hidden, posteriors)
        joint = subset_products(*experts)
        z = draw(*joint)
        rebuilt = [decoder(z) for decoder in self.decoders]
        surprise = [-found.mean() for found in self._log_likelihoods(targets, rebuilt)]
        parts = {"rebuild_brain": surprise[0], "rebuild_image": sum(surprise[1:])}
        parts["divergence"] = divergence(*joint).mean()
        always = {"rebuild_brain": 1.0, "rebuild_image": 1.0, "divergence": self.beta(epoch)}
        if self.tellers:
            parts["intra"] = self._intra(z, rebuilt)
        if self.weights["inter"]:
            together = weighted_total(parts, {**self.weights, **always, "intra": 0.0})["loss"]
            parts["inter"] = together + self._apart(targets, experts)
        return weighted_total(parts, {**self.weights, **always})

    def beta(self, epoch: int | None) -> float:
        """Weight of the divergence in an epoch, counted from 0."""
        return 1.0 if epoch is None or not self.warmup else min(1.0, epoch / self.warmup)

    def _targets(self, trial: Tensor | None, features: Tensor | None) -> list[Tensor]:
        """What is to be rebuilt, of shape (b, d) each."""
        if trial is None or features is None:
            raise UsageError(
                "trials and raw image features, which the loss bravl rebuilds",
                "embeddings only",
                "train with EEGRetriever, or give trial= and features=",
            )
        vectors = features.split(self.widths[1:], -1)
        return [standard(full_precision(x)) for x in (trial.flatten(1), *vectors)]

    def _experts(
        self, brain: Tensor, original: Tensor, hidden: Tensor | None, posteriors: Tensor | None
    ) -> Experts:
        """Means and log-variances of the brain and of the images' vectors, (1 + m, b, e) each."""
        spread = torch.zeros_like(brain)
        if self.brain_log_variance is not None:
            if hidden is None:
                raise UsageError(
                    "what enters the brain projector, of which the brain's variance is made",
                    "none",
                    "give hidden=, or leave backbone_width out",
                )
            spread = self.brain_log_variance(full_precision(hidden))
        if posteriors is None:
            posteriors = torch.stack([original, torch.zeros_like(original)], 1)[:, None]
        images = full_precision(posteriors).permute(2, 1, 0, 3)
        both = zip((full_precision(brain), spread), images, strict=True)
        mean, log_variance = (torch.cat([own[None], others]) for own, others in both)
        return mean, log_variance

    def _log_likelihoods(self, targets: list[Tensor], rebuilt: list[Tensor]) -> list[Tensor]:
        """Of each thing that is rebuilt, shape (..., b)."""
        pairs = zip(targets, rebuilt, strict=True)
        return [log_likelihood(*pair, self.scale, self.likelihood) for pair in pairs]

    def _intra(self, z: Tensor, rebuilt: list[Tensor]) -> Tensor:
        """How little z is told by what was rebuilt of it."""
        told = zip(self.tellers, rebuilt, strict=True)
        return -sum(log_likelihood(z, teller(x), SCALE_OF_Q).mean() for teller, x in told)

    def _apart(self, targets: list[Tensor], experts: Experts) -> Tensor:
        """Upper bound of the evidence of rows with some modalities, but not all, of other rows."""
        n_rows, k = len(targets[0]), len(experts[0])
        first = torch.arange(n_rows, device=targets[0].device)[: self.rows]
        bounds = []
        for exchanged in subsets(k)[:-1]:
            others = [(first + _shift(n_rows)) % n_rows for _ in exchanged]
            rows = [others.pop(0) if m in exchanged else first for m in range(k)]
            bounds.append(cubo(self._log_weight(targets, experts, rows)).mean())
        return torch.stack(bounds).mean()

    def _log_weight(self, targets: list[Tensor], experts: Experts, rows: list[Tensor]) -> Tensor:
        """Log of p(x, z) / q(z | x) of draws of z, (samples, b), each modality taken from rows of its own."""
        own = [[part[index] for part, index in zip(side, rows, strict=True)] for side in experts]
        joint = subset_products(*map(torch.stack, own))
        row = torch.arange(len(rows[0]), device=rows[0].device)
        one = tuple(side[row % len(side), row].expand(self.samples, -1, -1) for side in joint)
        z = draw(*one)
        of = [*rows, *rows[-1:] * (len(targets) - len(rows))]  # one expert of all vectors moves all
        seen = [target[index] for target, index in zip(targets, of, strict=True)]
        found = self._log_likelihoods(seen, [decoder(z) for decoder in self.decoders])
        return sum(found) + log_likelihood(z, torch.zeros_like(z), 1.0) - log_gaussian(z, *one)


def standard(x: Tensor) -> Tensor:
    """Each element about its mean over the batch, all together of root mean square 1: (b, d) to (b, d)."""
    centred = x - x.mean(0)
    return centred / centred.square().mean().sqrt().clamp_min(1e-12)


def _shift(n_rows: int) -> int:
    """How far rows are moved on, so that none stays where it was."""
    return int(torch.randint(1, n_rows, ()))


def _decoder(n_inputs: int, hidden: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_inputs, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, n_outputs),
    )


def _teller(n_inputs: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_inputs, TELLER), nn.ReLU(), nn.Linear(TELLER, n_outputs))


def _checked(name: str, value: float, least: float = 0.0) -> float:
    """A finite number that is not below the least."""
    if not least <= as_number(value) < float("inf"):
        raise UsageError(
            f"a {name} of {least:g} or more",
            repr(value),
            f"mend it with --set loss.params.{name}=<number>",
        )
    return value

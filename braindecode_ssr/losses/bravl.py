"""The loss of BraVL: a multimodal variational autoencoder of trials and image features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..registry import check_choice
from .base import (
    Loss,
    check_embeddings,
    check_number,
    check_sizes,
    check_weights,
    full_precision,
    log_gaussian,
    perceptron,
    weighted_total,
)

NEGLIGIBLE = 40.0
"""Nats below the largest weight; denormal gradients would make a CPU 50 times slower."""
Q_WIDTH, Q_SCALE = 512, 0.75  # of Q: width of the hidden layer, standard deviation
Likelihood = Literal["laplace", "normal"]
Gaussians = tuple[Tensor, Tensor]  # mean and log-variance


def product_of_experts(mean: Tensor, log_variance: Tensor) -> Gaussians:
    r"""The normalized product of Gaussian densities, one for each row of the first axis.

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


def subset_products(mean: Tensor, log_variance: Tensor) -> Gaussians:
    """The product of the experts of every subset, the smallest first; their mixture is q(z | x).

    The product of all experts includes the standard normal distribution as one more expert.

    Source: Sutter, Daunhawer and Vogt (ICLR 2021), Generalized Multimodal ELBO, definition 1; the additional
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
    joint.append(
        product_of_experts(*(torch.cat([x[everything], prior]) for x in (mean, log_variance)))
    )
    means, log_variances = zip(*joint, strict=True)
    return torch.stack(means), torch.stack(log_variances)


def subsets(k: int) -> list[list[int]]:
    """All non-empty subsets of the numbers below k, the smallest first."""
    return [list(part) for size in range(1, k + 1) for part in combinations(range(k), size)]


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""Kullback-Leibler divergence of Gaussians from the standard normal one in nats, (..., e) to (...).

    .. math:: \frac{1}{2} \sum_i \big( \mu_i^2 + \sigma_i^2 - 1 - \ln \sigma_i^2 \big)
    """
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1) / 2


def log_likelihood(
    x: Tensor, center: Tensor, scale: float, likelihood: Likelihood = "normal"
) -> Tensor:
    """Log-density of independent elements of one scale (sd; Laplace: mean distance), (..., d) to (...)."""
    far = (x - center).abs() / scale
    if likelihood == "laplace":
        return -(far + math.log(2 * scale)).sum(-1)
    return -(far.square() / 2 + math.log(scale) + math.log(2 * math.pi) / 2).sum(-1)


def draw(mean: Tensor, log_variance: Tensor) -> Tensor:
    """One sample of each Gaussian, with gradients for mean and variance."""
    return mean + (log_variance / 2).exp() * torch.randn_like(mean)


def cubo(log_weight: Tensor) -> Tensor:
    r"""An upper bound of the log-evidence, from samples: :math:`\frac{1}{2} \ln \frac{1}{K} \sum_k w_k^2`.

    It is a bound in the limit of many samples; with few, the estimate is too low.

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
    least = doubled.detach().amax(0) - NEGLIGIBLE
    doubled = doubled.masked_fill(doubled < least, -math.inf)
    return (torch.logsumexp(doubled, 0) - math.log(len(log_weight))) / 2


def standardized(x: Tensor) -> Tensor:
    """Centered over the batch, then scaled to a root mean square of 1 over all elements; (b, d)."""
    centered = x - x.mean(0)
    return centered / centered.square().mean().sqrt().clamp_min(1e-12)


class BraVLLoss(Loss):
    r"""A multimodal variational autoencoder whose latent means are the embeddings.

    :math:`L = D + \beta K + \lambda_1 \mathrm{intra} + \lambda_2 \mathrm{inter}`. The experts are the
    posterior from the brain and those from each feature vector of an image; :math:`q_s` is the product
    of those in a subset s, :math:`z_s` a sample of it. Means over subsets and rows, in nats:

    - :math:`D = -\sum_m \ln p(x_m | z_s)`: trial and features are reconstructed from any subset; p has one
      scale around the output of a decoder.
    - :math:`K = \mathrm{KL}(q_s \| \mathcal{N}(0, 1))`.
    - intra :math:`= -\sum_m \ln \mathcal{N}(z_s; Q_m(\hat x_m), 0.75^2)`: z can be predicted from the
      reconstruction.
    - inter :math:`= D + \beta K + \mathrm{CUBO}`: matching modalities are more likely than others. CUBO
      bounds the evidence of rows in which some modalities, but not all, come from other rows, mean over all
      ways to choose them; there each row uses the :math:`q_s` of one subset.

    Targets are the flattened trial and the raw features, centered over the batch and scaled to a root mean
    square of 1; BraVL multiplies its own by fixed numbers. The log-variance of the brain is a linear map,
    held here, of ``hidden``; an image head with ``posteriors`` gives its own, any other counts as of
    variance 1.

    Source: BraVL (Du et al., TPAMI 2023, arXiv 2210.06756) and its public code. There, a row uses one subset
    in D too, Q is trained in a step of its own before the rest, and inter passes through a logarithm with a
    constant so large that it is linear.

    Parameters
    ----------
    n_outputs, n_chans, n_times, n_features : int
        Width of the embeddings, shape of a trial, width of the image features.
    feature_widths : sequence of int, optional
        Widths of the vectors that the features consist of; None: one vector.
    backbone_width : int, optional
        Width of ``hidden``; None: the brain's variance is 1.
    likelihood : {"laplace", "normal"}
        Of the reconstructions.
    scale : float
        Of the likelihood.
    warmup : float
        Epochs over which beta rises linearly from 0 to 1; 0: it is 1.
    hidden : int
        Width of the two hidden layers of a decoder.
    intra, inter : float
        Weights; a part of weight 0 is left out, with its parameters.
    samples, rows : int
        Each CUBO is estimated with so many samples, on the first ``rows`` rows of a batch.
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
        check_sizes(n_outputs=n_outputs, hidden=hidden, samples=samples, rows=rows)
        check_sizes(n_chans=n_chans, n_times=n_times, n_features=n_features)
        self.widths = (n_chans * n_times, *(feature_widths or (n_features,)))
        self.weights = check_weights({"rebuild": 1.0, "intra": intra, "inter": inter})
        self.likelihood = check_choice("likelihood", likelihood, Likelihood)
        self.scale = check_number("scale", scale, "[1e-3, inf)")
        self.warmup = check_number("warmup", warmup, "[0, inf)")
        self.samples, self.rows = samples, rows
        self.decoders = nn.ModuleList(
            perceptron(n_outputs, hidden, hidden, width) for width in self.widths
        )
        self.predictors = nn.ModuleList(
            perceptron(width, Q_WIDTH, n_outputs) for width in self.widths if intra
        )
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
        """``loss``, then ``rebuild_brain``, ``rebuild_image``, ``divergence``, ``intra`` and ``inter``.

        Arguments as for :class:`~braindecode_ssr.losses.base.Loss`. ``trial`` and ``features`` are required,
        and ``hidden`` if ``backbone_width`` was given; without ``posteriors``, images are ``original`` with
        variance 1; without ``epoch``, the warm-up is over; views are not used.
        """
        check_embeddings(brain, original, view)
        targets = self._targets(trial, features)
        experts = self._experts(brain, original, hidden, posteriors)
        joint = subset_products(*experts)
        z = draw(*joint)
        rebuilt = [decoder(z) for decoder in self.decoders]
        errors = [-found.mean() for found in self._log_likelihoods(targets, rebuilt)]
        parts = {"rebuild_brain": errors[0], "rebuild_image": torch.stack(errors[1:]).sum()}
        parts["divergence"] = divergence(*joint).mean()
        weights = {**self.weights, "divergence": self.beta(epoch)}
        if self.predictors:
            pairs = zip(self.predictors, rebuilt, strict=True)
            each = [log_likelihood(z, predict(x), Q_SCALE).mean() for predict, x in pairs]
            parts["intra"] = -torch.stack(each).sum()
        if self.weights["inter"]:
            together = weighted_total(parts, {**weights, "intra": 0.0})["loss"]
            parts["inter"] = together + self._mismatched(targets, experts)
        return weighted_total(parts, weights)

    def beta(self, epoch: int | None) -> float:
        """Weight of the divergence in an epoch, counted from 0."""
        return 1.0 if epoch is None or not self.warmup else min(1.0, epoch / self.warmup)

    def _targets(self, trial: Tensor | None, features: Tensor | None) -> list[Tensor]:
        if trial is None or features is None:
            raise UsageError(
                "the loss bravl reconstructs trials and raw image features, but got embeddings only",
                "train with EEGRetriever, or pass trial= and features=",
            )
        vectors = features.split(self.widths[1:], -1)
        return [standardized(full_precision(x)) for x in (trial.flatten(1), *vectors)]

    def _experts(
        self, brain: Tensor, original: Tensor, hidden: Tensor | None, posteriors: Tensor | None
    ) -> Gaussians:
        """Means and log-variances of the brain and of the feature vectors, (1 + m, b, e) each."""
        spread = torch.zeros_like(brain)
        if self.brain_log_variance is not None:
            if hidden is None:
                raise UsageError(
                    "the output of the backbone is missing, from which the brain's variance is computed",
                    "pass hidden=, or leave backbone_width out",
                )
            spread = self.brain_log_variance(full_precision(hidden))
        if posteriors is None:
            posteriors = torch.stack([original, torch.zeros_like(original)], 1)[:, None]
        means, log_variances = full_precision(posteriors).permute(2, 1, 0, 3)
        return torch.cat([full_precision(brain)[None], means]), torch.cat(
            [spread[None], log_variances]
        )

    def _log_likelihoods(self, targets: list[Tensor], rebuilt: list[Tensor]) -> list[Tensor]:
        pairs = zip(targets, rebuilt, strict=True)
        return [log_likelihood(x, found, self.scale, self.likelihood) for x, found in pairs]

    def _mismatched(self, targets: list[Tensor], experts: Gaussians) -> Tensor:
        """Upper bound of the evidence of rows with some modalities, but not all, of other rows."""
        n_rows, k = len(targets[0]), len(experts[0])
        first = torch.arange(n_rows, device=targets[0].device)[: self.rows]
        bounds = []
        for exchanged in subsets(k)[:-1]:
            shift = {m: int(torch.randint(1, n_rows, ())) for m in exchanged}
            rows = [(first + shift.get(m, 0)) % n_rows for m in range(k)]
            bounds.append(cubo(self._log_weight(targets, experts, rows)).mean())
        return torch.stack(bounds).mean()

    def _log_weight(self, targets: list[Tensor], experts: Gaussians, rows: list[Tensor]) -> Tensor:
        """Log of p(x, z) / q(z | x) of samples of z, (samples, b), each modality from rows of its own."""
        means, log_variances = (
            torch.stack([part[index] for part, index in zip(side, rows, strict=True)])
            for side in experts
        )
        joint = subset_products(means, log_variances)
        row = torch.arange(len(rows[0]), device=rows[0].device)
        mean, log_variance = (
            side[row % len(side), row].expand(self.samples, -1, -1) for side in joint
        )
        z = draw(mean, log_variance)
        of = [*rows, *rows[-1:] * (len(targets) - len(rows))]  # one expert of all vectors moves all
        seen = [target[index] for target, index in zip(targets, of, strict=True)]
        found = self._log_likelihoods(seen, [decoder(z) for decoder in self.decoders])
        evidence = torch.stack(found).sum(0) + log_likelihood(z, torch.zeros_like(z), 1.0)
        return evidence - log_gaussian(z, mean, log_variance)

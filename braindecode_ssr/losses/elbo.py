"""Distributions of a latent vector: products and mixtures of Gaussian experts, and a bound from samples."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

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

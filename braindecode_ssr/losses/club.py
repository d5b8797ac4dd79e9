"""CLUB: an upper bound of the mutual information of two vectors, from samples."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.func import functional_call


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
        self.mean = _perceptron(n_inputs, hidden, n_outputs)
        self.log_variance = nn.Sequential(_perceptron(n_inputs, hidden, n_outputs), nn.Tanh())

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


def _perceptron(n_inputs: int, hidden: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_inputs, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, n_outputs),
    )

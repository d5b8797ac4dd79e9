"""Maximum mean discrepancy first, contrast later: align the distributions, then the pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..errors import UsageError
from ..registry import check_choice
from .base import (
    Duplicates,
    Regime,
    check_embeddings,
    check_number,
    full_precision,
    unit,
    weighted_total,
)
from .contrast import Contrast, Target

SIGMAS = (0.1, 0.2, 0.5, 1.0, 2.0)
MMDOf = Literal["embeddings", "directions"]


def squared_mmd(x: Tensor, y: Tensor, sigmas: Sequence[float] = SIGMAS) -> Tensor:
    r"""Unbiased estimate of the squared maximum mean discrepancy of two samples.

    .. math:: \frac{1}{n (n - 1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{m (m - 1)} \sum_{i \ne j} k(y_i, y_j)
              - \frac{2}{n m} \sum_{i, j} k(x_i, y_j)

    with the mean of Gaussian kernels, :math:`k(a, b) = \frac{1}{S} \sum_s \exp(-|a - b|^2 / 2 \sigma_s^2)`.

    Source: Gretton et al. (JMLR 2012), eq. 3; kernels of SAMGA (arXiv 2604.17782).

    Parameters
    ----------
    x, y : Tensor, shape (n, e) and (m, e)
        Two rows or more each.
    sigmas : sequence of float
        Widths of the kernels.

    Returns
    -------
    Tensor, shape ()
        Below 0 if the samples are more similar than two samples of one distribution are on average.
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
        squares = squares.clamp_min(0)
        each = [torch.exp(squares / (-2 * sigma**2)) for sigma in sigmas]
        return sum(each[1:], each[0]) / len(sigmas)

    def within(z: Tensor) -> Tensor:
        own, n = kernel(z, z), len(z)
        return (own.sum() - own.diagonal().sum()) / (n * (n - 1))

    return within(x) + within(y) - 2 * kernel(x, y).mean()


def share_of_mmd(epoch: int, start: float, end: float, stage: int) -> float:
    """Weight of the discrepancy: linear from start to end over ``stage`` epochs, then 0."""
    if epoch >= stage:
        return 0.0
    return start + (end - start) * epoch / max(stage - 1, 1)


class MMDContrast(Contrast):
    r"""Discrepancy between the distributions of brain and image embeddings, gradually replaced by contrast.

    :math:`L = \lambda \, \max(0, \mathrm{MMD}^2(b, o)) + (1 - \lambda) \, \mathrm{NCE}(b, o)`, with
    :math:`\lambda` from ``start`` to ``end`` over the first ``stage`` epochs and 0 thereafter.

    Source: SAMGA (arXiv 2604.17782), which compares embeddings as they are. Where their lengths are far above
    the widths of the kernels, these have no gradient; ``mmd_of="directions"`` compares unit vectors.

    Parameters
    ----------
    target, regime, scale, duplicates
        As for :class:`~braindecode_ssr.losses.contrast.Contrast`; published: ``regime="free"``.
    start, end : float
        Weight of the discrepancy in the first and in the last epoch of the first stage.
    stage : int
        Epochs of the first stage.
    sigmas : sequence of float
        Widths of the kernels.
    mmd_of : {"embeddings", "directions"}
        What the kernels compare: the embeddings, or these scaled to unit length.
    """

    def __init__(
        self,
        target: Target = "original",
        regime: Regime = "free",
        scale: float | None = None,
        start: float = 0.9,
        end: float = 0.5,
        stage: int = 20,
        sigmas: Sequence[float] = SIGMAS,
        mmd_of: MMDOf = "embeddings",
        duplicates: Duplicates = "negatives",
    ) -> None:
        super().__init__(target, regime, scale, duplicates)
        self.mmd_of = check_choice("mmd_of", mmd_of, MMDOf)
        self.start = check_number("start", start, "[0, 1]")
        self.end = check_number("end", end, "[0, 1]")
        self.sigmas = tuple(check_number("sigmas", sigma, "(0, inf)") for sigma in sigmas)
        if not (isinstance(stage, int) and stage >= 0 and self.sigmas):
            raise UsageError(
                "stage has to be a whole number of 0 or more, and sigmas one width or more, not "
                f"{stage!r} and {sigmas!r}",
                f"20 and {list(SIGMAS)} are the published ones",
            )
        self.stage = stage

    def forward(
        self,
        brain: Tensor,
        original: Tensor,
        view: Tensor,
        image: Tensor | None = None,
        epoch: int = 0,
    ) -> dict[str, Tensor]:
        """The weighted sum as ``"loss"``, then ``brain_original`` (or ``brain_view``) and ``mmd``.

        ``epoch`` is the number of finished epochs. A discrepancy without weight has no gradient.
        """
        check_embeddings(brain, original, view)
        share = share_of_mmd(epoch, self.start, self.end, self.stage)
        parts = self.parts(brain, original, view, image)
        x, y = full_precision(brain), full_precision(self.images(original, view))
        with torch.set_grad_enabled(share > 0 and torch.is_grad_enabled()):
            if self.mmd_of == "directions":
                x, y = unit(x), unit(y)
            parts["mmd"] = squared_mmd(x, y, self.sigmas).clamp_min(0)
        return weighted_total(parts, dict(zip(parts, (1 - share, share), strict=True)))

"""Two clouds of embeddings first laid over each other, then told apart pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import UsageError
from .base import (
    Duplicates,
    Regime,
    Similarity,
    as_number,
    check_choice,
    check_duplicates,
    check_embeddings,
    full_precision,
    unit,
    weighted_total,
)
from .contrast import Contrast, Target, pair_contrast

SIGMAS = (0.1, 0.2, 0.5, 1.0, 2.0)
MMDOf = Literal["embeddings", "directions"]


def squared_mmd(x: Tensor, y: Tensor, sigmas: Sequence[float] = SIGMAS) -> Tensor:
    r"""How different two samples are distributed: unbiased estimate of the squared maximum mean discrepancy.

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
        Below 0 where the samples are more alike than two samples of one distribution are on average.
    """
    within = (_off_diagonal_mean(_kernel(z, z, sigmas)) for z in (x, y))
    return sum(within) - 2 * _kernel(x, y, sigmas).mean()


def share_of_mmd(epoch: int, start: float, end: float, stage: int) -> float:
    """Weight of the discrepancy in an epoch: in a straight line from start to end, then 0.

    Parameters
    ----------
    epoch : int
        Epochs already done.
    start, end : float
        In the first and in the last epoch of the first stage.
    stage : int
        Epochs of the first stage.

    Returns
    -------
    float
    """
    if epoch >= stage:
        return 0.0
    return start + (end - start) * epoch / max(stage - 1, 1)


class MMDContrast(nn.Module):
    r"""Discrepancy of brain and image embeddings as clouds, handing over to their contrast as pairs.

    :math:`L = \lambda \, \max(0, \mathrm{MMD}^2(b, o)) + (1 - \lambda) \, \mathrm{NCE}(b, o)`, with
    :math:`\lambda` from ``start`` to ``end`` over the first ``stage`` epochs and 0 thereafter. Training tells
    the loss the epoch; told nothing, it is in its first.

    Source: SAMGA (arXiv 2604.17782). Its code takes the discrepancy of embeddings as they come. Where their
    lengths are far above the widths of the kernels, those see nothing and have no gradient; ``mmd_of =
    "directions"`` compares vectors of unit length.

    Parameters
    ----------
    target : {"original", "view"}
        Which image embeddings.
    regime, scale
        As for :class:`~braindecode_ssr.losses.contrast.Contrast`; published: ``"free"``.
    start, end : float
        Weight of the discrepancy in the first and in the last epoch of the first stage.
    stage : int
        Epochs of the first stage.
    sigmas : sequence of float
        Widths of the kernels.
    mmd_of : {"embeddings", "directions"}
        What the kernels see: the embeddings, or those brought to unit length.
    duplicates : {"negatives", "ignored", "positives"}
        What rows of the same image are to each other in the contrast.
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
        super().__init__()
        self.target = check_choice("target", target, Contrast.targets)
        self.mmd_of = check_choice("mmd_of", mmd_of, ("embeddings", "directions"))
        self.duplicates = check_duplicates(duplicates)
        _check(start, end, stage, sigmas)
        self.start, self.end, self.stage, self.sigmas = start, end, stage, tuple(sigmas)
        self.similarity = Similarity(regime, scale)

    def forward(
        self,
        brain: Tensor,
        original: Tensor,
        view: Tensor,
        image: Tensor | None = None,
        epoch: int = 0,
    ) -> dict[str, Tensor]:
        """The weighted sum as ``"loss"``, then ``brain_original`` (or ``brain_view``) and ``mmd``.

        Parameters
        ----------
        brain, original, view : Tensor, shape (b, e)
        image : Tensor of int, shape (b,), optional
            Index of the image of each row; needed unless duplicates are negatives.
        epoch : int
            Epochs already done.

        Returns
        -------
        dict of str to Tensor
            Once it has no weight, the discrepancy is told but has no gradient.
        """
        check_embeddings(brain, original, view)
        images = original if self.target == "original" else view
        contrast = pair_contrast(*self.similarity(brain, images), self.duplicates, image)
        share = share_of_mmd(epoch, self.start, self.end, self.stage)
        with torch.set_grad_enabled(share > 0 and torch.is_grad_enabled()):
            parts = {f"brain_{self.target}": contrast, "mmd": self._discrepancy(brain, images)}
        return weighted_total(parts, dict(zip(parts, (1 - share, share), strict=True)))

    def _discrepancy(self, brain: Tensor, images: Tensor) -> Tensor:
        x, y = full_precision(brain), full_precision(images)
        if self.mmd_of == "directions":
            x, y = unit(x), unit(y)
        return squared_mmd(x, y, self.sigmas).clamp_min(0)


def _kernel(x: Tensor, y: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Mean of Gaussian kernels of all pairs of rows, shape (n, m)."""
    squares = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    squares = squares.clamp_min(0)
    return sum(torch.exp(squares / (-2 * sigma**2)) for sigma in sigmas) / len(sigmas)


def _off_diagonal_mean(kernel: Tensor) -> Tensor:
    n = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (n * (n - 1))


def _check(start: float, end: float, stage: int, sigmas: Sequence[float]) -> None:
    """Shares in 0..1, a whole number of epochs, widths above 0; raise UsageError if not."""
    shares = all(0 <= as_number(share) <= 1 for share in (start, end))
    whole = isinstance(stage, int) and stage >= 0
    wide = len(sigmas) > 0 and all(0 < as_number(s) < float("inf") for s in sigmas)
    if not (shares and whole and wide):
        raise UsageError(
            "start and end of 0 to 1, a whole stage of 0 epochs or more, and sigmas above 0",
            f"start {start!r}, end {end!r}, stage {stage!r}, sigmas {sigmas!r}",
            "0.9, 0.5, 20 and [0.1, 0.2, 0.5, 1.0, 2.0] are the published ones",
        )

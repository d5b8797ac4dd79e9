"""Rows of a batch that show the same image: no negatives of each other."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..errors import UsageError
from .parts import check_choice

Duplicates = Literal["negatives", "ignored", "positives"]
DUPLICATES = ("negatives", "ignored", "positives")


def check_duplicates(duplicates: Duplicates) -> Duplicates:
    """The choice, if it is one of ``DUPLICATES``; else a UsageError."""
    return check_choice("duplicates", duplicates, DUPLICATES)


def same_image(image: Tensor | None, rows: int) -> Tensor:
    """Which rows show the same image.

    Parameters
    ----------
    image : Tensor of int, shape (b,)
        Index of the image of each row.
    rows : int
        The size ``b`` of the batch.

    Returns
    -------
    Tensor of bool, shape (b, b)

    Raises
    ------
    UsageError
        If the index is not there, or not one number a row.
    """
    if image is None or tuple(image.shape) != (rows,):
        raise UsageError(
            f"the image index of each of the {rows} rows, as image=",
            "none" if image is None else f"an index of shape {tuple(image.shape)}",
            "train on a TrainingSet, or choose duplicates='negatives'",
        )
    return image[:, None] == image[None, :]


def duplicate_info_nce(
    x: Tensor,
    y: Tensor,
    scale: Tensor | float,
    same: Tensor,
    duplicates: Duplicates = "positives",
) -> Tensor:
    r"""Symmetric contrast in which a row may have several partners.

    With :math:`S = \mathrm{scale} \cdot x y^\top` and :math:`P_i` the rows that show the image of
    row i (i among them), from x to y

    .. math:: \text{positives}: \; \frac{1}{b} \sum_i \Big( \log\sum_j e^{S_{ij}}
                  - \frac{1}{|P_i|} \sum_{p \in P_i} S_{ip} \Big), \qquad
              \text{ignored}: \; \frac{1}{b} \sum_i \Big( \log\!\!\sum_{j = i \,\vee\, j \notin P_i}
                  \!\! e^{S_{ij}} - S_{ii} \Big),

    and the mean of this and of the same from y to x. Without duplicates both are
    :func:`~braindecode_ssr.losses.contrast.symmetric_info_nce`.

    Source: ``"positives"`` is L_out of Khosla et al. (2020), Supervised Contrastive Learning, eq. 2,
    with images as labels and both modalities as views; ``"ignored"`` takes false negatives out of the
    sum, as Huynh et al. (2022), Boosting Contrastive Self-Supervised Learning with False Negative
    Cancellation, section 3.2.

    Parameters
    ----------
    x, y : Tensor, shape (b, e)
        Normalised by the caller, or not.
    scale : Tensor or float
        Inverse temperature.
    same : Tensor of bool, shape (b, b)
        As of :func:`same_image`.
    duplicates : {"negatives", "ignored", "positives"}
        What rows of the same image are to each other.

    Returns
    -------
    Tensor, shape ()
    """
    return duplicate_cross_entropy(scale * (x @ y.T), same, duplicates)


def duplicate_cross_entropy(logits: Tensor, same: Tensor, duplicates: Duplicates) -> Tensor:
    """:func:`duplicate_info_nce` of logits (b, b)."""
    if duplicates == "ignored":
        logits = without_duplicates(logits, same)
    both = torch.logsumexp(logits, 1).mean() + torch.logsumexp(logits, 0).mean()
    if duplicates == "positives":
        pull = (logits * same).sum(1) / same.sum(1)
        back = (logits * same).sum(0) / same.sum(0)
        return (both - pull.mean() - back.mean()) / 2
    return both / 2 - logits.diagonal().mean()


def without_duplicates(logits: Tensor, same: Tensor) -> Tensor:
    """Logits (b, b) in which other rows of the same image count for nothing."""
    itself = torch.eye(len(same), dtype=torch.bool, device=same.device)
    return logits.masked_fill(same & ~itself, float("-inf"))

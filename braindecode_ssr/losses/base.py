"""What all losses share: their inputs checked, their parts summed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import TrainingError, UsageError

Choice = TypeVar("Choice", bound=str)


def check_embeddings(brain: Tensor, original: Tensor, view: Tensor, at_least: int = 2) -> None:
    """Three batches of one shape (b, e), with enough rows to tell pairs apart.

    Raises
    ------
    UsageError
        If the shapes differ or are not (b, e).
    TrainingError
        If there are fewer than ``at_least`` rows: a contrast with itself is always won.
    """
    shapes = [tuple(part.shape) for part in (brain, original, view)]
    if brain.ndim != 2 or len(set(shapes)) != 1:
        raise UsageError(
            "brain, original and view embeddings of one shape (batch, n_outputs)",
            f"{shapes[0]}, {shapes[1]} and {shapes[2]}",
            "bring all three into the shared space before the loss",
        )
    if len(brain) < at_least:
        raise TrainingError(
            f"a batch of at least {at_least} trials for a loss that compares trials",
            f"a batch of {len(brain)}",
            "give a larger batch with --batch-size",
        )


def weighted_total(parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """The parts with their weighted sum in front, as ``"loss"``; parts stay unweighted."""
    total = sum(weights[name] * part for name, part in parts.items())
    return {"loss": total, **parts}


def check_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """Weights of the parts: finite, not negative, and not all zero.

    Raises
    ------
    UsageError
        If they are not.
    """
    wrong = {k: v for k, v in weights.items() if not 0 <= as_number(v) < float("inf")}
    if wrong or not any(weights.values()):
        raise UsageError(
            "weights of a loss that are 0 or more, and one of them above 0",
            str(wrong or dict(weights)),
            "mend them with --set loss.params.<name>=<weight>",
        )
    return dict(weights)


def as_number(value: Any) -> float:
    """The value; NaN, which lies within no bounds, if it is no number."""
    return value if isinstance(value, Real) else float("nan")


def check_sizes(**sizes: Any) -> None:
    """Widths and counts: whole, and 1 or more.

    Raises
    ------
    UsageError
        If one is not; names the first such.
    """
    for name, size in sizes.items():
        if not (isinstance(size, Integral) and size >= 1):
            raise UsageError(f"a whole {name} of 1 or more", repr(size), "give another number")


def check_choice(name: str, value: Choice, known: tuple[str, ...]) -> Choice:
    """A named choice that is one of the known ones.

    Raises
    ------
    UsageError
        If it is not.
    """
    if value not in known:
        raise UsageError(
            f"{name} to be one of {', '.join(map(repr, known))}", repr(value), "choose one of them"
        )
    return value


Regime = Literal["free", "free-learned", "raw", "raw-learned", "unit", "unit-fixed"]

START = math.log(1 / 0.07)
SMALLEST, LARGEST = 1.0, 100.0
FREE_SCALE = math.log1p(math.exp(START))


@dataclass(frozen=True)
class Rule:
    """What a regime stands for.

    Parameters
    ----------
    first : {"free", "unit"}
        Whether the first side keeps its lengths; the second is always brought to unit length.
    function : callable
        From the number behind the scale to the scale.
    inverse : callable
        From a scale to that number.
    temperature : {"fixed", "learned"}
        Whether that number is a parameter.
    """

    first: Literal["free", "unit"]
    function: Callable[[Tensor], Tensor]
    inverse: Callable[[float], float]
    temperature: Literal["fixed", "learned"]


def _same(number: Any) -> Any:
    return number


def _softplus_inverse(scale: float) -> float:
    return math.log(math.expm1(scale))


REGIMES: dict[str, Rule] = {
    "free": Rule("free", F.softplus, _softplus_inverse, "fixed"),
    "free-learned": Rule("free", F.softplus, _softplus_inverse, "learned"),
    "raw": Rule("free", _same, _same, "fixed"),
    "raw-learned": Rule("free", _same, _same, "learned"),
    "unit": Rule("unit", torch.exp, math.log, "learned"),
    "unit-fixed": Rule("unit", torch.exp, math.log, "fixed"),
}


class Similarity(nn.Module):
    r"""Two batches made ready for comparison, and the scale of their dot products.

    A regime is a pair of choices that belong together. Two kinds are known to work, and they do
    not mix: with both sides of unit length, a scale as small as that of ``"free"`` makes the
    softmax almost flat.

    ==================  ==============  =======================================  ==================
    regime              first side      scale, with :math:`s` from ln(1 / 0.07)  as in
    ==================  ==============  =======================================  ==================
    ``"free"``          keeps lengths   softplus(s) = 2.727, fixed               NeuroBridge
    ``"free-learned"``  keeps lengths   softplus(s), learned                     UBP
    ``"raw"``           keeps lengths   s = 2.659, fixed                         CognitionCapturer
    ``"raw-learned"``   keeps lengths   s, learned                               ATM, Neural-MCRL
    ``"unit"``          unit length     exp(s), learned                          Brain-HIVE, VE-SDN
    ``"unit-fixed"``    unit length     exp(s) = 14.29, fixed                    NICE
    ==================  ==============  =======================================  ==================

    The second side always has unit length. A learned scale is kept within 1 and 100; the
    published codes bound only ``"unit"``, or nothing.

    Parameters
    ----------
    regime : str
        One of the table.
    scale : float, optional
        Where the scale starts, or stays; within 1 and 100. Default: as in the table.

    Raises
    ------
    UsageError
        If the regime is not known, or the scale is not within its bounds.
    """

    def __init__(self, regime: Regime = "free", scale: float | None = None) -> None:
        super().__init__()
        self.regime = check_choice("regime", regime, tuple(REGIMES))
        number = START if scale is None else self.rule.inverse(check_scale(scale))
        self.start = self.rule.function(torch.tensor(number, dtype=torch.float64)).item()
        if self.rule.temperature == "learned":
            self.raw_scale = nn.Parameter(torch.tensor(number))

    @property
    def rule(self) -> Rule:
        """What the regime stands for."""
        return REGIMES[self.regime]

    def scale(self) -> Tensor | float:
        """What dot products are multiplied by.

        A learned scale is put back to its bounds first, as CLIP does after each step, so that it
        can come back from there; a clamp in the graph would leave it without a gradient.
        """
        rule = self.rule
        if rule.temperature == "fixed":
            return self.start
        with torch.no_grad():
            self.raw_scale.clamp_(rule.inverse(SMALLEST), rule.inverse(LARGEST))
        return rule.function(self.raw_scale.clone())  # the next clamp must not touch the graph

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor | float]:
        """The two sides as they are compared, in at least float32, and the scale.

        Parameters
        ----------
        x, y : Tensor, shape (n, e) and (m, e)

        Returns
        -------
        tuple of Tensor (n, e), Tensor (m, e), Tensor or float
        """
        return self.first(x), unit(full_precision(y)), self.scale()

    def first(self, x: Tensor) -> Tensor:
        """The first side as it is compared: with its lengths, or of unit length."""
        x = full_precision(x)
        return x if self.rule.first == "free" else unit(x)


def check_scale(scale: float) -> float:
    """A scale within 1 and 100; NaN is not.

    Raises
    ------
    UsageError
        If it is not.
    """
    if not SMALLEST <= as_number(scale) <= LARGEST:
        raise UsageError(
            f"a scale (inverse temperature) of {SMALLEST:g} to {LARGEST:g}",
            repr(scale),
            "leave it out to start at the published one",
        )
    return float(scale)


def unit(x: Tensor) -> Tensor:
    """Rows of shape (b, e) brought to unit length; rows of zeros stay zeros."""
    return F.normalize(x, dim=-1)


def full_precision(x: Tensor) -> Tensor:
    """Half precision raised to float32; anything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


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

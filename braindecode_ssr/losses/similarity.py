"""How alike two batches of embeddings are: what is normalised, and on what scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from .parts import as_number, check_choice

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

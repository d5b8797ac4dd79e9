"""What all losses share: the base class, the checks of arguments, scale of dot products, InfoNCE."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import TrainingError, UsageError
from ..registry import check_choice

Anchor = Literal["trained", "detached"]
Duplicates = Literal["negatives", "ignored", "positives"]
Direction = Literal["both", "brain-to-image"]
Parts = dict[str, Tensor]


class Loss(nn.Module):
    r"""What training minimizes; the base class of all losses.

    A loss is called with three batches of embeddings, each of shape (b, e) and not normalized: ``brain`` of
    the trials, ``original`` of the images that were shown, and ``view`` of their pooled altered copies. It
    returns a dictionary that begins with the total, ``"loss"``, followed by its unweighted parts by name.
    Training records each part in the history.

    ``forward`` may have more parameters. :class:`~braindecode_ssr.training.retriever.EEGRetriever` passes
    them by name:

    =================  =====================  ============================================================
    parameter          shape                  what it is
    =================  =====================  ============================================================
    ``image``          (b,), int              index of the image of each row; missing when ``fit`` gets arrays
    ``subject``        (b,), int              index of the subject of each row; missing when ``image`` is
    ``trial``          (b, c, t)              the trials
    ``features``       (b, d)                 features of the original images, before the image head
    ``view_features``  (b, d)                 those of their views
    ``hidden``         (b, backbone_width)    output of the backbone, which enters the last layer
    ``posteriors``     (b, m, 2, e)           mean and log-variance from each of the m feature vectors of an
                                              image, if the image head has a method ``posteriors``
    ``levels``         (b, m, e)              embeddings of each of the m views of an image, if the image head
                                              has a method ``levels``
    ``epoch``          int                    number of finished epochs
    =================  =====================  ============================================================

    Likewise, the constructor gets those of these sizes that it has parameters for: ``n_outputs`` (e),
    ``n_chans`` (c), ``n_times`` (t), ``n_features`` (d), ``feature_widths`` (of the m vectors),
    ``backbone_width``.
    """

    space: ClassVar[str] = "euclidean"
    """In which embeddings are compared: ``"hyperbolic"`` for points of hyperbolic space."""
    unused: Collection[str] = ()
    """Parameters of ``forward`` that this loss, with its options, does not need; they are not passed."""

    def diagnostics(self) -> dict[str, Tensor]:
        """Further numbers for the history, computed after each epoch without changing any state."""
        return {}


class ContrastiveLoss(Loss, ABC):
    """A loss whose parts depend on the embeddings and on which rows show the same image.

    A subclass defines ``parts``; a part without an entry in ``weights`` has weight 1.
    """

    weights: Mapping[str, float] = {}

    def forward(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None = None
    ) -> Parts:
        """The weighted sum of the parts as ``"loss"``, then each part.

        Parameters
        ----------
        brain, original, view : Tensor, shape (b, e)
        image : Tensor of int, shape (b,), optional
            Index of the image of each row. Where ``duplicates`` is not ``"negatives"`` it is required.

        Raises
        ------
        UsageError, TrainingError
            If shapes differ or ``image`` is missing; if there are fewer than two rows.
        """
        check_embeddings(brain, original, view)
        return weighted_total(self.parts(brain, original, view, image), self.weights)

    @abstractmethod
    def parts(self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None) -> Parts:
        """The parts by name, without their weights."""


def check_embeddings(brain: Tensor, original: Tensor, view: Tensor, at_least: int = 2) -> None:
    """Raise unless three batches have one shape (b, e) and enough rows to tell pairs apart."""
    shapes = [tuple(part.shape) for part in (brain, original, view)]
    if brain.ndim != 2 or len(set(shapes)) != 1:
        raise UsageError(
            "brain, original and view embeddings do not have the same shape (batch, n_outputs): "
            f"they have {shapes[0]}, {shapes[1]} and {shapes[2]}",
            "map all three into the shared space before calling the loss",
        )
    if len(brain) < at_least:
        raise TrainingError(
            f"a loss that compares trials needs a batch of at least {at_least}, not {len(brain)}",
            "set a larger batch with --batch-size",
        )


def weighted_total(parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> dict[str, Tensor]:
    total = sum(weights.get(name, 1.0) * part for name, part in parts.items())
    return {"loss": torch.as_tensor(total), **parts}


def check_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """Weights of parts that are finite, not negative and not all zero."""
    for name, weight in weights.items():
        check_number(name, weight, "[0, inf)")
    if not any(weights.values()):
        raise UsageError(
            f"the weights {', '.join(weights)} are all 0, which leaves nothing to minimize",
            "set one with --set loss.params.<name>=<weight>",
        )
    return dict(weights)


def check_number(name: str, value: Any, interval: str) -> float:
    """The value, if it is a number in an interval such as ``"(0, 1]"``; NaN is in none."""
    low, high = map(float, interval[1:-1].split(","))
    number = float(value) if isinstance(value, Real) else math.nan
    above = number > low if interval[0] == "(" else number >= low
    below = number < high if interval[-1] == ")" else number <= high
    if not (above and below):
        raise UsageError(
            f"{name} has to be a number in {interval}, not {value!r}",
            f"set it with --set loss.params.{name}=<number>, or leave it out",
        )
    return number


def check_sizes(**sizes: Any) -> None:
    """Raise unless widths and counts are integers of 1 or more."""
    for name, size in sizes.items():
        if not (isinstance(size, Integral) and int(size) >= 1):
            raise UsageError(
                f"{name} has to be a whole number of 1 or more, not {size!r}",
                f"set it with --set loss.params.{name}=<number>, or leave it out",
            )


def unit(x: Tensor) -> Tensor:
    """Rows of shape (b, e) scaled to unit length; rows of zeros stay zeros."""
    return F.normalize(x, dim=-1)


def full_precision(x: Tensor) -> Tensor:
    """Half precision converted to float32; anything else unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def perceptron(*widths: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    maps = [nn.Linear(*pair) for pair in pairwise(widths)]
    return nn.Sequential(*(layer for one in maps[:-1] for layer in (one, activation())), maps[-1])


def log_gaussian(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""Log-density of a Gaussian with independent elements, shape (..., e) to (...).

    .. math:: -\frac{1}{2} \sum_k \Big( \frac{(x_k - \mu_k)^2}{\sigma_k^2} + \ln \sigma_k^2 + \ln 2\pi \Big)
    """
    squared = (x - mean).square() * (-log_variance).exp()
    return -(squared + log_variance + math.log(2 * math.pi)).sum(-1) / 2


Regime = Literal["free", "free-learned", "raw", "raw-learned", "unit", "unit-fixed"]

LOG_SCALE = math.log(1 / 0.07)
SMALLEST, LARGEST = 1.0, 100.0


class Rule(NamedTuple):
    """What a regime stands for: both sides of unit length or only the second, and scale = function(s)."""

    both_unit: bool
    learned: bool
    function: Callable[[Any], Any]
    inverse: Callable[[float], float]


def _softplus_inverse(scale: float) -> float:
    return math.log(math.expm1(scale))


REGIMES: dict[str, Rule] = {
    "free": Rule(False, False, F.softplus, _softplus_inverse),  # NeuroBridge
    "free-learned": Rule(False, True, F.softplus, _softplus_inverse),  # UBP
    "raw": Rule(False, False, lambda raw: raw, float),  # CognitionCapturer
    "raw-learned": Rule(False, True, lambda raw: raw, float),  # ATM, Neural-MCRL
    "unit": Rule(True, True, torch.exp, math.log),  # Brain-HIVE, VE-SDN
    "unit-fixed": Rule(True, False, torch.exp, math.log),  # NICE
}


class Similarity(nn.Module):
    """Normalization of two batches before they are compared, and the scale of their dot products.

    A regime is a pair of choices that belong together, see :doc:`/losses`: in those called ``unit`` both
    sides have unit length, in the others the first side keeps its lengths. A learned scale is clamped to 1 to
    100; the published codes clamp only ``"unit"``, or nothing.

    Parameters
    ----------
    regime : {"free", "free-learned", "raw", "raw-learned", "unit", "unit-fixed"}
        ``free`` is a scale of softplus(s) = 2.727, ``raw`` one of s = 2.659, ``unit`` one of exp(s) = 14.29.
    scale : float, optional
        Another initial (or fixed) scale, 1 to 100.
    """

    def __init__(self, regime: Regime = "free", scale: float | None = None) -> None:
        super().__init__()
        self.regime = check_choice("regime", regime, Regime)
        raw = LOG_SCALE
        if scale is not None:
            raw = self.rule.inverse(check_number("scale", scale, "[1, 100]"))
        self.initial_scale = self.rule.function(torch.tensor(raw, dtype=torch.float64)).item()
        if self.rule.learned:
            self.raw_scale = nn.Parameter(torch.tensor(raw))

    @property
    def rule(self) -> Rule:
        """What the regime stands for."""
        return REGIMES[self.regime]

    def scale(self) -> Tensor | float:
        """The factor of dot products.

        A learned scale is clamped in place before it is used, as CLIP does after each step, so that it can
        return from the bound; a clamp in the graph would leave it without a gradient there.
        """
        if not self.rule.learned:
            return self.initial_scale
        with torch.no_grad():
            self.raw_scale.clamp_(self.rule.inverse(SMALLEST), self.rule.inverse(LARGEST))
        return self.rule.function(self.raw_scale.clone())  # the next clamp must not touch the graph

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor | float]:
        """Both sides, (n, e) and (m, e), normalized and in at least float32, and the scale."""
        x = full_precision(x)
        return unit(x) if self.rule.both_unit else x, unit(full_precision(y)), self.scale()


# -- InfoNCE -------------------------------------------------------------------------------------------------


def symmetric_info_nce(x: Tensor, y: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    r"""Symmetric InfoNCE: cross-entropy of the matching pairs, from x to y and from y to x.

    With :math:`S = \mathrm{scale} \cdot x y^\top`,

    .. math:: L = \frac{1}{2b} \sum_i \Big( \log\sum_j e^{S_{ij}} + \log\sum_j e^{S_{ji}}
                  - 2 S_{ii} \Big).

    Source: Radford et al. (2021), CLIP.

    Parameters
    ----------
    x, y : Tensor, shape (b, e)
        Row i of one belongs to row i of the other. Normalization is left to the caller.
    scale : Tensor or float
        Inverse temperature.

    Returns
    -------
    Tensor, shape ()
    """
    return symmetric_cross_entropy(scale * (x @ y.T))


def duplicate_info_nce(
    x: Tensor,
    y: Tensor,
    scale: Tensor | float,
    same: Tensor,
    duplicates: Duplicates = "positives",
) -> Tensor:
    r"""Symmetric InfoNCE in which a row may have several positives.

    With :math:`S = \mathrm{scale} \cdot x y^\top` and :math:`P_i` the rows that show the image of
    row i (i among them), from x to y

    .. math:: \text{positives}: \; \frac{1}{b} \sum_i \Big( \log\sum_j e^{S_{ij}}
                  - \frac{1}{|P_i|} \sum_{p \in P_i} S_{ip} \Big), \qquad
              \text{ignored}: \; \frac{1}{b} \sum_i \Big( \log\!\!\sum_{j = i \,\vee\, j \notin P_i}
                  \!\! e^{S_{ij}} - S_{ii} \Big),

    and the mean of this and of the same from y to x. Without duplicates both are
    :func:`symmetric_info_nce`.

    Source: ``"positives"`` is L_out of Khosla et al. (2020), Supervised Contrastive Learning, eq. 2,
    with images as labels and both modalities as views; ``"ignored"`` takes false negatives out of the
    sum, as Huynh et al. (2022), Boosting Contrastive Self-Supervised Learning with False Negative
    Cancellation, section 3.2.

    Parameters
    ----------
    x, y : Tensor, shape (b, e)
        Normalization is left to the caller.
    scale : Tensor or float
        Inverse temperature.
    same : Tensor of bool, shape (b, b)
        Which rows show the same image, see :func:`same_image`.
    duplicates : {"negatives", "ignored", "positives"}
        How rows of the same image count for each other.

    Returns
    -------
    Tensor, shape ()
    """
    return symmetric_cross_entropy(scale * (x @ y.T), same, duplicates)


def symmetric_cross_entropy(
    logits: Tensor,
    same: Tensor | None = None,
    duplicates: Duplicates = "negatives",
    direction: Direction = "both",
) -> Tensor:
    """Cross-entropy of the matching pairs, from logits (b, b): mean over rows and columns, or over rows."""
    if same is not None and duplicates == "ignored":
        logits = without_duplicates(logits, same)
    if direction == "brain-to-image":
        own = logits.diagonal()
        if same is not None and duplicates == "positives":
            own = (logits * same).sum(1) / same.sum(1)
        return (torch.logsumexp(logits, 1) - own).mean()
    both = torch.logsumexp(logits, 1).mean() + torch.logsumexp(logits, 0).mean()
    if same is not None and duplicates == "positives":
        pull = (logits * same).sum(1) / same.sum(1)
        back = (logits * same).sum(0) / same.sum(0)
        return (both - pull.mean() - back.mean()) / 2
    return both / 2 - logits.diagonal().mean()


def without_duplicates(logits: Tensor, same: Tensor) -> Tensor:
    """Logits (b, b) with minus infinity for other rows of the same image."""
    itself = torch.eye(len(same), dtype=torch.bool, device=same.device)
    return logits.masked_fill(same & ~itself, float("-inf"))


def same_image(image: Tensor | None, rows: int) -> Tensor:
    """Which rows show the same image: index of images (b,) to bool (b, b)."""
    if image is None or tuple(image.shape) != (rows,):
        found = "is missing" if image is None else f"has shape {tuple(image.shape)}"
        raise UsageError(
            f"the loss needs the image index of each of the {rows} rows, but image {found}",
            "train on a TrainingSet, or choose duplicates='negatives'",
        )
    return image[:, None] == image[None, :]


def contrast_of_logits(
    logits: Tensor, duplicates: Duplicates, image: Tensor | None, direction: Direction = "both"
) -> Tensor:
    """Contrast of logits (b, b); the image index is only needed if duplicates matter."""
    same = None if duplicates == "negatives" else same_image(image, len(logits))
    return symmetric_cross_entropy(logits, same, duplicates, direction)

"""What all losses share: their inputs checked, their parts summed."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, TypeVar

from torch import Tensor

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

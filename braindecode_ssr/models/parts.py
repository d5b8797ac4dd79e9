"""Parts of a model by name: to keep them as they are, or to train them at a rate of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from ..registry import unknown_name


def parameters_of(model: nn.Module, part: str) -> dict[str, nn.Parameter]:
    """The parameters of a part, by their full names.

    Parameters
    ----------
    model : nn.Module
    part : str
        Name of a submodule or parameter, such as ``"backbone"`` or ``"backbone.temporal.1"``.

    Raises
    ------
    UsageError
        If no parameter is in a part of that name.
    """
    parameters = dict(model.named_parameters())
    found = {
        name: parameter
        for name, parameter in parameters.items()
        if name == part or name.startswith(f"{part}.")
    }
    if not found:
        raise unknown_name("part of the model", part, _parts(parameters, depth=part.count(".") + 1))
    return found


def rate_groups(model: nn.Module, rates: dict[str, float]) -> list[tuple[str, dict[str, Any]]]:
    """Learning rates of parts as skorch's ``optimizer__param_groups``; the deeper part wins.

    Parameters
    ----------
    model : nn.Module
    rates : dict of str to float
        Name of a part to its learning rate.

    Raises
    ------
    UsageError
        If a part is not there.
    """
    groups = []
    for part in sorted(rates, key=lambda name: -name.count(".")):
        parameters_of(model, part)
        groups += [(pattern, {"lr": rates[part]}) for pattern in (part, f"{part}.*")]
    return groups


def _parts(names: Iterable[str], depth: int) -> list[str]:
    """Names of parts down to a depth."""
    return list(dict.fromkeys(".".join(name.split(".")[:depth]) for name in names))

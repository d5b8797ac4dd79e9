"""A class by its dotted path, as saved configurations have it."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import UsageError


def by_path(kind: str, path: str) -> Any:
    """What a dotted path ``package.module.Class`` names.

    Parameters
    ----------
    kind : str
        What it is to be, for messages: ``"a backbone"``.
    path : str

    Raises
    ------
    UsageError
        If it cannot be imported.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"{kind} by a dotted path that can be imported",
            f"{path!r} ({error})",
            "install the package it is in, or choose a registered name",
        ) from error

"""Published recipes, one TOML file each: data, not code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..registry import Registry

if TYPE_CHECKING:
    from .base import Method

_FILES = {file.stem: file for file in sorted(Path(__file__).parent.glob("*.toml"))}

METHODS = Registry("method", {name: f"{__name__}:{name}" for name in _FILES})


def __getattr__(name: str) -> Method:
    """A method by its name, read from its file."""
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .base import read_method

    return read_method(_FILES[name])

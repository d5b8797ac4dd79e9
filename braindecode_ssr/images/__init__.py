"""Altered copies of images (views), frozen image encoders, and the store of image features."""

from __future__ import annotations

from typing import Any

_HOMES = {
    "FeatureStore": "store",
    "extract": "extract",
    "import_split": "imports",
    "import_listed": "imports",
    "build_encoder": "encoders",
    "build_view": "views",
    "ENCODERS": "encoders",
    "VIEWS": "views",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

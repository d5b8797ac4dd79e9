"""Brain encoders and the model around them: SSR, our own backbones, braindecode's by name."""

from __future__ import annotations

from typing import Any

from ..registry import Registry

BACKBONES = Registry(
    "backbone",
    {
        "EEGProject": "braindecode_ssr.models.eeg_project:EEGProject",
        "TSConv": "braindecode_ssr.models.tsconv:TSConv",
    },
)

_LAZY = {
    "SSR": "ssr",
    "EEGProject": "eeg_project",
    "TSConv": "tsconv",
    "build_backbone": "backbone",
    "list_backbones": "backbone",
}

__all__ = ["BACKBONES", *_LAZY]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""What training minimises, one loss a file: a pure function and the Module around it.

All have one face: ``loss(brain, original, view)`` of three batches of embeddings, each of shape
(b, e) and not normalised, gives a dictionary whose first entry is the total, ``"loss"``, followed
by its named parts.
"""

from __future__ import annotations

from typing import Any

from ..registry import Registry

LOSSES = Registry(
    "loss",
    {
        "ssr": "braindecode_ssr.losses.ssr:SSRLoss",
        "contrast": "braindecode_ssr.losses.contrast:Contrast",
        "neurobridge": "braindecode_ssr.losses.neurobridge:NeuroBridge",
        "triple": "braindecode_ssr.losses.triple:TripleContrast",
    },
)

_LAZY = {
    "SSRLoss": "ssr",
    "Contrast": "contrast",
    "NeuroBridge": "neurobridge",
    "TripleContrast": "triple",
    "MaskedReconstruction": "reconstruction",
    "Similarity": "similarity",
    "symmetric_info_nce": "contrast",
}

__all__ = ["LOSSES", *_LAZY]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

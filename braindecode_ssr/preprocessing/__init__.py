"""From recordings to trials: pure functions on arrays, one step of the lineage in each file."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "average_by": "repetitions",
    "channel_indices": "channels",
    "channel_scale": "zscore",
    "choose": "repetitions",
    "cut": "windows",
    "fit_normalisation": "normalisation",
    "noise_covariance": "mvnn",
    "published_order": "repetitions",
    "published_subset": "repetitions",
    "shrunk_covariances": "mvnn",
    "smooth": "smoothing",
    "standardise": "zscore",
    "whiten": "mvnn",
    "whitening_matrix": "mvnn",
    "window_operator": "windows",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)

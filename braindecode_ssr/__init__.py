"""Decode which image a person saw, from EEG or MEG, with any braindecode model.

Importing the package tells braindecode about SSR and loads nothing else: neither torch nor
braindecode. The public names are loaded when they are asked for.
"""

from __future__ import annotations

from typing import Any

from ._registration import register

__version__ = "0.1.0"

_LAZY = {
    "SSR": "models.ssr",
    "SSRLoss": "losses.ssr",
    "EEGRetriever": "training.retriever",
    "ThingsEEG": "datasets.things_eeg.dataset",
    "ThingsSim": "datasets.things_sim",
    "TrialStore": "trials.store",
    "FeatureStore": "images.store",
    "train": "pipeline",
    "evaluate": "pipeline",
}

__all__ = [*_LAZY, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])


register()

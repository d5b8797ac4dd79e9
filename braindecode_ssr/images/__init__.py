"""Altered copies of images (views), frozen image encoders, and the store of image features."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "store": ["FeatureStore"],
        "features": ["extract"],
        "imports": ["import_split", "import_listed"],
        "encoders": ["build_encoder", "ENCODERS"],
        "views": ["build_view", "VIEWS"],
    },
)

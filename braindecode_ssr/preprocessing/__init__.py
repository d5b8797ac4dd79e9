"""From recordings to trials: pure functions on arrays, from cutting epochs to averaging repetitions."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "channels": ["channel_indices"],
        "epochs": [
            *("average_by", "choose", "cut", "published_order", "published_subset", "smooth"),
            "window_operator",
        ],
        "whitening": [
            *("channel_scale", "fit_whitening", "noise_covariance", "shrunk_covariances"),
            *("standardize", "whiten", "whitening_matrix"),
        ],
    },
)

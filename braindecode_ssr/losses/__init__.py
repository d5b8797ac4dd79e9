"""What training minimises, one loss a file: a pure function and the Module around it.

All have one face: ``loss(brain, original, view)`` of three batches of embeddings, each of shape
(b, e) and not normalised, gives a dictionary whose first entry is the total, ``"loss"``, followed
by its named parts. A loss is told what else its ``forward`` names: ``image``, the index of each row's image;
``trial`` (b, c, t) and ``features`` (b, d), as they come; ``hidden``, what enters the brain projector;
``posteriors`` (b, m, 2, e) of an image head that has them; ``epoch``, how many are done.
"""

from __future__ import annotations

from typing import Any

from ..registry import Registry

LOSSES = Registry(
    "loss",
    {
        "ssr": "braindecode_ssr.losses.ssr:SSRLoss",
        "contrast": "braindecode_ssr.losses.contrast:Contrast",
        "neurobridge": "braindecode_ssr.losses.contrast:NeuroBridge",
        "triple": "braindecode_ssr.losses.contrast:TripleContrast",
        "single-anchor": "braindecode_ssr.losses.contrast:SingleAnchor",
        "multi-positive": "braindecode_ssr.losses.contrast:MultiPositive",
        "soft-label": "braindecode_ssr.losses.soft_label:SoftLabel",
        "contrast-mse": "braindecode_ssr.losses.contrast:ContrastMSE",
        "uncertain-blur": "braindecode_ssr.losses.uncertain_blur:UncertainBlur",
        "semantic-swap": "braindecode_ssr.losses.semantic_swap:SemanticSwap",
        "mmd-contrast": "braindecode_ssr.losses.mmd_contrast:MMDContrast",
        "hyperbolic": "braindecode_ssr.losses.hyperbolic:HyperbolicContrast",
        "bravl": "braindecode_ssr.losses.bravl:BraVLLoss",
    },
)

HYPERBOLIC = ("hyperbolic",)
"""Losses that compare points of hyperbolic space; the others compare vectors."""

_LAZY = {
    "SSRLoss": "ssr",
    "Contrast": "contrast",
    "NeuroBridge": "contrast",
    "TripleContrast": "contrast",
    "SingleAnchor": "contrast",
    "MaskedReconstruction": "ssr",
    "MultiPositive": "contrast",
    "SoftLabel": "soft_label",
    "ContrastMSE": "contrast",
    "UncertainBlur": "uncertain_blur",
    "SemanticSwap": "semantic_swap",
    "MMDContrast": "mmd_contrast",
    "HyperbolicContrast": "hyperbolic",
    "BraVLLoss": "bravl",
    "CLUB": "semantic_swap",
    "Similarity": "base",
    "symmetric_info_nce": "contrast",
    "duplicate_info_nce": "base",
    "single_anchor_contrast": "contrast",
    "soft_info_nce": "soft_label",
    "soft_labels": "soft_label",
    "club_upper_bound": "semantic_swap",
    "squared_mmd": "mmd_contrast",
    "hyperbolic_info_nce": "hyperbolic",
    "product_of_experts": "bravl",
    "subset_products": "bravl",
    "cubo": "bravl",
}

__all__ = ["HYPERBOLIC", "LOSSES", *_LAZY]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

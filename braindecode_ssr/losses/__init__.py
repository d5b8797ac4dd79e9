"""What training minimises, one loss a file: a pure function and the Module around it.

All have one face: ``loss(brain, original, view)`` of three batches of embeddings, each of shape
(b, e) and not normalised, gives a dictionary whose first entry is the total, ``"loss"``, followed
by its named parts. A loss is told what else its ``forward`` names: ``image``, the index of each row's image;
``trial`` (b, c, t) and ``features`` (b, d), as they come; ``hidden``, what enters the brain projector;
``posteriors`` (b, m, 2, e) of an image head that has them; ``epoch``, how many are done.
"""

from __future__ import annotations

import lazy_loader

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

__getattr__, _, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "ssr": ["SSRLoss", "MaskedReconstruction"],
        "contrast": [
            "Contrast",
            "NeuroBridge",
            "TripleContrast",
            "SingleAnchor",
            "MultiPositive",
            "ContrastMSE",
            "symmetric_info_nce",
            "single_anchor_contrast",
        ],
        "soft_label": ["SoftLabel", "soft_info_nce", "soft_labels"],
        "uncertain_blur": ["UncertainBlur"],
        "semantic_swap": ["SemanticSwap", "CLUB", "club_upper_bound"],
        "mmd_contrast": ["MMDContrast", "squared_mmd"],
        "hyperbolic": ["HyperbolicContrast", "hyperbolic_info_nce"],
        "bravl": ["BraVLLoss", "product_of_experts", "subset_products", "cubo"],
        "base": ["Similarity", "duplicate_info_nce"],
    },
)
__all__ += ["HYPERBOLIC", "LOSSES"]


def __dir__() -> list[str]:
    return __all__

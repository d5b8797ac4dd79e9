"""What training minimizes: losses by name, each a pure function and a thin Module around it.

:class:`~braindecode_ssr.losses.base.Loss` says how a loss is called and what it returns. A loss is one file
and one line of ``LOSSES``, which also makes its class importable from here.
"""

from __future__ import annotations

import lazy_loader

from ..registry import Registry

_LOSSES = {
    "ssr": "braindecode_ssr.losses.ssr:SSRLoss",
    "contrast": "braindecode_ssr.losses.contrast:Contrast",
    "neurobridge": "braindecode_ssr.losses.contrast:NeuroBridge",
    "triple": "braindecode_ssr.losses.ssr:TripleContrast",
    "single-anchor": "braindecode_ssr.losses.contrast:SingleAnchor",
    "multi-positive": "braindecode_ssr.losses.contrast:MultiPositive",
    "soft-label": "braindecode_ssr.losses.contrast:SoftLabel",
    "contrast-mse": "braindecode_ssr.losses.contrast:ContrastMSE",
    "uncertain-blur": "braindecode_ssr.losses.uncertain_blur:UncertainBlur",
    "semantic-swap": "braindecode_ssr.losses.semantic_swap:SemanticSwap",
    "mmd-contrast": "braindecode_ssr.losses.mmd_contrast:MMDContrast",
    "hyperbolic": "braindecode_ssr.losses.contrast:HyperbolicContrast",
    "bravl": "braindecode_ssr.losses.bravl:BraVLLoss",
}
LOSSES = Registry("loss", _LOSSES)

HYPERBOLIC = ("hyperbolic",)
"""Losses that compare points of hyperbolic space; the others compare vectors."""

_public = {
    "base": "ContrastiveLoss Loss Similarity duplicate_info_nce symmetric_info_nce".split(),
    "ssr": ["MaskedReconstruction"],
    "contrast": "hyperbolic_info_nce single_anchor_contrast soft_info_nce soft_labels".split(),
    "semantic_swap": ["CLUB", "club_upper_bound"],
    "mmd_contrast": ["squared_mmd"],
    "bravl": ["product_of_experts", "subset_products", "cubo"],
}
for _part in _LOSSES.values():
    _module, _, _name = _part.rpartition(".")[2].partition(":")
    _public.setdefault(_module, []).append(_name)

__getattr__, _, __all__ = lazy_loader.attach(__name__, submod_attrs=_public)
__all__ += ["HYPERBOLIC", "LOSSES"]


def __dir__() -> list[str]:
    return __all__

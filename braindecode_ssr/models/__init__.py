"""Brain encoders and the model around them: SSR, our own backbones, and braindecode's by name.

A line below registers a backbone or image head and makes its class importable from here.
"""

from __future__ import annotations

import lazy_loader

from ..registry import Registry

_BACKBONES = {
    "EEGProject": "braindecode_ssr.models.modules:EEGProject",
    "TSConv": "braindecode_ssr.models.nice:TSConv",
    "NICESA": "braindecode_ssr.models.nice:NICESA",
    "NICEGA": "braindecode_ssr.models.nice:NICEGA",
    "ATM": "braindecode_ssr.models.transformers:ATM",
    "NeuralMCRL": "braindecode_ssr.models.transformers:NeuralMCRL",
    "VESDN": "braindecode_ssr.models.transformers:VESDN",
    "CognitionCapturer": "braindecode_ssr.models.transformers:CognitionCapturer",
    "BrainMLP": "braindecode_ssr.models.modules:BrainMLP",
    "VED": "braindecode_ssr.models.modules:VED",
    "BraVL": "braindecode_ssr.models.modules:BraVL",
    "TimmViT": "braindecode_ssr.models.timm_vit:TimmViT",
}

_IMAGE_HEADS = {
    "linear": "braindecode_ssr.models.ssr:ImageHead",
    "perceptron": "braindecode_ssr.models.image_heads:PerceptronHead",
    "none": "braindecode_ssr.models.image_heads:NoHead",
    "fusion": "braindecode_ssr.models.image_heads:FusionHead",
    "layer-mixer": "braindecode_ssr.models.image_heads:LayerMixerHead",
    "blur-mixer": "braindecode_ssr.models.image_heads:BlurMixerHead",
    "blur-levels": "braindecode_ssr.models.image_heads:BlurLevelsHead",
    "geodesic": "braindecode_ssr.models.image_heads:GeodesicHead",
    "experts": "braindecode_ssr.models.image_heads:ExpertsHead",
}

BACKBONES = Registry("backbone", _BACKBONES)
IMAGE_HEADS = Registry("image head", _IMAGE_HEADS)

_public = {
    "ssr": ["SSR", "build_image_head"],
    "backbone": ["build_backbone"],
    "names": ["list_backbones"],
}
for _part in (*_BACKBONES.values(), *_IMAGE_HEADS.values()):
    _module, _, _name = _part.rpartition(".")[2].partition(":")
    _public.setdefault(_module, []).append(_name)

__getattr__, _, __all__ = lazy_loader.attach(__name__, submod_attrs=_public)
__all__ += ["BACKBONES", "IMAGE_HEADS"]


def __dir__() -> list[str]:
    return __all__

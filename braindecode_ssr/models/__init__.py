"""Brain encoders and the model around them: SSR, our own backbones, and braindecode's by name."""

from __future__ import annotations

import lazy_loader

from ..registry import Registry

BACKBONES = Registry(
    "backbone",
    {
        "EEGProject": "braindecode_ssr.models.mlp:EEGProject",
        "TSConv": "braindecode_ssr.models.nice:TSConv",
        "NICESA": "braindecode_ssr.models.nice:NICESA",
        "NICEGA": "braindecode_ssr.models.nice:NICEGA",
        "ATM": "braindecode_ssr.models.transformers:ATM",
        "NeuralMCRL": "braindecode_ssr.models.transformers:NeuralMCRL",
        "VESDN": "braindecode_ssr.models.transformers:VESDN",
        "CognitionCapturer": "braindecode_ssr.models.transformers:CognitionCapturer",
        "BrainMLP": "braindecode_ssr.models.mlp:BrainMLP",
        "VED": "braindecode_ssr.models.mlp:VED",
        "BraVL": "braindecode_ssr.models.mlp:BraVL",
    },
)

IMAGE_HEADS = Registry(
    "image head",
    {
        "linear": "braindecode_ssr.models.image_heads:ImageHead",
        "fusion": "braindecode_ssr.models.image_heads:FusionHead",
        "layer-mixer": "braindecode_ssr.models.image_heads:LayerMixerHead",
        "blur-mixer": "braindecode_ssr.models.image_heads:BlurMixerHead",
        "geodesic": "braindecode_ssr.models.image_heads:GeodesicHead",
        "experts": "braindecode_ssr.models.image_heads:ExpertsHead",
    },
)

__getattr__, _, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "ssr": ["SSR"],
        "mlp": ["EEGProject", "BrainMLP", "BraVL", "VED"],
        "nice": ["TSConv", "NICESA", "NICEGA"],
        "transformers": ["ATM", "NeuralMCRL", "CognitionCapturer", "VESDN"],
        "image_heads": [
            "ImageHead",
            "FusionHead",
            "LayerMixerHead",
            "BlurMixerHead",
            "GeodesicHead",
            "ExpertsHead",
            "build_image_head",
        ],
        "backbone": ["build_backbone"],
        "names": ["list_backbones"],
    },
)
__all__ += ["BACKBONES", "IMAGE_HEADS"]


def __dir__() -> list[str]:
    return __all__

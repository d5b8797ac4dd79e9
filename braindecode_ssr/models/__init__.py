"""Brain encoders and the model around them: SSR, our own backbones, braindecode's by name."""

from __future__ import annotations

import lazy_loader

from ..registry import Registry

BACKBONES = Registry(
    "backbone",
    {
        "EEGProject": "braindecode_ssr.models.eeg_project:EEGProject",
        "TSConv": "braindecode_ssr.models.nice:TSConv",
        "NICESA": "braindecode_ssr.models.nice:NICESA",
        "NICEGA": "braindecode_ssr.models.nice:NICEGA",
        "ATM": "braindecode_ssr.models.atm:ATM",
        "NeuralMCRL": "braindecode_ssr.models.neural_mcrl:NeuralMCRL",
        "VESDN": "braindecode_ssr.models.ve_sdn:VESDN",
        "CognitionCapturer": "braindecode_ssr.models.cognition_capturer:CognitionCapturer",
        "BrainMLP": "braindecode_ssr.models.eeg_project:BrainMLP",
        "VED": "braindecode_ssr.models.ved:VED",
        "BraVL": "braindecode_ssr.models.bravl:BraVL",
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
        "eeg_project": ["EEGProject", "BrainMLP"],
        "nice": ["TSConv", "NICESA", "NICEGA"],
        "atm": ["ATM"],
        "neural_mcrl": ["NeuralMCRL"],
        "ve_sdn": ["VESDN"],
        "cognition_capturer": ["CognitionCapturer"],
        "ved": ["VED"],
        "bravl": ["BraVL"],
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

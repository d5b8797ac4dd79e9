"""Brain encoders and the model around them: SSR, our own backbones, braindecode's by name."""

from __future__ import annotations

from typing import Any

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

_LAZY = {
    "SSR": "ssr",
    "EEGProject": "eeg_project",
    "TSConv": "nice",
    "NICESA": "nice",
    "NICEGA": "nice",
    "ATM": "atm",
    "NeuralMCRL": "neural_mcrl",
    "VESDN": "ve_sdn",
    "CognitionCapturer": "cognition_capturer",
    "BrainMLP": "eeg_project",
    "VED": "ved",
    "BraVL": "bravl",
    "ImageHead": "image_heads",
    "FusionHead": "image_heads",
    "LayerMixerHead": "image_heads",
    "BlurMixerHead": "image_heads",
    "GeodesicHead": "image_heads",
    "ExpertsHead": "image_heads",
    "build_image_head": "image_heads",
    "build_backbone": "backbone",
    "list_backbones": "names",
}

__all__ = ["BACKBONES", "IMAGE_HEADS", *_LAZY]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

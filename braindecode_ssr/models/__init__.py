"""Brain encoders and the model around them: SSR, our own backbones, braindecode's by name."""

from __future__ import annotations

from typing import Any

from ..registry import Registry

BACKBONES = Registry(
    "backbone",
    {
        "EEGProject": "braindecode_ssr.models.eeg_project:EEGProject",
        "TSConv": "braindecode_ssr.models.tsconv:TSConv",
        "NICESA": "braindecode_ssr.models.nice_sa:NICESA",
        "NICEGA": "braindecode_ssr.models.nice_ga:NICEGA",
        "ATM": "braindecode_ssr.models.atm:ATM",
        "NeuralMCRL": "braindecode_ssr.models.neural_mcrl:NeuralMCRL",
        "VESDN": "braindecode_ssr.models.ve_sdn:VESDN",
        "CognitionCapturer": "braindecode_ssr.models.cognition_capturer:CognitionCapturer",
        "BrainMLP": "braindecode_ssr.models.brain_mlp:BrainMLP",
        "VED": "braindecode_ssr.models.ved:VED",
        "BraVL": "braindecode_ssr.models.bravl:BraVL",
    },
)

IMAGE_HEADS = Registry(
    "image head",
    {
        "linear": "braindecode_ssr.models.image_head:ImageHead",
        "fusion": "braindecode_ssr.models.fusion_head:FusionHead",
        "layer-mixer": "braindecode_ssr.models.layer_mixer_head:LayerMixerHead",
        "blur-mixer": "braindecode_ssr.models.blur_mixer_head:BlurMixerHead",
        "geodesic": "braindecode_ssr.models.geodesic_head:GeodesicHead",
        "experts": "braindecode_ssr.models.experts_head:ExpertsHead",
    },
)

_LAZY = {
    "SSR": "ssr",
    "EEGProject": "eeg_project",
    "TSConv": "tsconv",
    "NICESA": "nice_sa",
    "NICEGA": "nice_ga",
    "ATM": "atm",
    "NeuralMCRL": "neural_mcrl",
    "VESDN": "ve_sdn",
    "CognitionCapturer": "cognition_capturer",
    "BrainMLP": "brain_mlp",
    "VED": "ved",
    "BraVL": "bravl",
    "ImageHead": "image_head",
    "FusionHead": "fusion_head",
    "LayerMixerHead": "layer_mixer_head",
    "BlurMixerHead": "blur_mixer_head",
    "GeodesicHead": "geodesic_head",
    "ExpertsHead": "experts_head",
    "build_image_head": "image_head",
    "build_backbone": "backbone",
    "list_backbones": "backbone",
}

__all__ = ["BACKBONES", "IMAGE_HEADS", *_LAZY]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

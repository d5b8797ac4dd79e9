"""Brain encoders and the model around them: SSR, our own backbones, and braindecode's by name.

A line below registers a backbone or image head and makes its class importable from here.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

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


# -- braindecode learns of SSR -------------------------------------------------------------------------------
#
# ``braindecode.models`` takes seconds to import, so nothing here imports it. If it is loaded, SSR is
# registered at once; else an import hook at the front of ``sys.meta_path`` does so right after it is loaded,
# and removes itself.

_BRAINDECODE = "braindecode.models"
_SSR = "braindecode_ssr.models.ssr"
_REQUIRED = ("n_chans", "n_outputs", "n_times")


def register() -> None:
    """Make ``EEGRegressor("SSR", ...)`` work, now or as soon as braindecode is imported; idempotent."""
    if _BRAINDECODE in sys.modules:
        _join()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds braindecode's models and SSR as the other finders do, and registers SSR after they are loaded.

    It watches both, because SSR imports braindecode: if a program imports SSR first, braindecode is
    complete before SSR.
    """

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in (_BRAINDECODE, _SSR):
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = None if finder is self or find is None else find(name, path, target)
            if spec is not None:
                self._extend(spec.loader)
                return spec
        return None

    def _extend(self, loader: Any) -> None:
        """Let this one loader register SSR after it has executed its module."""
        execute: Any = getattr(loader, "exec_module", None)

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if _BRAINDECODE in sys.modules:
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                _join()

        try:
            if execute is not None:
                loader.exec_module = exec_module
        except AttributeError as error:
            warnings.warn(f"braindecode_ssr cannot register SSR: {error}", stacklevel=2)


def _join() -> None:
    """Register SSR with the loaded braindecode; a failure is a warning, never an error."""
    try:
        ssr = sys.modules.get(_SSR) or importlib.import_module(_SSR)
        if hasattr(ssr, "SSR"):  # else it is being imported right now, and registers at its end
            _add(ssr.SSR)
    except Exception as error:
        warnings.warn(f"braindecode_ssr cannot register SSR: {error}", stacklevel=2)


def _add(model: type) -> None:
    """Add the model to braindecode's tables, unless braindecode has one of that name."""
    util = importlib.import_module(f"{_BRAINDECODE}.util")
    if util.models_dict.setdefault(model.__name__, model) is not model:
        return
    inspect.signature(model.__init__, eval_str=True)  # as braindecode.models.config will do
    listed = util.models_mandatory_parameters
    if all(name != model.__name__ for name, *_ in listed):
        listed.append((model.__name__, list(_REQUIRED), None))
        _add_config(model)


def _add_config(model: type) -> None:
    """Update a ``braindecode.models.config`` that is already loaded."""
    config: Any = sys.modules.get(f"{_BRAINDECODE}.config")
    if config is None or not hasattr(config, "BraindecodeModelConfig"):
        return
    from typing import Annotated, Union

    made = config.make_model_config(model, list(_REQUIRED))
    setattr(config, made.__name__, made)
    config.__all__.append(made.__name__)
    config.models_configs.append(made)
    field = config.BraindecodeModelConfig.__metadata__[0]
    config.BraindecodeModelConfig = Annotated[Union[tuple(config.models_configs)], field]  # noqa: UP007

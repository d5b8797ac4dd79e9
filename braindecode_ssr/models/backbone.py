"""Any braindecode model, or one of ours, as brain encoder: by name, class or instance."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import torch
from torch import nn

from ..errors import SSRError, UsageError
from ..registry import unknown_name
from . import BACKBONES
from .host import quiet_import

_MODEL_AROUND_BACKBONES = "SSR"


def list_backbones() -> list[str]:
    """Names that :func:`build_backbone` takes: ours first, then braindecode's."""
    own = BACKBONES.names()
    foreign = sorted(set(_braindecode_models()) - set(own) - {_MODEL_AROUND_BACKBONES})
    return [*own, *foreign]


def backbone_class(backbone: str | type[nn.Module]) -> type[nn.Module]:
    """The class behind a name, or the class itself.

    Parameters
    ----------
    backbone : str or type of nn.Module
        A name of ours or of braindecode (case, hyphens and underscores do not matter), or a
        dotted path ``package.module.Class``, as saved configurations have it.

    Raises
    ------
    UsageError
        If there is no such name, or it does not stand for a model.
    """
    found = _by_name(backbone) if isinstance(backbone, str) else backbone
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UsageError(
            "a backbone by name, class or instance of torch.nn.Module",
            repr(backbone),
            "`ssr-bd list backbones` shows the names",
        )
    return found


def build_backbone(
    backbone: str | type[nn.Module] | nn.Module,
    backbone_params: dict[str, Any] | None = None,
    *,
    n_outputs: int,
    n_chans: int,
    n_times: int,
    sfreq: float | None = None,
    chs_info: list[dict[str, Any]] | None = None,
) -> nn.Module:
    """A brain encoder that maps ``(b, c, t)`` to ``(b, n_outputs)`` with its own head.

    The feature point is the model's ``n_outputs`` head: of all that braindecode's models have in
    common it is the only thing that gives one vector of the asked width.

    Parameters
    ----------
    backbone : str, type of nn.Module, or nn.Module
        See :func:`backbone_class`; an instance is used as it is, weights included.
    backbone_params : dict, optional
        The model's own parameters; types may be written as dotted paths. They win over the
        signal parameters.
    n_outputs : int
        Width of the output.
    n_chans, n_times : int
        Shape of a trial.
    sfreq : float, optional
        Sampling rate in Hz.
    chs_info : list of dict, optional
        ``info["chs"]`` of MNE, for models that need channel names or positions.

    Returns
    -------
    nn.Module

    Raises
    ------
    UsageError
        If the model cannot be built, or does not give one vector of the asked width for such
        trials; tells the reason in one line.
    """
    signal = {
        "n_outputs": n_outputs,
        "n_chans": n_chans,
        "n_times": n_times,
        "sfreq": sfreq,
        "chs_info": chs_info,
    }
    if isinstance(backbone, nn.Module):
        module = _as_it_is(backbone, backbone_params)
    else:
        module = _construct(backbone_class(backbone), signal, backbone_params or {})
    _check_output(module, n_chans, n_times, n_outputs)
    return module


def _braindecode_models() -> dict[str, type[nn.Module]]:
    """All of braindecode's models by name, the interpolated ones included."""
    with quiet_import():
        from braindecode.models.util import interpolated_models_dict, models_dict

    return {**models_dict, **interpolated_models_dict}


def _by_name(name: str) -> Any:
    if name in BACKBONES:
        return BACKBONES[name]
    if "." in name:
        return _by_path(name)
    models = {_plain(known): model for known, model in _braindecode_models().items()}
    if _plain(name) in models and _plain(name) != _plain(_MODEL_AROUND_BACKBONES):
        return models[_plain(name)]
    raise unknown_name("backbone", name, list_backbones())


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _by_path(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            "a backbone by a dotted path that can be imported",
            f"{path!r} ({error})",
            "install the package it is in, or choose a name from `ssr-bd list backbones`",
        ) from error


def _as_it_is(module: nn.Module, params: dict[str, Any] | None) -> nn.Module:
    if params:
        raise UsageError(
            "no backbone_params beside a backbone that is built already",
            f"backbone_params {sorted(params)}",
            "give its class or its name instead of the instance",
        )
    return module


def _construct(model: type[nn.Module], signal: dict[str, Any], params: dict[str, Any]) -> nn.Module:
    accepted = inspect.signature(model).parameters
    own = {name: _as_type(accepted.get(name), value) for name, value in params.items()}
    known = {
        name: value for name, value in signal.items() if name in accepted and value is not None
    }
    try:
        return model(**{**known, **own})
    except SSRError:
        raise
    except Exception as error:
        raise _unfit(model.__name__, signal["n_chans"], signal["n_times"], error) from error


def _as_type(parameter: inspect.Parameter | None, value: Any) -> Any:
    """A dotted path as the type that it names, where the parameter's default is a type."""
    wanted = parameter is not None and isinstance(parameter.default, type)
    return _by_path(value) if wanted and isinstance(value, str) and "." in value else value


def _check_output(module: nn.Module, n_chans: int, n_times: int, n_outputs: int) -> None:
    """Try the module on one trial of zeros; training mode and random state stay as they were."""
    name = type(module).__name__
    modes = {part: part.training for part in module.modules()}
    parameter = next(module.parameters(), torch.empty(0))
    trial = torch.zeros(1, n_chans, n_times, device=parameter.device, dtype=parameter.dtype)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            output = module.eval()(trial)
    except Exception as error:
        raise _unfit(name, n_chans, n_times, error) from error
    finally:
        for part, training in modes.items():
            part.training = training
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if shape != (1, n_outputs):
        raise UsageError(
            f"a backbone that gives one vector of {n_outputs} numbers for a trial",
            f"{name}, which gives {shape} for a batch of one",
            "set its parameters with backbone_params, or choose another backbone",
        )


def _unfit(name: str, n_chans: int, n_times: int, error: Exception) -> UsageError:
    reason = (str(error) or type(error).__name__).strip().splitlines()[0].rstrip(".")
    return UsageError(
        f"a backbone that takes trials of {n_chans} channels and {n_times} samples",
        f"{name}, which says: {reason}",
        "set its parameters with backbone_params, give chs_info if it asks for it, or choose "
        "another from `ssr-bd list backbones`",
    )

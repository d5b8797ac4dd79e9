"""Any braindecode model, or one of ours, as brain encoder: by name, class or instance."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ..errors import SSRError, UsageError
from ..registry import unknown_name
from . import BACKBONES
from .adjustments import adjustments, candidates, forward_arguments
from .bound import Bound, bind
from .dotted_path import class_at, is_path, types_of
from .feature_point import cut_head, embedding_width, encode_zeros, is_one_vector
from .host import quiet_import
from .subject_parts import check_parts

FEATURE_POINTS = ("auto", "embedding", "head")

_MODEL_AROUND_BACKBONES = "SSR"


class BrainEncoder(NamedTuple):
    """A backbone that is built, and where its features are taken.

    Parameters
    ----------
    module : nn.Module
        Maps ``(b, c, t)`` to ``(b, width)``.
    feature_point : {"embedding", "head"}
        What the features are.
    width : int
        Numbers for each trial.
    adjusted : dict
        Parameters taken from the table of adjustments, because the defaults did not fit or have no parts
        for subjects.
    """

    module: nn.Module
    feature_point: str
    width: int
    adjusted: dict[str, Any]


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
        dotted path ``package.module.Class``, as saved configurations have it: of braindecode,
        ``torch.nn``, this package or an installed entry point, unless it is trusted, see
        :func:`braindecode_ssr.models.dotted_path.trusting`.

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
    feature_point: str = "auto",
    n_subjects: int | None = None,
) -> BrainEncoder:
    """A brain encoder that maps ``(b, c, t)`` to one vector for each trial.

    Where the vector is taken is decided by a rule: a model's embedding, which is what enters its
    last linear or convolutional map, if it has at least ``n_outputs`` numbers; else the output of
    that map, which is built ``n_outputs`` wide. Models whose published form ends with a projector
    (ours: EEGProject, TSConv, ...) keep it, and so does a model given as an instance.

    If a model does not take such trials with its own defaults, the parameters listed for it in
    ``models/adjustments.toml`` are tried, below ``backbone_params``.

    Parameters
    ----------
    backbone : str, type of nn.Module, or nn.Module
        See :func:`backbone_class`; an instance is used as it is, weights included.
    backbone_params : dict, optional
        The model's own parameters; types may be written as dotted paths. They win over the
        signal parameters.
    n_outputs : int
        Width of the output at the head; least width of an embedding that is taken instead.
    n_chans, n_times : int
        Shape of a trial.
    sfreq : float, optional
        Sampling rate in Hz.
    chs_info : list of dict, optional
        ``info["chs"]`` of MNE, for models that need channel names or positions.
    feature_point : {"auto", "embedding", "head"}
        Follow the rule, or take one of the two.
    n_subjects : int, optional
        Ask for a part for each of so many subjects, see :mod:`braindecode_ssr.models.subject_parts`.

    Returns
    -------
    BrainEncoder

    Raises
    ------
    UsageError
        If the model cannot be built, or does not give one vector of the asked width for such
        trials; tells the reason in one line.
    """
    _check_feature_point(feature_point)
    if isinstance(backbone, nn.Module):
        module = bind(_as_it_is(backbone, backbone_params), {})
        width = _checked_width(module, n_chans, n_times, n_outputs)
        check_parts(module, n_chans, n_times, n_subjects)
        return BrainEncoder(module, "head", width, {})
    signal = {
        "n_outputs": n_outputs,
        "n_chans": n_chans,
        "n_times": n_times,
        "sfreq": sfreq,
        "chs_info": chs_info,
        "n_subjects": n_subjects,
    }
    model = backbone_class(backbone)
    module, adjusted = _first_that_works(model, signal, backbone_params or {})
    check_parts(module, n_chans, n_times, n_subjects)
    if feature_point == "auto":
        feature_point = feature_point_of(model)
    return _at_feature_point(module, feature_point, signal, adjusted)


def feature_point_of(model: type[nn.Module]) -> str:
    """Where a class of models is to be cut: what its entry in the table says, else ``"auto"``."""
    return adjustments(model.__name__).get("feature_point", "auto")


def _braindecode_models() -> dict[str, type[nn.Module]]:
    """All of braindecode's models by name, the interpolated ones included."""
    with quiet_import():
        from braindecode.models.util import interpolated_models_dict, models_dict

    return {**models_dict, **interpolated_models_dict}


def _by_name(name: str) -> Any:
    if name in BACKBONES:
        return BACKBONES[name]
    if is_path(name):
        return class_at("a backbone", name)
    return _braindecode_models()[named_model(name)]


def named_model(name: str) -> str:
    """The name of a braindecode model as braindecode writes it.

    Raises
    ------
    UsageError
        If there is no such model.
    """
    known = {_plain(model): model for model in _braindecode_models()}
    if _plain(name) in known and _plain(name) != _plain(_MODEL_AROUND_BACKBONES):
        return known[_plain(name)]
    raise unknown_name("backbone", name, list_backbones())


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _as_it_is(module: nn.Module, params: dict[str, Any] | None) -> nn.Module:
    if params:
        raise UsageError(
            "no backbone_params beside a backbone that is built already",
            f"backbone_params {sorted(params)}",
            "give its class or its name instead of the instance",
        )
    return module


def _first_that_works(
    model: type[nn.Module], signal: dict[str, Any], params: dict[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    """The model with its own defaults, else with the first listed adjustment that does."""
    known = {
        k: v for k, v in signal.items() if k not in adjustments(model.__name__).get("without", [])
    }
    if "positions" in adjustments(model.__name__).get("needs", ""):
        _check_positions(model.__name__, signal["chs_info"])
    failure: UsageError | None = None
    for adjusted, n_zeros in candidates(model.__name__, signal):
        lengthened = {**known, "n_times": signal["n_times"] + n_zeros}
        try:
            built = _construct(model, lengthened, {**adjusted, **params})
            module = bind(built, forward_arguments(model.__name__, signal), n_zeros)
            shape = signal["n_chans"], signal["n_times"]
            _checked_width(module, *shape, signal["n_outputs"])
        except UsageError as error:
            failure = failure or error
        else:
            output = encode_zeros(module, *shape)
            if output.device.type != "meta" and not torch.isfinite(output).all():
                _check_positions(model.__name__, signal["chs_info"])
            zeros = {"zeros_behind": n_zeros} if n_zeros else {}
            return module, {k: v for k, v in adjusted.items() if k not in params} | zeros
    raise failure


def _at_feature_point(
    module: nn.Module, feature_point: str, signal: dict[str, Any], adjusted: dict[str, Any]
) -> BrainEncoder:
    shape, n_outputs = (signal["n_chans"], signal["n_times"]), signal["n_outputs"]
    if feature_point != "head":
        width = embedding_width(module, *shape)
        wide = feature_point == "embedding" or width >= n_outputs
        if width and wide and cut_head(module, *shape):
            return BrainEncoder(module, "embedding", width, adjusted)
    if feature_point == "embedding":
        raise UsageError(
            "a backbone whose output is one linear or convolutional map of its embedding",
            f"{type(module).__name__}, which ends otherwise",
            "leave feature_point at 'auto', or take 'head'",
        )
    return BrainEncoder(module, "head", n_outputs, adjusted)


def _construct(model: type[nn.Module], signal: dict[str, Any], params: dict[str, Any]) -> nn.Module:
    accepted = inspect.signature(model).parameters
    own = types_of(model, params)
    known = {
        name: value for name, value in signal.items() if name in accepted and value is not None
    }
    try:
        return model(**{**known, **own})
    except SSRError:
        raise
    except Exception as error:
        raise _unfit(model.__name__, signal["n_chans"], signal["n_times"], error) from error


def _checked_width(module: nn.Module, n_chans: int, n_times: int, n_outputs: int) -> int:
    """Try the module on trials of zeros: it must give one vector of the asked width for each."""
    name = type(module.model if isinstance(module, Bound) else module).__name__
    try:
        output = encode_zeros(module, n_chans, n_times)
    except Exception as error:
        raise _unfit(name, n_chans, n_times, error) from error
    if not is_one_vector(output) or output.shape[1] != n_outputs:
        shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise UsageError(
            f"a backbone that gives one vector of {n_outputs} numbers for a trial",
            f"{name}, which gives {shape} for a batch of two",
            "set its parameters with backbone_params, or choose another backbone",
        )
    return n_outputs


def _check_positions(name: str, chs_info: list[dict[str, Any]] | None) -> None:
    """Raise UsageError if some of the channels are known to have no position."""
    lost = []
    for channel in chs_info or ():
        place = np.asarray(channel.get("loc", np.nan), dtype=float).ravel()[:3]
        if not np.isfinite(place).all() or not place.any():
            lost.append(channel["ch_name"])
    if lost:
        raise UsageError(
            f"{name} needs the position of every channel, and {len(lost)} of {len(chs_info)} have none: "
            f"{', '.join(lost[:5])}{', ...' if len(lost) > 5 else ''}",
            "name the channels as in MNE's standard_1005 montage, add an electrodes.tsv, choose channels "
            "that have a position with --set data.channels=[...], or choose another --backbone",
        )


def _check_feature_point(feature_point: str) -> None:
    if feature_point not in FEATURE_POINTS:
        raise UsageError(
            f"feature_point {', '.join(FEATURE_POINTS)}", repr(feature_point), "choose one of them"
        )


def _unfit(name: str, n_chans: int, n_times: int, error: Exception) -> UsageError:
    reason = (str(error) or type(error).__name__).strip().splitlines()[0].rstrip(".")
    return UsageError(
        f"a backbone that takes trials of {n_chans} channels and {n_times} samples",
        f"{name}, which says: {reason}",
        "set its parameters with backbone_params, give chs_info if it asks for it, or choose "
        "another from `ssr-bd list backbones`",
    )

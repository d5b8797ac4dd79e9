"""Backbones: any network made to give one vector per trial, with the parameters that short trials need."""

from __future__ import annotations

import inspect
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import SSRError, UsageError
from . import BACKBONES
from .feature_point import (
    Bound,
    bind,
    cut_head,
    embedding_width,
    encode_zeros,
    in_evaluation,
    is_one_vector,
    takes_subjects,
)
from .names import _braindecode_models, class_at, is_path, named_model, types_of

_TABLE = Path(__file__).with_name("adjustments.toml")


def adjustments(name: str) -> dict[str, Any]:
    """The entry of a model in ``adjustments.toml``; empty if it has none.

    Parameters
    ----------
    name : str
        Name of the class.
    """
    return _read().get(name, {})


def adjusted_params(name: str, signal: dict[str, Any]) -> list[dict[str, Any]]:
    """Parameters to try, in order, where a model's own defaults do not take the trials.

    Parameters
    ----------
    name : str
        Name of the class.
    signal : dict
        Signal parameters; a value ``"{n_chans}"`` in the table stands for one of them.
    """
    return [
        {key: _filled(value, signal) for key, value in params.items()}
        for params in adjustments(name).get("params", [])
    ]


def candidates(name: str, signal: dict[str, Any]) -> list[tuple[dict[str, Any], int]]:
    """What to try, in order: parameters, and samples of zeros to put behind the trial.

    Parameters
    ----------
    name : str
        Name of the class.
    signal : dict
        Signal parameters; with ``n_subjects`` those of the parts for each subject come along.
    """
    own = adjustments(name).get("subjects", {}) if signal.get("n_subjects") else {}
    listed = [(own, 0), *((own | params, 0) for params in adjusted_params(name, signal))]
    n_zeros = -signal["n_times"] % adjustments(name).get("multiple_of", 1)
    return [*listed, (own, n_zeros)] if n_zeros else listed


def forward_arguments(name: str, signal: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a model's ``forward`` beside the trials; those that are not known are left out.

    Parameters
    ----------
    name : str
        Name of the class.
    signal : dict
        Signal parameters; ``"{ch_names}"`` in the table stands for the names in ``chs_info``.
    """
    known = {**signal, "ch_names": [channel["ch_name"] for channel in signal["chs_info"] or ()]}
    filled = {k: _filled(v, known) for k, v in adjustments(name).get("forward", {}).items()}
    return {key: value for key, value in filled.items() if value}


def _filled(value: Any, signal: dict[str, Any]) -> Any:
    wanted = isinstance(value, str) and value.startswith("{") and value.endswith("}")
    return signal[value[1:-1]] if wanted else value


@cache
def _read() -> dict[str, Any]:
    return tomllib.loads(_TABLE.read_text(encoding="utf-8"))


def check_takes_subjects(backbone: type[nn.Module] | nn.Module) -> None:
    """Find a ``subject_index`` in the forward pass of a class or a model.

    Raises
    ------
    UsageError
        If there is none.
    """
    if not takes_subjects(backbone):
        raise _without_parts(_name(backbone))


def check_parts(module: nn.Module, n_chans: int, n_times: int, n_subjects: int | None) -> None:
    """Find a part for each of so many subjects.

    A trial must come out otherwise for the last of them than for the first. Noise is added to the weights
    for this, because parts may all begin alike; those of the model stay as they are.

    Parameters
    ----------
    module : nn.Module
        Maps ``(b, c, t)`` to ``(b, width)``.
    n_chans, n_times : int
        Shape of a trial.
    n_subjects : int, optional
        None: nothing is asked of the model.

    Raises
    ------
    UsageError
        If the model has no use for subjects, or parts for fewer.
    """
    if n_subjects is None:
        return
    check_takes_subjects(module)
    try:
        first, last = (_encode_as(module, (n_chans, n_times), who) for who in (0, n_subjects - 1))
    except Exception as error:
        raise UsageError(
            f"a backbone with parts for {n_subjects} subjects",
            f"{_name(module)}, which says: {(str(error) or type(error).__name__).splitlines()[0]}",
            "leave n_subjects out of backbone_params, or choose --set model.subjects=shared",
        ) from error
    if n_subjects > 1 and torch.equal(first, last):
        raise _without_parts(_name(module))


def _encode_as(module: nn.Module, shape: tuple[int, int], subject: int) -> Tensor:
    """Two trials of noise as seen by a subject, with weights that noise was added to; on the CPU."""
    with in_evaluation(module), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = {name: buffer.cpu() for name, buffer in module.named_buffers()}
        for name, weight in module.named_parameters():
            state[name] = weight.cpu() + 0.1 * torch.randn_like(weight, device="cpu")
        who = {"subject_index": torch.tensor([subject, subject])}
        return functional_call(module, state, (torch.randn(2, *shape),), who)


def _name(backbone: type[nn.Module] | nn.Module) -> str:
    backbone = backbone.model if isinstance(backbone, Bound) else backbone
    return (backbone if isinstance(backbone, type) else type(backbone)).__name__


def _without_parts(name: str) -> UsageError:
    return UsageError(
        "a backbone with parts of its own for each subject, such as ATM or BrainModule",
        f"{name}, which treats all alike",
        "choose such a --backbone, or --set model.subjects=shared",
    )


FEATURE_POINTS = ("auto", "embedding", "head")


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


def backbone_class(backbone: str | type[nn.Module]) -> type[nn.Module]:
    """The class behind a name, or the class itself.

    Parameters
    ----------
    backbone : str or type of nn.Module
        A name of ours or of braindecode (case, hyphens and underscores do not matter), or a
        dotted path ``package.module.Class``, as saved configurations have it: of braindecode,
        ``torch.nn``, this package or an installed entry point, unless it is trusted, see
        :func:`braindecode_ssr.models.names.trusting`.

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
        Ask for a part for each of so many subjects, see :mod:`braindecode_ssr.models.backbone`.

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


def _by_name(name: str) -> Any:
    if name in BACKBONES:
        return BACKBONES[name]
    if is_path(name):
        return class_at("a backbone", name)
    return _braindecode_models()[named_model(name)]


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


# Channels and samples of the trials that the table was made with.
